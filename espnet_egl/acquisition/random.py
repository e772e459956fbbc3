"""Random selection, the baseline every method must beat."""

from __future__ import annotations

import hashlib

from espnet_egl.acquisition import AbsAcquisition, Evidence


class Random(AbsAcquisition):
    """A number in [0, 1) drawn from the seed and the utterance's id.

    The same whatever the order, the sharding or the rest of the pool.

    Args:
        seed: Another seed, another order.
    """

    def __init__(self, seed: int = 0):
        self.seed = seed

    def score(self, evidence: Evidence) -> float:
        digest = hashlib.sha256(f"{self.seed} {evidence.utterance.uid}".encode()).digest()
        return int.from_bytes(digest[:7], "big") / 2**56
