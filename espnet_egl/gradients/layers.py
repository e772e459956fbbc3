"""What one layer adds to the squared gradient norm of every utterance of a batch.

Axes: B utterances, T positions (frames or tokens), I inputs, O outputs, C channels.

A layer sees its inputs A in the forward pass and the gradient D of its outputs in the
backward pass; the gradient of its parameters for utterance b is a function of A[b] and
D[b] alone. A rule computes it for all utterances at once, where PyTorch would sum it over
the batch. For a linear layer the gradient is D[b]^T A[b] (O, I), and its squared norm is
also the inner product of two (T, T) matrices, whichever is the cheaper::

    || D^T A ||_F^2 = sum_ts (A A^T)_ts (D D^T)_ts

Adding a rule is one class and one line in RULES.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.grad import conv1d_weight, conv2d_weight

from espnet_egl.model import compat


@dataclass
class Call:
    """One call of a layer in the forward pass.

    Attributes:
        inputs: A, with the batch first, as :meth:`Rule.keep` made it.
        saved: What a rule keeps from one backward pass to the next.
    """

    inputs: torch.Tensor
    saved: dict[str, torch.Tensor] = field(default_factory=dict)


Calls = Sequence[tuple[Call, torch.Tensor]]
"""Calls of one layer, each with the gradient D of its outputs."""


class Rule:
    """The gradient of one kind of layer, utterance by utterance.

    A rule has a method for every parameter it knows, of the parameter's name: from the layer,
    what was kept of its inputs, and the gradient of its outputs to the parameter's gradient
    for every utterance, (B, ...) in any order of its elements.

    Attributes:
        parameters: The names of the parameters it knows.
    """

    parameters: frozenset[str] = frozenset({"weight", "bias"})

    def fits(self, layer: Any) -> bool:
        """Whether the layer's configuration is one the rule knows."""
        return True

    def together(self, x: torch.Tensor, batch: int) -> torch.Tensor:
        """Put the rows of every utterance together, where a layer sees (B n, ...).

        The recurrent encoders' projections see all frames in a row, those of streaming models
        the blocks that an utterance is cut into.
        """
        return x.unflatten(0, (batch, -1))

    def keep(self, layer: Any, a: torch.Tensor) -> torch.Tensor:
        """What of the inputs the gradient is made of: computed once, for all passes."""
        return a

    def arriving(self, d: torch.Tensor) -> torch.Tensor:
        """The gradient at the rule's own outputs, from that at the watched tensor."""
        return d

    def squared_norms(self, layer: Any, calls: Calls, names: Collection[str]) -> torch.Tensor:
        """(B,) squared norm over the parameters ``names``, all calls of the layer together."""
        norms = []
        for name in names:
            gradient = getattr(self, name)
            total = sum(gradient(layer, call.inputs, d) for call, d in calls)
            norms.append(total.flatten(1).square().sum(1).double())
        return torch.stack(norms).sum(0)


class Linear(Rule):
    """y = x W^T + b, at every position."""

    def weight(self, layer: Any, a: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        return positions(d).transpose(1, 2) @ positions(a)

    def bias(self, layer: Any, a: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        return positions(d).sum(1)

    def squared_norms(self, layer: Any, calls: Calls, names: Collection[str]) -> torch.Tensor:
        (call, d), *more = calls
        d = positions(d)
        length, inputs, outputs = d.size(1), layer.weight.size(1), layer.weight.size(0)
        explicit = length * (inputs + outputs) > inputs * outputs
        if more or explicit or set(names) != {"weight", "bias"}:
            return super().squared_norms(layer, calls, names)
        if "gram" not in call.saved:
            a = positions(call.inputs)
            # The bias is the weight of an input that is always one.
            call.saved["gram"] = a @ a.transpose(1, 2) + 1
        return (call.saved["gram"] * (d @ d.transpose(1, 2))).sum((1, 2)).double()


def positions(x: torch.Tensor) -> torch.Tensor:
    """(B, ..., F) -> (B, T, F)."""
    return x.unsqueeze(1) if x.dim() == 2 else x.flatten(1, -2)


class Pointwise(Linear):
    """Conv1d with a kernel of one: a linear layer whose features come second."""

    def fits(self, layer: Any) -> bool:
        return (
            layer.kernel_size == layer.stride == (1,)
            and layer.groups == 1
            and layer.padding in ((0,), 0)
        )

    def keep(self, layer: Any, a: torch.Tensor) -> torch.Tensor:
        return a.transpose(-2, -1)

    def arriving(self, d: torch.Tensor) -> torch.Tensor:
        return d.transpose(-2, -1)


class Convolution(Rule):
    """Conv1d and Conv2d of any stride, padding, dilation and groups."""

    def fits(self, layer: Any) -> bool:
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)

    def weight(self, layer: Any, a: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        compute = _in_groups if layer.groups > 1 else _one_by_one
        if a.dim() == layer.weight.dim():
            return compute(layer, a, d)
        # Blocks (B, n, ...), each with zeros around it.
        blocks = compute(layer, a.flatten(0, 1), d.flatten(0, 1))
        return blocks.unflatten(0, a.shape[:2]).sum(1)

    def bias(self, layer: Any, a: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        if d.dim() > layer.weight.dim():
            d = d.transpose(1, 2)
        return d.flatten(2).sum(2)


def _in_groups(layer: Any, a: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    """The batch as part of the groups: one call for all utterances. Best for many groups."""
    weight = layer.weight
    gradient = _WEIGHT_GRADIENT[a.dim()](
        a.reshape(1, -1, *a.shape[2:]),
        (len(a) * weight.size(0), *weight.shape[1:]),
        d.reshape(1, -1, *d.shape[2:]),
        layer.stride,
        layer.padding,
        layer.dilation,
        len(a) * layer.groups,
    )
    return gradient.view(len(a), *weight.shape)


def _one_by_one(layer: Any, a: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    """A call for every utterance: each is large enough to be worth it."""
    compute = _WEIGHT_GRADIENT[a.dim()]
    shape, conf = layer.weight.shape, (layer.stride, layer.padding, layer.dilation)
    each = zip(a.split(1), d.contiguous().split(1), strict=True)
    return torch.stack([compute(x, shape, g, *conf) for x, g in each])


_WEIGHT_GRADIENT = {3: conv1d_weight, 4: conv2d_weight}  # by dimensions of the inputs


class FewInputs(Convolution):
    """Conv2d of few inputs, such as the first over a spectrogram: linear in its patches."""

    def fits(self, layer: Any) -> bool:
        return layer.weight[0].numel() <= 32 and layer.groups == 1 and super().fits(layer)

    def keep(self, layer: Any, a: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.unfold(
            a, layer.kernel_size, layer.dilation, layer.padding, layer.stride
        )

    def weight(self, layer: Any, a: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        return a @ d.flatten(2).transpose(1, 2)  # (B, C k k, O)


class LayerNorm(Rule):
    """Over the last dimension."""

    def fits(self, layer: Any) -> bool:
        # ESPnet's can normalise another dimension.
        return getattr(layer, "dim", -1) == -1 and len(layer.normalized_shape) == 1

    def keep(self, layer: Any, a: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.layer_norm(a, layer.normalized_shape, eps=layer.eps)

    def weight(self, layer: Any, a: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        return positions(a * d).sum(1)

    def bias(self, layer: Any, a: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        return positions(d).sum(1)


class BatchNorm(Rule):
    """In evaluation mode, with its running statistics."""

    def fits(self, layer: Any) -> bool:
        return layer.running_mean is not None

    def together(self, x: torch.Tensor, batch: int) -> torch.Tensor:
        return super().together(x, batch).transpose(1, 2).flatten(2)

    def keep(self, layer: Any, a: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.batch_norm(
            a, layer.running_mean, layer.running_var, training=False, eps=layer.eps
        )

    def weight(self, layer: Any, a: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        return _times(a * d)

    def bias(self, layer: Any, a: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        return _times(d)


def _times(x: torch.Tensor) -> torch.Tensor:
    """Sum over what follows batch and channel, if anything does."""
    return x if x.dim() == 2 else x.flatten(2).sum(2)


class Embedding(Rule):
    """Rows picked by token ids (B, L)."""

    parameters = frozenset({"weight"})

    def fits(self, layer: Any) -> bool:
        return layer.max_norm is None and not layer.scale_grad_by_freq

    def weight(self, layer: Any, a: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        if layer.padding_idx is not None:
            d = d.masked_fill((a == layer.padding_idx).unsqueeze(-1), 0.0)
        # Only the rows that occur in the batch: their number, not the vocabulary's, is paid for.
        rows, places = a.flatten(1).unique(return_inverse=True)
        gradient = d.new_zeros(len(a), len(rows), d.size(-1))
        gradient.scatter_add_(1, places.unsqueeze(-1).expand(-1, -1, d.size(-1)), positions(d))
        return gradient

    def squared_norms(self, layer: Any, calls: Calls, names: Collection[str]) -> torch.Tensor:
        # Together, for the rows of two calls are not the same.
        tokens = torch.cat([call.inputs.flatten(1) for call, _ in calls], 1)
        together = Call(tokens), torch.cat([positions(d) for _, d in calls], 1)
        return super().squared_norms(layer, [together], names)


class LowRankLinear(Rule):
    """loralib's Linear, not merged: y = x W^T + b + s (x A^T) B^T."""

    parameters = frozenset({"weight", "bias", "lora_A", "lora_B"})

    weight = Linear.weight
    bias = Linear.bias

    def fits(self, layer: Any) -> bool:
        return layer.r > 0 and not layer.merged and not layer.fan_in_fan_out

    def lora_A(self, layer: Any, a: torch.Tensor, d: torch.Tensor) -> torch.Tensor:  # noqa: N802
        d = layer.scaling * (positions(d) @ layer.lora_B)
        return d.transpose(1, 2) @ positions(a)

    def lora_B(self, layer: Any, a: torch.Tensor, d: torch.Tensor) -> torch.Tensor:  # noqa: N802
        return layer.scaling * positions(d).transpose(1, 2) @ (positions(a) @ layer.lora_A.T)


# The first that fits; a class before those it is derived from.
RULES: list[tuple[type[torch.nn.Module], Rule]] = [
    *((cls, LowRankLinear()) for cls in compat.lora_linear()),
    (torch.nn.Linear, Linear()),
    (torch.nn.Conv1d, Pointwise()),
    (torch.nn.Conv1d, Convolution()),
    (torch.nn.Conv2d, FewInputs()),
    (torch.nn.Conv2d, Convolution()),
    (torch.nn.LayerNorm, LayerNorm()),
    (torch.nn.BatchNorm1d, BatchNorm()),
    (torch.nn.BatchNorm2d, BatchNorm()),
    (torch.nn.Embedding, Embedding()),
]


def find_rule(layer: torch.nn.Module, names: Collection[str]) -> Rule | None:
    """The rule for the parameters ``names`` of a layer, or None."""
    for cls, rule in RULES:
        if isinstance(layer, cls) and rule.parameters >= set(names) and rule.fits(layer):
            return rule
    return None
