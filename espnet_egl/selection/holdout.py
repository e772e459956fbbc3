"""A random share of the selection, to estimate by it what all of the pool is like.

What a score selects is not like the pool. Utterances drawn at random are, whatever the score:
the mean of their word error rates estimates the pool's. They are drawn from ten strata of the
ranking in proportion, which makes the estimate less noisy and no less right.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from espnet_egl.selection.take import take

if TYPE_CHECKING:
    import numpy as np

STRATA = 10


def draw(uids: list[str], costs: np.ndarray, limit: float, seed: int = 0) -> np.ndarray:
    """Which of a ranking are drawn.

    Args:
        uids: Utterances, best first.
        costs: Of each.
        limit: What they may cost together.
        seed: Another seed, other utterances.

    Returns:
        (N,) bool.
    """
    import numpy as np

    chosen = np.zeros(len(uids), dtype=bool)
    left = 0.0
    for stratum in np.array_split(np.arange(len(uids)), STRATA):
        # What one stratum leaves, for its clips are too long, goes to the next.
        left += limit * float(costs[stratum].sum()) / float(costs.sum()) if len(stratum) else 0.0
        order = sorted(stratum.tolist(), key=lambda i: _lot(f"{seed} {uids[i]}"))
        picked = np.array(order, dtype=np.int64)[take(costs[order], left)]
        chosen[picked] = True
        left -= float(costs[picked].sum())
    return chosen


def _lot(text: str) -> bytes:
    return hashlib.sha256(f"holdout {text}".encode()).digest()
