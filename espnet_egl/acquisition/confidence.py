"""Least confidence: what teams use today."""

from __future__ import annotations

import math

from espnet_egl.acquisition import AbsAcquisition, Evidence
from espnet_egl.types import Hypothesis


def confidence(best: Hypothesis) -> float:
    """The best hypothesis's probability per token: P(y | x)^(1 / (L + 1)), in [0, 1].

    L + 1 counts the end of the sentence, so that an empty transcript has a confidence too.
    """
    return math.exp(best.log_prob / (len(best.tokens) + 1))


class Confidence(AbsAcquisition):
    """1 - confidence of the best hypothesis, in [0, 1]."""

    def score(self, evidence: Evidence) -> float:
        return 1.0 - confidence(evidence.nbest.hypotheses[0])
