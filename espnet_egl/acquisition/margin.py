"""Smallest margin between the two best hypotheses (Scheffer et al., IDA 2001)."""

from __future__ import annotations

from espnet_egl.acquisition import AbsAcquisition, Evidence


class Margin(AbsAcquisition):
    """1 - (w_1 - w_2), in [0, 1], with the list's weights, which sum to 1.

    A list of one leaves no doubt: 0.
    """

    def score(self, evidence: Evidence) -> float:
        first, second, *_ = [*sorted(evidence.nbest.weights, reverse=True), 0.0]
        return 1.0 - (first - second)
