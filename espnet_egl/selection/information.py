"""A batch that covers what all of the pool holds (BAIT: Ash et al., arXiv 2106.09675).

Axes: N candidates, Q factors of each, S dimensions, B = 16 that are looked at together.

EGL is the trace of a clip's Fisher information F_x, so that two clips that teach the same count
twice. Here the batch is the one that makes

    tr( (M + F_seed + sum of F_x over the batch)^-1 F_pool )

small: what the model does not know yet, in the directions in which the pool needs it, with
F_x = V_x^T V_x of low rank (Q, S). M is one average clip's information, spread evenly over all
directions. Clips are added one at a time, each the one that takes most away for its cost, until
they cost twice the budget; then those are given back that are missed least. With A the matrix
in the brackets and V of a clip, Woodbury's identity gives what it takes away as

    tr( (I + V A^-1 V^T)^-1 V A^-1 F_pool A^-1 V^T )

from products with S x S matrices. What a clip takes away hardly ever grows when others are added,
so that a clip is looked at again only when it leads by what was found earlier (Minoux's lazy
greedy): linear in the candidates, and a few looks for a clip that is taken.
"""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_egl.data.kaldi import read_utterances, subset_data_dir
from espnet_egl.errors import ConfigError, DataError
from espnet_egl.selection.budget import SLACK
from espnet_egl.store import embeddings
from espnet_egl.store.files import seed_of, write_lines

if TYPE_CHECKING:
    import numpy as np

# Candidates that are looked at together.
BATCH = 16
# How often before the best of what is known is taken.
LOOKS = 8
# Of the budget, what is added before the first is given back.
OVERSAMPLE = 2.0
# Rounding adds up over updates: the inverse is computed anew after so many.
UPDATES = 500
# Of how many clips a training set is, beside the scores of a sample of it.
SIZE = "clips"
# Before the ids of copies: of another speed (Kaldi), and of self-training.
COPY = re.compile(r"(?:again\d+|sp[\d.]+)-")
# Candidates of one matrix product.
CHUNK = 4096


@dataclass(frozen=True)
class Background:
    """What the pool is held against.

    Attributes:
        known: (S, S) F_seed, of what the model was trained on; None: not known.
        target: (S, S) F of what it is wanted for; None: the pool.
    """

    known: np.ndarray | None = None
    target: np.ndarray | None = None


def write_sample(data_dir: str | Path, output_dir: str | Path, size: int) -> tuple[int, int]:
    """Write ``sample``, a data directory of some clips, and ``clips``, of how many they are.

    Clips are drawn by their ids: of a set that grew, most of the sample stays. Copies of others,
    at another speed or repeated for self-training, teach nothing new, and do not count.

    Args:
        data_dir: A training set.
        output_dir: Where they go.
        size: Of the sample, at most.

    Returns:
        How many were drawn, and of how many.
    """
    there = set(read_utterances(data_dir))
    uids = [uid for uid in there if not _is_copy(uid, there)]
    drawn = sorted(uids, key=lambda uid: seed_of(f"sample {uid}"))[:size]
    sample = Path(output_dir) / "sample"
    subset_data_dir(data_dir, sample, drawn)
    write_lines(Path(output_dir) / SIZE, [str(len(uids))])
    return len(drawn), len(uids)


def _is_copy(uid: str, there: Container[str]) -> bool:
    found = COPY.match(uid)
    return found is not None and uid[found.end() :] in there


def read_background(seed_dir: str | Path | None, target_dir: str | Path | None) -> Background:
    """From scores with the method ``fisher``.

    Args:
        seed_dir: Of a sample of the training set; ``clips`` in it says of how many.
        target_dir: Of a target set.

    Raises:
        ConfigError: They were scored without ``fisher``.
        DataError: A file is missing or damaged.
    """
    known = target = None
    if seed_dir is not None:
        factors = _read(seed_dir)
        path = Path(seed_dir) / SIZE
        try:
            clips = int(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as e:
            raise DataError(f"{path}: no number ({e}); run stage 20 again") from e
        known = total(factors) * (clips / len(factors))
    if target_dir is not None:
        target = total(_read(target_dir))
    return Background(known, target)


def _read(score_dir: str | Path) -> np.ndarray:
    path = Path(score_dir) / embeddings.NAME
    factors = embeddings.factors_of(embeddings.read(path))
    if factors is None or not len(factors):
        raise ConfigError(f"{path} has no Fisher information: score with the method fisher")
    return factors


def total(factors: np.ndarray) -> np.ndarray:
    """The sum of V_x^T V_x: (S, S), float64.

    Args:
        factors: (N, Q, S).
    """
    import numpy as np

    size = factors.shape[2]
    found = np.zeros((size, size))
    for start in range(0, len(factors), CHUNK):
        part = np.asarray(factors[start : start + CHUNK], dtype=np.float64).reshape(-1, size)
        found += part.T @ part
    return found


def cover(
    factors: np.ndarray,
    costs: np.ndarray,
    limit: float,
    wanted: np.ndarray,
    known: np.ndarray | None = None,
    prior: float | None = None,
) -> np.ndarray:
    """Candidates in the order in which they should be taken.

    Args:
        factors: (N, Q, S) V_x of every one.
        costs: (N,) above 0.
        limit: What the batch may cost.
        wanted: (S, S) F_pool, or that of a target.
        known: (S, S) F_seed; None: nothing.
        prior: The trace of M; None: that of one of the candidates, as ``wanted`` has them.

    Returns:
        (N,) a permutation: the batch, then what was given back, the last first, then the others as
        they came.
    """
    import numpy as np

    count, _, size = factors.shape
    known = np.zeros((size, size)) if known is None else known
    if prior is None:
        prior = float(np.trace(wanted)) / max(count, 1)
    # Without any information all are alike.
    state = _State(known + (prior or 1.0) / size * np.eye(size), wanted)
    added = _add(state, factors, costs, OVERSAMPLE * limit)
    removed = _give_back(state, factors, costs, limit, added)
    gone = set(removed)
    kept = [i for i in added if i not in gone]
    order = np.array([*kept, *reversed(removed)], dtype=np.int64)
    return np.concatenate([order, np.setdiff1d(np.arange(count), order)])


class _State:
    """A, A^-1 and A^-1 F A^-1, kept up to date.

    Args:
        start: (S, S) A of the empty batch.
        wanted: (S, S) F.
    """

    def __init__(self, start: np.ndarray, wanted: np.ndarray):
        self.information, self.wanted = start, wanted
        self._updates = 0
        self._invert()

    def _invert(self) -> None:
        import numpy as np

        self.inverse = np.linalg.inv(self.information)
        self.middle = self.inverse @ self.wanted @ self.inverse

    def change(self, factors: np.ndarray, sign: int) -> np.ndarray:
        """By how much each of (B, Q, S) makes the trace smaller (sign 1), or larger (-1): (B,)."""
        import numpy as np

        v = np.asarray(factors, dtype=np.float64)
        flat, shape = v.reshape(-1, v.shape[2]), v.shape
        inner = (flat @ self.inverse).reshape(shape) @ v.transpose(0, 2, 1)
        outer = (flat @ self.middle).reshape(shape) @ v.transpose(0, 2, 1)
        core = np.eye(shape[1]) + sign * inner
        return np.trace(np.linalg.solve(core, outer), axis1=1, axis2=2)

    def update(self, factors: np.ndarray, sign: int) -> None:
        """Put a clip (Q, S) into the batch (1) or take it out (-1)."""
        import numpy as np

        v = np.asarray(factors, dtype=np.float64)
        self.information = self.information + sign * v.T @ v
        self._updates += 1
        if self._updates % UPDATES == 0:
            self._invert()
            return
        left = v @ self.inverse
        scaled = sign * np.linalg.solve(np.eye(len(v)) + sign * left @ v.T, left)
        # A^-1 - L^T C L, and the same on both sides of F.
        across = left @ self.wanted
        mixed = scaled.T @ (across @ self.inverse)
        self.middle = self.middle - mixed - mixed.T + scaled.T @ (across @ left.T) @ scaled
        self.inverse = self.inverse - left.T @ scaled


Look = Callable[["np.ndarray"], "np.ndarray"]


def _add(state: _State, factors: np.ndarray, costs: np.ndarray, limit: float) -> list[int]:
    """Candidates in the order in which they are taken."""

    def look(rows: np.ndarray) -> np.ndarray:
        return -state.change(factors[rows], 1) / costs[rows]

    heap = _heap(look, len(factors))
    added: list[int] = []
    left = limit + SLACK
    smallest = float(costs.min(initial=math.inf))
    while heap and left >= smallest:
        best = _take(heap, look)
        # What does not fit now never will.
        if costs[best] <= left:
            state.update(factors[best], 1)
            left -= float(costs[best])
            added.append(best)
    return added


def _give_back(
    state: _State, factors: np.ndarray, costs: np.ndarray, limit: float, added: list[int]
) -> list[int]:
    """Of these, what is taken out until the others cost no more than the limit."""
    import numpy as np

    # Of those that are missed alike, the last that was added goes first.
    rows = np.array(added[::-1], dtype=np.int64)

    def look(places: np.ndarray) -> np.ndarray:
        return state.change(factors[rows[places]], -1) / costs[rows[places]]

    heap = _heap(look, len(rows))
    spent = float(costs[rows].sum())
    removed: list[int] = []
    while heap and spent > limit + SLACK:
        least = int(rows[_take(heap, look)])
        state.update(factors[least], -1)
        spent -= float(costs[least])
        removed.append(least)
    return removed


def _heap(look: Look, count: int) -> list[tuple[float, int]]:
    """(value, candidate) of all."""
    import numpy as np

    starts = range(0, count, CHUNK)
    parts = [look(np.arange(start, min(start + CHUNK, count))) for start in starts]
    heap = [(v, i) for i, v in enumerate(value for part in parts for value in part.tolist())]
    heapq.heapify(heap)
    return heap


def _take(heap: list[tuple[float, int]], look: Look) -> int:
    """Take the least from a heap of what was known of candidates, which may have grown since.

    Args:
        heap: (value, candidate).
        look: The values now, of (B,) candidates.
    """
    import numpy as np

    fresh: list[tuple[float, int]] = []
    for _ in range(LOOKS):
        rows = [heapq.heappop(heap)[1] for _ in range(min(BATCH, len(heap)))]
        if rows:
            fresh += zip(look(np.array(rows)).tolist(), rows, strict=True)
            fresh.sort()
        if not heap or fresh[0][0] <= heap[0][0]:
            break
    for item in fresh[1:]:
        heapq.heappush(heap, item)
    return fresh[0][1]
