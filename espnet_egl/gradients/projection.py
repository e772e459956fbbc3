"""Gradient embeddings: a seeded random projection of every utterance's gradient.

Axes: B utterances, T positions, I inputs, O outputs, S = 16.

The gradient of a linear layer is D^T A (O, I), D the gradient of its outputs and A its
inputs. With random P (O, S) and Q (I, S), whose entries have mean 0 and variance 1 / S,

    P^T D^T A Q = (D P)^T (A Q)

is a projection to S x S numbers that never forms the gradient. Those of all layers are
added up: as every layer has matrices of its own, the inner product of two embeddings is an
unbiased estimate of the inner product of the two gradients over all linear layers' weights.
They are for telling gradients apart, as BADGE does (Ash et al., arXiv 1906.03671), not for
their lengths.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from espnet_egl.gradients.layers import Calls, positions
from espnet_egl.store.files import seed_of

SIDE = 16
DIMENSIONS = SIDE * SIDE


class Projection:
    """Projects the gradients of linear layers' weights.

    Args:
        model: The model.
        parameters: Name -> parameter that the gradient is over; what else there is than
            linear layers' weights takes no part.
        seed: Another seed, another projection.
    """

    def __init__(
        self, model: torch.nn.Module, parameters: Mapping[str, torch.nn.Parameter], seed: int = 0
    ):
        self._matrices = {
            name: tuple(_draw(f"{seed} {name} {side}", size, module.weight) for side, size in sides)
            for name, module in model.named_modules()
            if type(module) is torch.nn.Linear and f"{name}.weight" in parameters
            for sides in [(("outputs", module.out_features), ("inputs", module.in_features))]
        }

    def __bool__(self) -> bool:
        """Whether there is anything to project."""
        return bool(self._matrices)

    def __contains__(self, layer: str) -> bool:
        return layer in self._matrices

    def calls(self, layer: str, calls: Calls) -> torch.Tensor:
        """(B, S * S) from the layer's inputs and the gradients of its outputs."""
        left, right = self._matrices[layer]
        parts = []
        for call, d in calls:
            if "projected" not in call.saved:
                call.saved["projected"] = positions(call.inputs) @ right
            parts.append((positions(d) @ left).transpose(1, 2) @ call.saved["projected"])
        return torch.stack(parts).sum(0).flatten(1)

    def gradients(self, found: Mapping[str, torch.Tensor | None]) -> torch.Tensor:
        """(1, S * S) from the gradients of one utterance's parameters, by name."""
        parts = [
            left.T @ weight @ right
            for layer, (left, right) in self._matrices.items()
            if (weight := found[f"{layer}.weight"]) is not None
        ]
        return torch.stack(parts).sum(0).flatten().unsqueeze(0)


def _draw(seed: str, size: int, like: torch.Tensor) -> torch.Tensor:
    """(size, S), the same on every device."""
    generator = torch.Generator().manual_seed(seed_of(seed))
    return (torch.randn(size, SIDE, generator=generator) / math.sqrt(SIDE)).to(like)
