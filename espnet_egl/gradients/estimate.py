"""From the directions that were pulled back to the expected gradient length of an utterance.

Axes: K hypotheses, T encoder frames, R directions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from espnet_egl.gradients.losses import Combined
from espnet_egl.gradients.paths import Paths
from espnet_egl.store.embeddings import FACTORS

# How far the part taken in proportion to its energy may be off, as a share of it: the
# reference lies within two of these in more than 90 % (bench/gradient_engine.py).
PROPORTION_ERROR = 0.4


@dataclass(frozen=True)
class ExpectedGradientLength:
    """EGL of one utterance for weights that sum to 1.

    Attributes:
        value: sum_k w_k || grad loss_k ||^2.
        stderr: Standard error of ``value``.
        spread: Standard deviation of the gradient length over hypotheses, about.
        passes: Backward passes it took through what the hypotheses share.
        embedding: (S,) the projected gradient of the hypothesis of the largest weight, as far
            as the directions that were pulled back hold it; S is zero if not asked for.
        factors: (FACTORS, S) V with V^T V about sum_k w_k g_k g_k^T, g_k the projected gradients:
            its largest part of so low a rank; likewise.
    """

    value: float
    stderr: float
    spread: float
    passes: int
    embedding: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    factors: torch.Tensor = field(default_factory=lambda: torch.zeros(FACTORS, 0))


@dataclass(frozen=True)
class Pulled:
    """What is known of an utterance before the backward passes.

    Attributes:
        paths: The hypotheses that were taken, K of them.
        own: (K,) squared gradient lengths above the shared part.
        lengths: (K,) squared lengths of the gradients that come into the shared part.
        best: (R,) inner products of the first of these gradients with the directions.
        energies: Of all directions.
        left_out: Share of the energy beside these.
        directions: Those that are pulled back, of several utterances, for every tensor they come
            in at.
        place: The utterance's among them.
        count: How many of its directions are pulled back.
    """

    paths: Paths
    own: torch.Tensor
    lengths: torch.Tensor
    best: torch.Tensor
    energies: torch.Tensor
    left_out: float
    directions: list[Combined]
    place: int
    count: int

    def write_direction(self, r: int, targets: Sequence[torch.Tensor]) -> None:
        """Put u_r into (T, F) tensors of zeros, which may be longer."""
        for target, combined in zip(targets, self.directions, strict=True):
            combined.write(self.place, r, target)

    def result(self, lengths: torch.Tensor, projected: torch.Tensor) -> ExpectedGradientLength:
        """From J^T u_r of the first directions; the others' lengths by their energy."""
        weights, own = torch.tensor([*self.paths.shares.values()]).double(), self.own
        if self.count == 0:
            error = math.sqrt(self.paths.variance(own))
            return ExpectedGradientLength(float(weights @ own), error, spread(weights, own), 0)
        lengths = lengths[: self.count]
        measured = float(self.energies[: self.count] @ lengths)
        rest = float(self.energies[self.count :].sum()) * float(lengths.mean())
        shared = (measured + rest) / (1.0 - self.left_out)
        each = own + shared / float(weights @ self.lengths) * self.lengths
        error = math.hypot(
            PROPORTION_ERROR * (shared - measured), math.sqrt(self.paths.variance(each))
        )
        return ExpectedGradientLength(
            float(weights @ own) + shared,
            error,
            spread(weights, each),
            self.count,
            self.best[: self.count] @ projected[: self.count],
            low_rank(
                self.energies[: self.count].sqrt()[:, None] * projected[: self.count],
                math.sqrt(shared / measured) if measured > 0 else 1.0,
            ),
        )


def low_rank(rows: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
    """(FACTORS, S) V with V^T V the nearest to R^T R of so low a rank, for R (R, S).

    Args:
        rows: R.
        scale: Of V: what R does not hold is taken to be like it.
    """
    _, vectors = torch.linalg.eigh(rows @ rows.T)
    found = scale * (vectors.flip(1)[:, :FACTORS].T @ rows)
    return torch.cat([found, found.new_zeros(FACTORS - len(found), rows.size(1))])


def spread(weights: torch.Tensor, lengths: torch.Tensor) -> float:
    """Weighted standard deviation."""
    return float((weights @ (lengths - weights @ lengths).square()).clamp_min(0).sqrt())
