"""Least confidence: what teams use today."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from espnet_egl.acquisition import AbsAcquisition, Evidence
from espnet_egl.types import TranscriptConfidence

if TYPE_CHECKING:
    from espnet_egl.model.recognizer import Recognizer


class Confidence(AbsAcquisition):
    """1 - the confidence of the best hypothesis, in [0, 1].

    Args:
        posterior: Which branch of the model is asked, as for the hypotheses.
        options: Of :class:`espnet_egl.hypotheses.sureness.ConfidenceMeasure`.
    """

    def __init__(self, posterior: str = "auto", **options: Any):
        from espnet_egl.hypotheses.sureness import ConfidenceMeasure

        self.posterior = posterior
        self.measure = ConfidenceMeasure(**options)
        self._last: tuple[Evidence, TranscriptConfidence] | None = None

    def prepare(self, recognizer: Recognizer) -> None:
        recognizer.check_posterior(self.posterior)
        self.measure.check_vocabulary(len(recognizer.model.token_list))

    def score(self, evidence: Evidence) -> float:
        return 1.0 - self.confidence(evidence).utterance

    def confidence(self, evidence: Evidence) -> TranscriptConfidence:
        """Of the best hypothesis and its words; computed once for one evidence."""
        if self._last is None or self._last[0] is not evidence:
            found = self.measure(
                evidence.recognizer,
                evidence.encoded,
                evidence.nbest.hypotheses[0],
                evidence.utterance.seconds,
                self.posterior,
            )
            self._last = (evidence, found)
        return self._last[1]
