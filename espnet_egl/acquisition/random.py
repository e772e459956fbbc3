"""Random selection, the baseline every method must beat."""

from __future__ import annotations

from espnet_egl.acquisition import AbsAcquisition, Evidence
from espnet_egl.store.files import seed_of


class Random(AbsAcquisition):
    """A number in [0, 1) drawn from the seed and the utterance's id.

    The same whatever the order, the sharding or the rest of the pool.

    Args:
        seed: Another seed, another order.
    """

    def __init__(self, seed: int = 0):
        self.seed = seed

    def score(self, evidence: Evidence) -> float:
        return seed_of(f"{self.seed} {evidence.utterance.uid}") / 2**56
