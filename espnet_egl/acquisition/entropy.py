"""Entropy of the CTC posteriors, a baseline of Huang et al. (arXiv 1612.03226)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espnet_egl.acquisition import AbsAcquisition, Evidence
from espnet_egl.errors import ConfigError

if TYPE_CHECKING:
    from espnet_egl.model.recognizer import Recognizer


class Entropy(AbsAcquisition):
    """Mean over frames of -sum_v P(v | x, t) log P(v | x, t), in nats, at least 0.

    Blanks take part: a frame that is surely blank has no entropy.
    """

    def prepare(self, recognizer: Recognizer) -> None:
        if not recognizer.has_ctc_loss():
            raise ConfigError("--methods entropy: the model has no CTC branch")

    def score(self, evidence: Evidence) -> float:
        log_probs = evidence.ctc_log_probs
        return -float((log_probs.exp() * log_probs).sum(1).mean())
