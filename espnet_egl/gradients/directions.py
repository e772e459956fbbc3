"""Few orthogonal directions that hold what many hypotheses' gradients hold.

Axes: G utterances that are taken together, K hypotheses, T encoder frames, R directions.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from espnet_egl.gradients.losses import Cotangents

# Share of the energy that exact mode leaves to proportion. EGL then differs from the
# definition by less than 1e-3 (bench/gradient_engine.py).
ENERGY_LEFT_OUT = 7e-4


@dataclass(frozen=True)
class Directions:
    """u_1 ... u_R with sum_r lambda_r u_r u_r^T = sum_k w_k g_k g_k^T, of G utterances.

    All on the CPU: the device is asked once for all of them.

    Attributes:
        energies: lambda (G, R), largest first; 0 of those that an utterance does not need.
        coefficients: (G, R, K) with u_r = sum_k coefficients[r, k] g_k.
        best: (G, R) with g_1 = sum_r best[r] u_r.
        left_out: (G,) shares of the whole energy that are in none of them.
    """

    energies: torch.Tensor
    coefficients: torch.Tensor
    best: torch.Tensor
    left_out: torch.Tensor

    def first(self, counts: torch.Tensor) -> Directions:
        """The first of them, (G,) numbers."""
        places = torch.arange(self.energies.size(1))
        energies = torch.where(places < counts[:, None], self.energies, 0.0)
        total = self.energies.sum(1)
        left_out = 1.0 - energies.sum(1) / total.clamp_min(_NOTHING)
        size = int(counts.max())
        return Directions(
            energies[:, :size],
            self.coefficients[:, :size],
            self.best[:, :size],
            torch.where(total > 0, left_out, 0.0),
        )


# An energy that is none.
_NOTHING = 1e-300
# Of the largest, an eigenvalue that is rounding.
_ROUNDING = 1e-12


def find_directions(gram: torch.Tensor, weights: torch.Tensor) -> Directions:
    """Directions of length one, at right angles to each other.

    Args:
        gram: (G, K, K) inner products <g_k, g_l>, float64.
        weights: (G, K) at least 0, float64.
    """
    gram, roots = gram.cpu(), weights.sqrt()
    energies, vectors = _eigen(gram * roots[:, :, None] * roots[:, None])
    inverse = torch.where(energies > 0, energies.clamp_min(_NOTHING).rsqrt(), 0.0)
    coefficients = vectors.mT * roots[:, None] * inverse[:, :, None]
    best = (coefficients @ gram[:, :, :1]).squeeze(2)
    return Directions(energies, coefficients, best, torch.zeros(len(gram), dtype=torch.float64))


def _eigen(gram: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenvalues (G, R), largest first, 0 where they are rounding, and vectors (G, K, R)."""
    values, vectors = torch.linalg.eigh(gram)
    values, vectors = values.flip(1), vectors.flip(2)
    keep = values > _ROUNDING * values[:, :1].clamp_min(_NOTHING)
    return torch.where(keep, values, 0.0), vectors


def turn(cotangents: Cotangents, directions: Directions) -> Directions:
    """The same sum by directions of which fewer matter further down.

    What counts is || J^T u ||^2, not || u ||^2. A rotation of the columns sqrt(lambda_r) u_r
    leaves the sum over all of them as it is, so that they may be ordered by any estimate of
    what counts. Here it is the squared gradient length of a linear layer with the encoder's
    outputs h as inputs and the gradient there, d_r, at its outputs: || [h, 1]^T d_r ||^2.
    Like the gradients further down, and unlike || u_r ||^2, it adds up over frames.
    """
    roots = directions.energies.sqrt()
    scaled = roots[:, :, None] * directions.coefficients
    lengths, rotation = _eigen(_beneath(cotangents, scaled).cpu())
    rotation = rotation.mT
    kept = lengths > 0
    lost = torch.where(kept[:, :, None], 0.0, rotation).square() @ directions.energies[:, :, None]
    lost_share = lost.sum((1, 2)) / directions.energies.sum(1).clamp_min(_NOTHING)
    inverse = torch.where(kept, lengths.clamp_min(_NOTHING).rsqrt(), 0.0)
    best = directions.best / torch.where(roots > 0, roots, 1.0)
    turned = Directions(
        lengths,
        (rotation @ scaled) * inverse[:, :, None],
        lengths.sqrt() * (rotation @ best[:, :, None]).squeeze(2),
        directions.left_out + lost_share,
    )
    # Of an utterance whose directions have no gradient just there, yet in the output layer above,
    # all stay as they are.
    return _chosen(lost_share <= ENERGY_LEFT_OUT, turned, directions)


def _beneath(cotangents: Cotangents, scaled: torch.Tensor) -> torch.Tensor:
    """(G, R, R) inner products of [h, 1]^T d_r, float64."""
    gram = torch.zeros(())
    for h, d in cotangents.beneath(scaled):
        if h.size(1) > h.size(2):
            inputs = torch.cat([h, torch.ones_like(h[:, :, :1])], 2)
            gradients = (inputs.mT.unsqueeze(1) @ d).flatten(2).double()
            gram = gram.to(gradients) + gradients @ gradients.mT
        else:  # the same without a matrix of weights
            other = (h @ h.mT + 1).unsqueeze(1) @ d
            flat = d.flatten(2).double()
            gram = gram.to(flat) + flat @ other.flatten(2).double().mT
    return gram


def _chosen(wanted: torch.Tensor, one: Directions, other: Directions) -> Directions:
    """Of every utterance one or the other, as ``wanted`` (G,) says."""
    return Directions(
        torch.where(wanted[:, None], one.energies, other.energies),
        torch.where(wanted[:, None, None], one.coefficients, other.coefficients),
        torch.where(wanted[:, None], one.best, other.best),
        torch.where(wanted, one.left_out, other.left_out),
    )


def noticeable(weights: Sequence[float], left_out: float) -> list[int]:
    """Leave out the least likely hypotheses, which together change nothing.

    The most likely one is what the model would have said and pulls least, so that what
    counts is the weight of the others.

    Args:
        weights: K, which sum to 1.
        left_out: The share of the others' weight that may be left out.

    Returns:
        Indices, in the order of the weights.
    """
    order = sorted(range(len(weights)), key=lambda k: weights[k])
    limit = left_out * (1.0 - max(weights))
    below = itertools.takewhile(
        lambda total: total <= limit, itertools.accumulate(weights[k] for k in order)
    )
    return order[min(sum(1 for _ in below), len(order) - 1) :][::-1]


def enough(energies: torch.Tensor, share: float = ENERGY_LEFT_OUT) -> torch.Tensor:
    """How many directions (G,) leave out no more than a share, of energies (G, R)."""
    left_out = energies.flip(1).cumsum(1).flip(1)
    return (left_out > share * left_out[:, :1]).sum(1)
