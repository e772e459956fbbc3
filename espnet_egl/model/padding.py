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
    if model.encoder is None or bool((lengths == lengths[0]).all()):
        yield
        return
    embed: Any = getattr(model.encoder, "embed", None)
    layers = getattr(embed, "conv", None)
    rates = _Rates(lengths, layers if isinstance(layers, torch.nn.Sequential) else None)
    with ExitStack() as stack:
        if isinstance(layers, torch.nn.Sequential):
            stack.callback(embed.register_forward_hook(rates.subsampled).remove)
        for module in model.encoder.modules():
            if isinstance(module, torch.nn.MaxPool2d):
                # After a ReLU, where zeros are never the largest.
                stack.callback(module.register_forward_pre_hook(rates.before).remove)
            if not isinstance(module, torch.nn.Conv1d | torch.nn.Conv2d):
                continue
            if module.kernel_size[0] > 1 and module.padding not in ("valid", (0,), (0, 0)):
                stack.callback(module.register_forward_pre_hook(rates.before).remove)
                stack.callback(module.register_forward_hook(rates.after).remove)
        yield


class _Rates:
    """The lengths of the batch after every subsampling, found by the longest one's.

    Args:
        lengths: (B,) feature frames.
        layers: What subsamples, if the encoder has it as a sequence of layers.
    """

    def __init__(self, lengths: torch.Tensor, layers: torch.nn.Sequential | None):
        self.lengths = {int(lengths.max()): lengths}
        # The task asr's VGG halves the frames twice, rounding up.
        for layer in (None, None) if layers is None else layers:
            lengths = (lengths + 1) // 2 if layer is None else _after(layer, lengths)
            self.lengths[int(lengths.max())] = lengths
        self.last = lengths

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

    def subsampled(self, embed: Any, args: tuple[Any, ...], output: Any) -> Any:
        """A mask of the right lengths for what subsamples."""
        x, mask = output
        frames = torch.arange(mask.size(-1), device=mask.device)
        padded = frames[None] >= self.last[:, None].to(mask.device)
        # The task asr_transducer masks (B, T) what is padded, the task asr (B, 1, T) the rest.
        return x, padded if mask.dim() == 2 else (~padded).unsqueeze(1).to(mask)


def _after(layer: Any, lengths: torch.Tensor) -> torch.Tensor:
    """Frames (B,) that a layer leaves of each utterance."""
    if not isinstance(layer, torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.MaxPool2d):
        return lengths
    sizes: list[Any] = [layer.kernel_size, layer.stride, layer.padding]
    kernel, stride, padding = (size[0] if isinstance(size, tuple) else size for size in sizes)
    rest = lengths + 2 * padding - kernel
    if not getattr(layer, "ceil_mode", False):
        return torch.div(rest, stride, rounding_mode="floor") + 1
    # As long as a window begins inside.
    return torch.minimum(-(-rest // stride) + 1, -(-lengths // stride))
