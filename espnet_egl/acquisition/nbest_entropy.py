"""Entropy over the N-best list (Settles and Craven, EMNLP 2008)."""

from __future__ import annotations

import math

from espnet_egl.acquisition import AbsAcquisition, Evidence


class NBestEntropy(AbsAcquisition):
    """-sum_k w_k log w_k in nats, at least 0, with weights that sum to 1 over the list."""

    def score(self, evidence: Evidence) -> float:
        return -sum(w * math.log(w) for w in evidence.nbest.weights if w > 0)
