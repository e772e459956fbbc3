"""CTC loss of the best hypothesis, a baseline of Huang et al. (arXiv 1612.03226)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espnet_egl.acquisition import AbsAcquisition, Evidence
from espnet_egl.errors import ConfigError

if TYPE_CHECKING:
    from espnet_egl.model.recognizer import Recognizer


class PCTC(AbsAcquisition):
    """-log P_ctc(best hypothesis | x) divided by the number of encoder frames, at least 0."""

    def prepare(self, recognizer: Recognizer) -> None:
        if not recognizer.has_ctc_loss():
            raise ConfigError("--methods pctc: the model has no CTC branch")

    def score(self, evidence: Evidence) -> float:
        best = evidence.nbest.hypotheses[0].tokens
        log_prob = evidence.recognizer.log_likelihoods(evidence.encoded, [best], "ctc")
        return max(0.0, -float(log_prob)) / evidence.encoded.frames
