"""Least confidence: what teams use today."""

from __future__ import annotations

from espnet_egl.acquisition import AbsAcquisition, Evidence


class Confidence(AbsAcquisition):
    """1 - the best hypothesis's probability per token, in [0, 1]."""

    def score(self, evidence: Evidence) -> float:
        return 1.0 - evidence.nbest.hypotheses[0].confidence
