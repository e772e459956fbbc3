"""How many words of the best hypothesis a transcriber would have to correct."""

from __future__ import annotations

import editdistance

from espnet_egl.acquisition import AbsAcquisition, Evidence


class ExpectedWER(AbsAcquisition):
    """sum_k w_k errors(best, y_k): word errors of the best hypothesis if y_k were the truth.

    In words, at least 0; the column ``expected_errors_per_second`` has it for the second of
    audio. The weights sum to 1 over the list, whatever its mass.
    """

    columns = ("expected_errors_per_second",)

    def score(self, evidence: Evidence) -> float:
        best, *_ = words = [h.text.split() for h in evidence.nbest.hypotheses]
        return sum(
            weight * editdistance.eval(best, other)
            for weight, other in zip(evidence.nbest.weights, words, strict=True)
            if weight > 0
        )

    def details(self, evidence: Evidence) -> tuple[float, ...]:
        return (self.score(evidence) / evidence.utterance.seconds,)
