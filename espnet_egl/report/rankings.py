"""What methods have in common: their scores, and what they would select."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from espnet_egl.selection.budget import FREE, Prices
from espnet_egl.selection.filters import Filters
from espnet_egl.selection.select import Rules, select
from espnet_egl.store.tables import score_column

if TYPE_CHECKING:
    import pandas as pd


def correlations(table: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """Spearman of every two methods."""
    scores = table[[score_column(m) for m in methods]].set_axis(list(methods), axis=1)
    # By Pearson's of the ranks: the other way imports all of scipy.stats.
    return scores.rank().corr()


def choices(
    table: pd.DataFrame, methods: Sequence[str], budget: str, prices: Prices = FREE
) -> dict[str, pd.Series]:
    """What every method would select by its scores alone: utterance -> seconds.

    Args:
        table: The score table.
        methods: Whose scores it has.
        budget: See :func:`.budget.parse_budget`.
        prices: For a budget of money.

    Raises:
        BudgetError: Nothing fits it, or it is larger than the pool.
    """
    found = {}
    for method in methods:
        rules = Rules(method, budget, prices, filters=Filters(drop_duplicates=False))
        chosen = select(table, rules).chosen
        found[method] = chosen.set_index("utterance")["seconds"]
    return found


def overlaps(found: Mapping[str, pd.Series]) -> pd.DataFrame:
    """How much of the audio of one selection (row) another (column) has too.

    Args:
        found: Of :func:`choices`.
    """
    import pandas as pd

    def common(one: pd.Series, other: pd.Series) -> float:
        # By the index's hash table: isin looks at every utterance as an object of its own.
        inside = other.index.get_indexer(one.index) >= 0
        return float(one[inside].sum() / one.sum())

    return pd.DataFrame({b: {a: common(found[a], found[b]) for a in found} for b in found})
