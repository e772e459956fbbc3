"""A random share of the selection, to estimate by it what all of the pool is like.

What a score selects is not like the pool. Utterances drawn at random are, whatever the score:
the mean of their word error rates estimates the pool's. They are drawn from ten strata of the
ranking in proportion, which makes the estimate less noisy and no less right.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from espnet_egl.selection.budget import SLACK

if TYPE_CHECKING:
    import numpy as np

STRATA = 10


def draw(
    uids: list[str], costs: np.ndarray, limit: float, most: float, seed: int = 0
) -> np.ndarray:
    """Which of a ranking are drawn.

    As many clips as the limit pays for on average, whatever each of them costs: to pass over the
    long ones would leave a sample of short ones.

    Args:
        uids: Utterances, best first.
        costs: Of each.
        limit: What they may cost together, about.
        most: What they must not exceed.
        seed: Another seed, other utterances.

    Returns:
        (N,) bool.
    """
    import numpy as np

    lots = {i: _lot(f"{seed} {uid}") for i, uid in enumerate(uids)}
    wanted = min(1.0, limit / float(costs.sum())) * len(uids)
    drawn: list[int] = []
    strata = np.array_split(np.arange(len(uids)), min(STRATA, len(uids)))
    for number, stratum in enumerate(strata, 1):
        # Fractions of a clip go on to the next stratum.
        count = int(wanted * number / len(strata) + 1e-6) - len(drawn)
        drawn += sorted(stratum.tolist(), key=lots.__getitem__)[:count]
    in_turn = np.array(sorted(drawn, key=lots.__getitem__), dtype=np.int64)
    chosen = np.zeros(len(uids), dtype=bool)
    chosen[in_turn[costs[in_turn].cumsum() <= most + SLACK]] = True
    return chosen


def _lot(text: str) -> bytes:
    return hashlib.sha256(f"holdout {text}".encode()).digest()
