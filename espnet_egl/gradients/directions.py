"""Few orthogonal directions that hold what many hypotheses' gradients hold.

Axes: K hypotheses, T encoder frames, R directions.
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
    """u_1 ... u_R with sum_r lambda_r u_r u_r^T = sum_k w_k g_k g_k^T.

    Attributes:
        energies: lambda (R,), largest first.
        coefficients: (R, K) with u_r = sum_k coefficients[r, k] g_k.
        best: (R,) with g_1 = sum_r best[r] u_r.
        left_out: Share of the whole energy that is in none of them.
    """

    energies: torch.Tensor
    coefficients: torch.Tensor
    best: torch.Tensor
    left_out: float = 0.0

    def first(self, count: int) -> Directions:
        """The first of them."""
        energies = self.energies[:count]
        left_out = 1.0 - float(energies.sum() / self.energies.sum())
        return Directions(energies, self.coefficients[:count], self.best[:count], left_out)


def find_directions(gram: torch.Tensor, weights: torch.Tensor) -> Directions:
    """Directions of length one, at right angles to each other.

    Args:
        gram: (K, K) inner products <g_k, g_l>, float64.
        weights: (K,) at least 0, float64.
    """
    roots = weights.sqrt()
    energies, vectors = torch.linalg.eigh(gram * roots[:, None] * roots)
    energies, vectors = energies.flip(0), vectors.flip(1)
    # Below this, eigenvalues are rounding.
    keep = energies > 1e-12 * energies[0].clamp_min(1e-300)
    energies, vectors = energies[keep], vectors[:, keep]
    coefficients = vectors.T * roots / energies.sqrt()[:, None]
    return Directions(energies, coefficients, coefficients @ gram[:, 0])


def turn(cotangents: Cotangents, directions: Directions) -> Directions:
    """The same sum by directions of which fewer matter further down.

    What counts is || J^T u ||^2, not || u ||^2. A rotation of the columns sqrt(lambda_r) u_r
    leaves the sum over all of them as it is, so that they may be ordered by any estimate of
    what counts. Here it is the squared gradient length of a linear layer with the encoder's
    outputs h as inputs and the gradient there, d_r, at its outputs: || [h, 1]^T d_r ||^2.
    Like the gradients further down, and unlike || u_r ||^2, it adds up over frames.
    """
    if len(directions.energies) < 2:
        return directions
    scaled = directions.energies.sqrt()[:, None] * directions.coefficients
    gram = torch.zeros_like(directions.energies).diag()
    for h, d in cotangents.beneath(scaled):
        inputs = torch.cat([h, torch.ones_like(h[:, :1])], 1)
        gradients = (inputs.T @ d).flatten(1).double()
        gram += gradients @ gradients.T
    lengths, rotation = torch.linalg.eigh(gram)
    lengths, rotation = lengths.flip(0), rotation.flip(1)
    keep = lengths > 1e-12 * lengths[0].clamp_min(1e-300)
    lost = rotation[:, ~keep].square().T @ directions.energies
    lost_share = float(lost.sum() / directions.energies.sum())
    if lost_share > ENERGY_LEFT_OUT:
        # They have no gradient just there, yet in the output layer above: all stay as they are.
        return directions
    lengths, rotation = lengths[keep], rotation[:, keep].T
    roots = directions.energies.sqrt()
    return Directions(
        lengths,
        rotation @ scaled / lengths.sqrt()[:, None],
        lengths.sqrt() * (rotation @ (directions.best / roots)),
        directions.left_out + lost_share,
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


def enough(energies: torch.Tensor) -> int:
    """How many directions leave out no more than ENERGY_LEFT_OUT."""
    left_out = energies.flip(0).cumsum(0).flip(0)
    return int((left_out > ENERGY_LEFT_OUT * left_out[:1]).sum())
