"""A batch spread over gradient directions (BADGE: Ash et al., arXiv 1906.03671).

Greedy k-means++ picks clips that are far from all that were picked before; with gradient
embeddings that is a large gradient in a direction of its own. It costs (candidates x picks
x dimensions), so that candidates go into blocks of a bounded size, each of which gets its share
of the picks: linear in the candidates.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

# Candidates that are compared with each other.
BLOCK = 2048


def spread(embeddings: np.ndarray, picks: int, seed: int = 0) -> np.ndarray:
    """Candidates in the order in which they are picked, then the others as they came.

    Args:
        embeddings: (N, S), one a candidate, best first.
        picks: How many are wanted about; at least 1.
        seed: Of the k-means++ and of who meets whom in a block.

    Returns:
        (N,) a permutation.
    """
    import numpy as np

    count = len(embeddings)
    blocks = -(-count // BLOCK)
    shuffled = np.random.default_rng(seed).permutation(count)
    picked = [
        _pick(embeddings, np.sort(block), -(-min(picks, count) * len(block) // count), seed)
        for block in np.array_split(shuffled, blocks)
    ]
    # The first of every block, then the second, ...: the budget may end anywhere.
    turns = [row for turn in itertools.zip_longest(*picked) for row in turn if row is not None]
    left = np.setdiff1d(np.arange(count), turns)
    return np.concatenate([np.array(turns, dtype=np.int64), left])


def _pick(embeddings: np.ndarray, block: np.ndarray, picks: int, seed: int) -> list[int]:
    import numpy as np
    from sklearn.cluster import kmeans_plusplus

    points = np.ascontiguousarray(embeddings[block], dtype=np.float64)
    different = len(np.unique(points, axis=0))
    _, indices = kmeans_plusplus(points, min(picks, different), random_state=seed)
    # Of points that are the same one may be picked twice.
    return block[list(dict.fromkeys(indices.tolist()))].tolist()
