"""Expected gradient length (Huang et al., arXiv 1612.03226)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espnet_egl.acquisition import AbsAcquisition, Evidence
from espnet_egl.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from espnet_egl.recognizer import Recognizer

WEIGHTS = ("raw", "renormalized")


class ExpectedGradientLength(AbsAcquisition):
    """sum_k w_k || grad loss(x, y_k) ||^2 over the N-best list.

    Args:
        weights: ``raw``: w_k = P(y_k | x), the paper's sum; ``renormalized``: divided by the
            list's mass, so that they sum to 1.
        params: Over which parameters, see :func:`select_parameters`.
    """

    needs_gradients = True

    def __init__(self, weights: str = "raw", params: str = "all"):
        if weights not in WEIGHTS:
            raise ConfigError(f"--egl_weights must be one of {', '.join(WEIGHTS)}, not {weights}")
        self.weights = weights
        self.params = params
        self._parameters: dict[str, torch.nn.Parameter] = {}

    def prepare(self, recognizer: Recognizer) -> None:
        from espnet_egl.gradients.parameters import select_parameters

        self._parameters = select_parameters(recognizer.model, self.params)

    def score(self, evidence: Evidence) -> float:
        from espnet_egl.gradients.engine import expected_gradient_length

        nbest = evidence.nbest
        total = expected_gradient_length(
            evidence.recognizer,
            evidence.encoded,
            [h.tokens for h in nbest.hypotheses],
            nbest.probs,
            self._parameters,
        )
        return total if self.weights == "raw" else total / nbest.mass
