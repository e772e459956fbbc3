"""One order from one method's scores, or from those of several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from espnet_egl.errors import ConfigError, DataError
from espnet_egl.store.tables import methods_of, score_column

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

FUSIONS = ("rank", "alternate")
RANK_BY = ("score", "score_per_second")


def split_methods(text: str) -> list[str]:
    """``egl+confidence`` -> its methods.

    Raises:
        ConfigError: One is there twice or empty.
    """
    methods = text.split("+")
    if len(set(methods)) < len(methods) or "" in methods:
        raise ConfigError(f"--method {text}: write different methods with + between them")
    return methods


def values_of(table: pd.DataFrame, method: str, rank_by: str = "score") -> np.ndarray:
    """What a method ranks by, for every row.

    Raises:
        DataError: The table has no such score.
    """
    column = score_column(method)
    if column not in table.columns:
        raise DataError(
            f"the pool was scored with {', '.join(methods_of(table)) or 'no method'}, not with "
            f"'{method}': score it again under another --al_tag"
        )
    values = table[column].to_numpy(float)
    return values if rank_by == "score" else values / table["seconds"].to_numpy(float)


def rank(
    table: pd.DataFrame, methods: Sequence[str], fusion: str = "rank", rank_by: str = "score"
) -> pd.DataFrame:
    """The table's rows in the methods' order, best first; ties by utterance id.

    Args:
        table: The score table.
        methods: One or more.
        fusion: Of several: ``rank``, by the sum of their ranks; ``alternate``, each in turn
            takes its best that is left.
        rank_by: ``score``, or ``score_per_second`` of audio.

    Returns:
        With the table's index: ``method``, the one that brought the utterance in (of a sum of
        ranks, the one that ranks it highest), and ``place``, its rank there.

    Raises:
        DataError: The table lacks a method.
    """
    import numpy as np
    import pandas as pd

    by_id = table["utterance"].argsort(kind="stable").to_numpy()
    ranks = np.stack(
        [_ranks(values_of(table, method, rank_by), by_id) for method in methods], axis=1
    )
    if len(methods) > 1 and fusion == "alternate":
        order, first = _in_turn(ranks)
    else:
        total = ranks.sum(1)
        order = by_id[total[by_id].argsort(kind="stable")]
        first = ranks[order].argmin(1)
    columns = {
        "method": pd.Series(methods).astype("category").iloc[first].array,
        "place": ranks[order, first] + 1,
    }
    return pd.DataFrame(columns, index=table.index[order])


def _ranks(values: np.ndarray, by_id: np.ndarray) -> np.ndarray:
    """0 for the largest; ties in the order ``by_id``."""
    import numpy as np

    order = by_id[(-values[by_id]).argsort(kind="stable")]
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[order] = np.arange(len(values))
    return ranks


def _in_turn(ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows as the methods take them, and the method that took each."""
    import numpy as np

    orders = [column.argsort(kind="stable").tolist() for column in ranks.T]
    taken: dict[int, int] = {}
    queues: list[Iterator[int]] = [iter(order) for order in orders]
    while len(taken) < len(ranks):
        for method, queue in enumerate(queues):
            row = next((r for r in queue if r not in taken), None)
            if row is not None:
                taken[row] = method
    return np.array(list(taken), dtype=np.int64), np.array(list(taken.values()), dtype=np.int64)
