"""Expected gradient length (Huang et al., arXiv 1612.03226)."""

from __future__ import annotations

import math

from espnet_egl.acquisition import AbsAcquisition, Evidence
from espnet_egl.errors import ConfigError

WEIGHTS = ("raw", "renormalized")


class EGL(AbsAcquisition):
    """sum_k w_k || grad loss(x, y_k) ||^2 over the hypotheses.

    Samples of P(y | x) are weighted by their shares, which makes the sum an unbiased
    estimate of the whole expectation; ``weights`` is about lists of the most probable.

    Args:
        weights: ``raw``: w_k = P(y_k | x), the paper's sum; ``renormalized``: divided by the
            list's mass, so that they sum to 1.
    """

    needs_gradients = True
    columns = ("egl_stderr",)

    def __init__(self, weights: str = "raw"):
        if weights not in WEIGHTS:
            raise ConfigError(f"--egl_weights must be one of {', '.join(WEIGHTS)}, not {weights}")
        self.weights = weights

    def score(self, evidence: Evidence) -> float:
        assert evidence.gradient is not None
        return self._scale(evidence) * evidence.gradient.value

    def details(self, evidence: Evidence) -> tuple[float, ...]:
        gradient, counts = evidence.gradient, evidence.nbest.counts
        assert gradient is not None
        if counts is None:
            return (self._scale(evidence) * gradient.stderr,)
        return (math.hypot(gradient.stderr, gradient.spread / math.sqrt(sum(counts))),)

    def _scale(self, evidence: Evidence) -> float:
        nbest = evidence.nbest
        return nbest.mass if self.weights == "raw" and nbest.counts is None else 1.0
