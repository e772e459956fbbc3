"""Fisher information of low rank, for batches that cover a pool (BAIT: Ash et al. 2021)."""

from __future__ import annotations

from espnet_egl.acquisition import AbsAcquisition, Evidence


class Fisher(AbsAcquisition):
    """Trace of the clip's projected Fisher information: EGL over linear layers, by its main part.

    The factors themselves go to ``embeddings.npy``: selecting with ``--diversity fisher`` chooses a
    batch by them. They cost no backward pass of their own, but hold the gradients only as far as
    the directions that EGL pulls back do.
    """

    needs_gradients = True
    needs_embedding = True
    needs_factors = True

    def score(self, evidence: Evidence) -> float:
        assert evidence.gradient is not None
        return float(evidence.gradient.factors.square().sum())
