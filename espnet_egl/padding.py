"""Encoding a padded batch as if every utterance were alone.

Axes: B utterances, C channels, T frames, D features.

Releases of ESPnet differ in what padding does to a batch: convolutions along time read the
padded frames after a short utterance's end, and subsampling gives it a frame too many. In
training that is noise; scores must not depend on which utterances share a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch


@contextmanager
def blind_to_padding(model: Any, lengths: torch.Tensor) -> Iterator[None]:
    """Zero padded frames around every convolution of the encoder that pads along time.

    Args:
        model: ESPnet's model.
        lengths: (B,) feature frames.
    """
    if len(lengths) == 1 or model.encoder is None:
        yield
        return
    rates = _Rates(lengths)
    with ExitStack() as stack:
        embed: Any = getattr(model.encoder, "embed", None)
        if isinstance(getattr(embed, "conv", None), torch.nn.Sequential):
            stack.callback(embed.register_forward_hook(_subsampled(rates)).remove)
        for module in model.encoder.modules():
            if not isinstance(module, torch.nn.Conv1d | torch.nn.Conv2d):
                continue
            if module.kernel_size[0] > 1 and module.padding not in ("valid", (0,), (0, 0)):
                stack.callback(module.register_forward_pre_hook(rates.before).remove)
                stack.callback(module.register_forward_hook(rates.after).remove)
        yield


class _Rates:
    """The lengths of the batch after every subsampling, found by the longest one's."""

    def __init__(self, lengths: torch.Tensor):
        self.lengths = {int(lengths.max()): lengths}
        # VGG halves the frames twice, rounding up.
        for _ in range(2):
            lengths = (lengths + 1) // 2
            self.add(lengths)

    def add(self, lengths: torch.Tensor) -> None:
        self.lengths[int(lengths.max())] = lengths

    def zero(self, x: torch.Tensor) -> torch.Tensor:
        """Zero the padded frames of (B, C, T) or (B, C, T, D)."""
        lengths = self.lengths.get(x.size(2))
        if lengths is None or len(lengths) != x.size(0):
            return x
        padded = torch.arange(x.size(2), device=x.device)[None] >= lengths[:, None].to(x.device)
        return x.masked_fill(padded[:, None] if x.dim() == 3 else padded[:, None, :, None], 0.0)

    def before(self, module: Any, args: tuple[Any, ...]) -> Any:
        return (self.zero(args[0]), *args[1:])

    def after(self, module: Any, args: tuple[Any, ...], output: torch.Tensor) -> Any:
        # What follows may pool over the end of an utterance.
        return self.zero(output) if output.dim() == 4 else None


def _subsampled(rates: _Rates) -> Any:
    def after(embed: Any, args: tuple[Any, ...], output: Any) -> Any:
        x, mask = output
        lengths = next(iter(rates.lengths.values()))
        for convolution in embed.conv:
            if isinstance(convolution, torch.nn.Conv1d | torch.nn.Conv2d):
                kernel, stride = convolution.kernel_size[0], convolution.stride[0]
                lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
        rates.add(lengths)
        frames = torch.arange(mask.size(-1), device=mask.device)
        return x, (frames[None] < lengths[:, None].to(mask.device)).unsqueeze(1).to(mask)

    return after
