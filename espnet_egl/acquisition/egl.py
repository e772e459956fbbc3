"""Expected gradient length (Huang et al., arXiv 1612.03226)."""

from __future__ import annotations

import math

from espnet_egl.acquisition import AbsAcquisition, Evidence
from espnet_egl.errors import ConfigError

WEIGHTS = ("raw", "renormalized")
NORMALIZE = ("none", "frames", "tokens", "sqrt_frames")


class EGL(AbsAcquisition):
    """sum_k w_k || grad loss(x, y_k) ||^2 over the hypotheses.

    Samples of P(y | x) are weighted by their shares, which makes the sum an unbiased
    estimate of the whole expectation; ``weights`` is about lists of the most probable.

    Args:
        weights: ``raw``: w_k = P(y_k | x), the paper's sum; ``renormalized``: divided by the
            list's mass, so that they sum to 1.
        normalize: What the sum is divided by: ``none``, as the paper has it; the encoder's
            ``frames`` or their square root ``sqrt_frames``; the best hypothesis's ``tokens``.
            Gradient lengths grow with the duration, which a budget of hours has to pay for.
    """

    needs_gradients = True
    columns = ("egl_stderr",)

    def __init__(self, weights: str = "raw", normalize: str = "none"):
        if weights not in WEIGHTS:
            raise ConfigError(f"--egl_weights must be one of {', '.join(WEIGHTS)}, not {weights}")
        if normalize not in NORMALIZE:
            raise ConfigError(
                f"--egl_normalize must be one of {', '.join(NORMALIZE)}, not {normalize}"
            )
        self.weights = weights
        self.normalize = normalize

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
        scale = nbest.mass if self.weights == "raw" and nbest.counts is None else 1.0
        return scale / self._size(evidence)

    def _size(self, evidence: Evidence) -> float:
        if self.normalize == "none":
            return 1.0
        if self.normalize == "tokens":
            return max(1, len(evidence.nbest.hypotheses[0].tokens))
        frames = evidence.encoded.frames
        return frames if self.normalize == "frames" else math.sqrt(frames)
