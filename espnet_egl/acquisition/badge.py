"""Gradient embeddings (BADGE: Ash et al., arXiv 1906.03671)."""

from __future__ import annotations

from espnet_egl.acquisition import AbsAcquisition, Evidence


class BADGE(AbsAcquisition):
    """Squared length of the best hypothesis's projected gradient.

    The embedding itself goes to ``embeddings.npy``: selecting with ``--diversity kmeans++``
    spreads the batch over it, which is what BADGE does. It costs no backward pass of its
    own, but holds the gradient only as far as the directions EGL pulls back do.
    """

    needs_gradients = True
    needs_embedding = True

    def score(self, evidence: Evidence) -> float:
        assert evidence.gradient is not None
        return float(evidence.gradient.embedding.square().sum())
