"""Stage 21: the utterances with the largest scores that fit the budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from espnet_egl.errors import BudgetError, DataError
from espnet_egl.selection.budget import Budget, parse_budget
from espnet_egl.tables import duration, methods_of, score_column, write_rows

if TYPE_CHECKING:
    import pandas as pd

SELECTION_COLUMNS = (
    "rank",
    "utterance",
    "score",
    "seconds",
    "confidence",
    "reason",
    "best_hypothesis",
)


def rank(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """The table ordered by a method's score, largest first; ties by utterance id.

    Raises:
        DataError: The table has no such score.
    """
    column = score_column(method)
    if column not in table.columns:
        raise DataError(
            f"the pool was scored with {', '.join(methods_of(table)) or 'no method'}, not with "
            f"'{method}': score it again under another --al_tag"
        )
    return table.sort_values([column, "utterance"], ascending=[False, True], kind="stable")


def take(ranked: pd.DataFrame, budget: Budget) -> pd.DataFrame:
    """The first rows of a ranking that fit the budget.

    Under a budget of hours an utterance that no longer fits is passed over, so that the
    rest of the budget goes to the next ones that do.
    """
    if budget.utterances is not None:
        return ranked.head(budget.utterances)
    assert budget.seconds is not None
    # Durations are sums of milliseconds: half of one must not cost an utterance.
    left = budget.seconds + 5e-4
    chosen = []
    for seconds in ranked["seconds"]:
        fits = seconds <= left
        left -= seconds if fits else 0.0
        chosen.append(fits)
    return ranked[chosen]


def select(table: pd.DataFrame, method: str, budget_text: str) -> pd.DataFrame:
    """Select under a budget.

    Args:
        table: The score table.
        method: The acquisition method.
        budget_text: E.g. ``500utt``, ``2.5h``, ``20%``.

    Returns:
        SELECTION_COLUMNS, best first.

    Raises:
        BudgetError: See :func:`parse_budget`; or no utterance is short enough for it.
        DataError: The table is empty or lacks the method.
    """
    if table.empty:
        raise DataError("the score table is empty: nothing can be selected; see skipped.tsv")
    budget = parse_budget(budget_text, len(table), float(table["seconds"].sum()))
    ranked = rank(table, method).reset_index(drop=True)
    ranked["reason"] = [f"{method} rank {i} of {len(ranked)}" for i in range(1, len(ranked) + 1)]
    chosen = take(ranked, budget)
    if chosen.empty:
        raise BudgetError(
            f"budget '{budget_text}' is shorter than the shortest utterance "
            f"({table['seconds'].min():.2f} s)"
        )
    chosen = chosen.assign(rank=range(1, len(chosen) + 1), score=chosen[score_column(method)])
    return chosen[list(SELECTION_COLUMNS)]


def write_selection(path: str | Path, selection: pd.DataFrame) -> None:
    """Write ``selection.tsv``."""
    formats = {"score": "{:.8g}", "seconds": "{:.3f}", "confidence": "{:.6f}"}
    write_rows(
        path,
        SELECTION_COLUMNS,
        (
            [formats.get(c, "{}").format(v) for c, v in zip(SELECTION_COLUMNS, row, strict=True)]
            for row in selection.itertuples(index=False)
        ),
    )


def describe(table: pd.DataFrame, selection: pd.DataFrame, method: str, budget_text: str) -> str:
    """What was selected, for the end of the stage: size, the ten best, and the overlaps."""
    lines = [
        f"Selected {len(selection)} of {len(table)} utterances by {method}: "
        f"{duration(selection['seconds'].sum())} of {duration(table['seconds'].sum())} of audio "
        f"(budget {budget_text}).",
        "",
        "The best:",
    ]
    lines.append(_best(selection.head(10), method))
    lines.append("")
    for other in methods_of(table):
        if other != method:
            lines.append(_compare(table, selection, method, other, budget_text))
    return "\n".join(lines)


def _best(rows: pd.DataFrame, method: str) -> str:
    """A table for the terminal."""
    text = {
        "utterance": rows["utterance"],
        "seconds": rows["seconds"].map("{:.2f}".format),
        method: rows["score"].map("{:.4g}".format),
        "confidence": rows["confidence"].map("{:.3f}".format),
        "best hypothesis": rows["best_hypothesis"].str.slice(0, 60),
    }
    columns = [[name, *values] for name, values in text.items()]
    widths = [max(map(len, column)) for column in columns]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*columns, strict=True)
    )


def _compare(
    table: pd.DataFrame, selection: pd.DataFrame, method: str, other: str, budget_text: str
) -> str:
    chosen, others = (
        set(selection["utterance"]),
        set(select(table, other, budget_text)["utterance"]),
    )
    common = len(chosen & others)
    correlation = table[score_column(method)].corr(table[score_column(other)], method="spearman")
    return (
        f"{other} would have chosen {common} of these {len(chosen)} "
        f"({100 * common / len(chosen):.0f} %); Spearman correlation of the two scores over "
        f"the pool: {correlation:.2f}."
    )
