"""Stage 21: the utterances with the largest scores that fit the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from humanfriendly.text import pluralize

from espnet_egl.acquisition.plan import EMBEDDINGS
from espnet_egl.errors import BudgetError, ConfigError, DataError
from espnet_egl.selection import diversity, holdout, information
from espnet_egl.selection.budget import FREE, Budget, Prices, parse_budget
from espnet_egl.selection.filters import ASKED, FILTERED_COLUMNS, Filters, place_of
from espnet_egl.selection.information import Background
from espnet_egl.selection.ranking import FUSIONS, RANK_BY, rank, split_methods, values_of
from espnet_egl.selection.take import take
from espnet_egl.store.embeddings import factors_of, gradients_of
from espnet_egl.store.tables import duration, methods_of, read_rows, score_column, write_rows

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

NOTHING = Background()
DIVERSITIES = ("none", "kmeans++", "fisher")

SELECTION_COLUMNS = (
    "rank",
    "utterance",
    "score",
    "seconds",
    "confidence",
    "reason",
    "best_hypothesis",
    "audio_hash",
)


@dataclass(frozen=True)
class Rules:
    """How to select.

    Attributes:
        method: The acquisition method, or several with + between them.
        budget: E.g. ``500utt``, ``2.5h``, ``20%``, ``1500EUR``.
        prices: For a budget of money.
        fusion: Of several methods, see :func:`.ranking.rank`.
        rank_by: ``score`` or ``score_per_second``.
        filters: What is not selected.
        random_share: Of the budget, drawn at random: in [0, 1].
        cap: What a value of ``cap_map`` may have, as a budget; a share is the budget's.
        cap_map: Utterance -> speaker, or whatever is to be spread.
        diversity: ``none``, or over gradient embeddings ``kmeans++`` or ``fisher``.
        diversity_pool: Candidates for k-means++: the best worth so many budgets.
        seed: Of all that is drawn.

    Raises:
        ConfigError: A value is out of its range.
    """

    method: str = "egl"
    budget: str = "20%"
    prices: Prices = FREE
    fusion: str = "rank"
    rank_by: str = "score"
    filters: Filters = field(default_factory=Filters)
    random_share: float = 0.0
    cap: str | None = None
    cap_map: Mapping[str, str] = field(default_factory=dict)
    diversity: str = "none"
    diversity_pool: float = 3.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in (
            ("fusion", FUSIONS),
            ("rank_by", RANK_BY),
            ("diversity", DIVERSITIES),
        ):
            if getattr(self, name) not in choices:
                raise ConfigError(f"--{name} must be one of {', '.join(choices)}")
        if not 0 <= self.random_share <= 1:
            raise ConfigError(f"--random_share must be from 0 to 1, not {self.random_share:g}")
        if self.diversity_pool < 1:
            raise ConfigError(f"--diversity_pool must be at least 1, not {self.diversity_pool:g}")


@dataclass(frozen=True)
class Selection:
    """What was selected.

    Attributes:
        chosen: SELECTION_COLUMNS, best first; what was drawn at random stands evenly between.
            The index is the score table's.
        filtered: FILTERED_COLUMNS of what was not, whatever its score; likewise.
    """

    chosen: pd.DataFrame
    filtered: pd.DataFrame


def select(
    table: pd.DataFrame,
    rules: Rules,
    speakers: Mapping[str, str] | None = None,
    embeddings: np.ndarray | None = None,
    background: Background = NOTHING,
) -> Selection:
    """Select under a budget.

    Args:
        table: The score table.
        rules: How.
        speakers: Utterance -> speaker, for near duplicates.
        embeddings: (rows of the table, S), for diversity.
        background: For ``fisher``.

    Raises:
        BudgetError: See :func:`parse_budget`; or nothing fits it.
        ConfigError: A rule needs what is not there.
        DataError: The table is empty or lacks a method.
    """
    import pandas as pd

    if table.empty:
        raise DataError("the score table is empty: nothing can be selected; see skipped.tsv")
    table = table.reset_index(drop=True)
    budget = parse_budget(rules.budget, len(table), float(table["seconds"].sum()), rules.prices)
    failed = rules.filters.failures(table)
    methods = split_methods(rules.method)
    # A copy of a large table takes a while: only what is wanted further on.
    columns = [c for c in table.columns if not c.startswith("score_")]
    columns += [score_column(m) for m in methods]
    eligible = table if failed.empty else table.drop(failed.index)
    order = rank(eligible, methods, rules.fusion, rules.rank_by)
    ranked = table[[c for c in columns if c in table]].take(order.index.to_numpy())
    ranked = ranked.assign(method=order["method"].array, place=order["place"].array)
    ranked["drawn"] = _drawn(ranked, budget, rules)
    # What was drawn comes first: a duplicate of it is passed over, never the other way round.
    if ranked["drawn"].any():
        ranked = ranked.sort_values("drawn", ascending=False, kind="stable")
    same = rules.filters.duplicates(ranked, speakers or {})
    # But a duplicate that was drawn stays, or the draw would not be like the pool.
    same = same.drop(same.index.intersection(ranked.index[ranked["drawn"]]))
    if not same.empty:
        ranked = ranked.drop(same.index)
    if rules.diversity != "none":
        ranked = _spread(ranked, budget, rules, embeddings, background)
    chosen = _mixed(ranked[_fitting(ranked, budget, rules)])
    filtered = pd.concat([failed, same])
    if chosen.empty:
        raise BudgetError(_nothing(table, filtered, rules.budget))
    return Selection(_described(chosen, methods, rules, len(table)), filtered)


def _drawn(ranked: pd.DataFrame, budget: Budget, rules: Rules) -> np.ndarray:
    import numpy as np

    if rules.random_share == 0 or ranked.empty:
        return np.zeros(len(ranked), dtype=bool)
    limit = budget.limit * rules.random_share
    uids, costs = ranked["utterance"].tolist(), budget.costs(ranked)
    return holdout.draw(uids, costs, limit, budget.limit, rules.seed)


def _spread(
    ranked: pd.DataFrame,
    budget: Budget,
    rules: Rules,
    embeddings: np.ndarray | None,
    background: Background,
) -> pd.DataFrame:
    """What was drawn, then the best candidates by k-means++, or a batch, then the others."""
    import numpy as np

    if embeddings is None:
        raise ConfigError(
            "--diversity needs gradient embeddings: score the pool with the method "
            f"{EMBEDDINGS[rules.diversity]} among --methods, under another --al_tag"
        )
    if rules.diversity == "fisher":
        return _covered(ranked, budget, embeddings, background)
    first = int(ranked["drawn"].sum())
    left = budget.limit - float(budget.costs(ranked.head(first)).sum())
    costs = budget.costs(ranked)[first:]
    count = int((costs.cumsum() - costs < rules.diversity_pool * left).sum())
    if count < 2:
        return ranked
    # A third more than the budget has room for: short ones may be picked.
    picks = max(1, int(1.33 * left / costs[:count].mean()))
    rows = ranked.index.to_numpy()[first : first + count]
    order = diversity.spread(gradients_of(embeddings[rows]), picks, rules.seed)
    places = np.concatenate(
        [np.arange(first), first + order, np.arange(first + count, len(ranked))]
    )
    return ranked.iloc[places]


def _covered(
    ranked: pd.DataFrame, budget: Budget, embeddings: np.ndarray, background: Background
) -> pd.DataFrame:
    """What was drawn, then the batch that covers the pool's information best, then the others."""
    import numpy as np

    factors = factors_of(embeddings)
    if factors is None:
        raise ConfigError(
            "--diversity fisher needs Fisher information: score the pool with the method fisher "
            "among --methods, under another --al_tag"
        )
    first, rows = int(ranked["drawn"].sum()), ranked.index.to_numpy()
    costs = budget.costs(ranked)
    pool = information.total(factors[np.sort(rows)])
    known = information.total(factors[rows[:first]])
    order = information.cover(
        factors[rows[first:]],
        costs[first:],
        budget.limit - float(costs[:first].sum()),
        pool if background.target is None else background.target,
        known if background.known is None else known + background.known,
        float(np.trace(pool)) / len(rows),
    )
    return ranked.iloc[np.concatenate([np.arange(first), first + order])]


def _fitting(ranked: pd.DataFrame, budget: Budget, rules: Rules) -> np.ndarray:
    costs = budget.costs(ranked)
    if rules.cap is None:
        return take(costs, budget.limit)
    import pandas as pd

    values = ranked["utterance"].map(rules.cap_map)
    if values.isna().any():
        uid = ranked["utterance"][values.isna()].iloc[0]
        raise DataError(f"--cap_map has no value for '{uid}'")
    groups, _ = pd.factorize(values)
    cap = parse_budget(rules.cap, 2**53, float("inf")) if "%" not in rules.cap else None
    if cap is None:
        share = parse_budget(rules.cap, 1, 1.0).limit
        return take(costs, budget.limit, groups, costs, share * budget.limit)
    return take(costs, budget.limit, groups, cap.costs(ranked), cap.limit)


def _mixed(chosen: pd.DataFrame) -> pd.DataFrame:
    """What was drawn evenly between the others: whatever comes back first has some of both."""
    drawn = chosen["drawn"]
    places = (drawn.groupby(drawn).cumcount() + 0.5) / drawn.groupby(drawn).transform("size")
    return chosen.loc[places.sort_values(kind="stable").index]


def _nothing(table: pd.DataFrame, filtered: pd.DataFrame, budget: str) -> str:
    if len(filtered) == len(table):
        counts = ", ".join(f"{n} {r}" for r, n in filtered["reason"].value_counts().items())
        of = pluralize(len(table), "utterance")
        return f"all is filtered out, {of} ({counts}): loosen the filters"
    return (
        f"budget '{budget}' is shorter than the shortest utterance ({table['seconds'].min():.2f} s)"
    )


def _described(chosen: pd.DataFrame, methods: list[str], rules: Rules, count: int) -> pd.DataFrame:
    """SELECTION_COLUMNS, with the reason for every row."""
    picked = f"picked by {rules.diversity}, " if rules.diversity != "none" else ""
    reasons = [
        "random" if drawn else f"{picked}{method} rank {place} of {count}"
        for drawn, method, place in zip(
            chosen["drawn"], chosen["method"], chosen["place"], strict=True
        )
    ]
    scores = [chosen[score_column(m)].where(chosen["method"] == m, 0.0) for m in methods]
    chosen = chosen.assign(rank=range(1, len(chosen) + 1), score=sum(scores), reason=reasons)
    if "audio_hash" not in chosen:
        chosen = chosen.assign(audio_hash="")
    return chosen[list(SELECTION_COLUMNS)]


def write_selection(path: str | Path, selection: pd.DataFrame) -> None:
    """Write ``selection.tsv``."""
    formats = {"score": "{:.8g}", "seconds": "{:.3f}", "confidence": "{:.6f}"}
    write_rows(
        path,
        SELECTION_COLUMNS,
        zip(
            *(map(formats.get(c, "{}").format, selection[c]) for c in SELECTION_COLUMNS),
            strict=True,
        ),
    )


def read_gone(score_file: str | Path) -> list[list[str]]:
    """FILTERED_COLUMNS of what was scored and is not in the pool any more.

    Raises:
        DataError: The table beside the scores is damaged.
    """
    path = Path(score_file).with_name("gone.tsv")
    rows = read_rows(path, FILTERED_COLUMNS) if path.exists() else []
    return [[row[column] for column in FILTERED_COLUMNS] for row in rows]


def write_filtered(
    path: str | Path, filtered: pd.DataFrame, gone: Sequence[Sequence[str]] = ()
) -> None:
    """Write ``filtered.tsv``, by reason and utterance; with what is not in the pool any more."""
    rows = filtered[list(FILTERED_COLUMNS)].itertuples(index=False)
    write_rows(path, FILTERED_COLUMNS, sorted([*rows, *gone], key=lambda row: (row[1], row[0])))


def describe(table: pd.DataFrame, selection: Selection, rules: Rules) -> str:
    """What was selected, for the end of the stage: size, the ten best, and the overlaps."""
    chosen = selection.chosen
    lines = [
        f"Selected {len(chosen)} of {pluralize(len(table), 'utterance')} by {rules.method}: "
        f"{duration(chosen['seconds'].sum())} of {duration(table['seconds'].sum())} of audio "
        f"(budget {rules.budget}).",
    ]
    if rules.prices:
        lines.append(f"Cost: {rules.prices.of(chosen).sum():.2f}.")
    if drawn := int((chosen["reason"] == "random").sum()):
        lines.append(f"Drawn at random, to tell what the pool is like: {drawn} of them.")
    if not selection.filtered.empty:
        counts = selection.filtered["reason"].value_counts()
        listed = ", ".join(f"{n} {reason}" for reason, n in counts.items())
        lines.append(f"Left out, see filtered.tsv: {listed}.")
    asked = selection.filtered.loc[selection.filtered["reason"] == ASKED, "detail"]
    for place, count in asked.map(place_of).value_counts(sort=False).items():
        lines.append(f"Handed over by {place}, and not asked again: {count} of these.")
    best = chosen[chosen["reason"] != "random"].head(10)
    lines += ["", "The best:", _best(best, rules.method), ""]
    for other in methods_of(table):
        if other not in split_methods(rules.method):
            lines.append(_compare(table, selection, rules, other))
    return "\n".join(lines)


def _best(rows: pd.DataFrame, method: str) -> str:
    """A table for the terminal."""
    text = {
        "utterance": rows["utterance"],
        "seconds": rows["seconds"].map("{:.2f}".format),
        method: rows["score"].map("{:z.4g}".format),
        "confidence": rows["confidence"].map("{:.3f}".format),
        "best hypothesis": rows["best_hypothesis"].str.slice(0, 60),
    }
    columns = [[name, *values] for name, values in text.items()]
    widths = [max(map(len, column)) for column in columns]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*columns, strict=True)
    )


def _compare(table: pd.DataFrame, selection: Selection, rules: Rules, other: str) -> str:
    """What another method would have chosen of the same utterances."""
    eligible = table.drop(selection.filtered.index)[["utterance", "seconds", score_column(other)]]
    budget = parse_budget(rules.budget, len(table), float(table["seconds"].sum()), rules.prices)
    order = rank(eligible, [other], rank_by=rules.rank_by).index
    others = order[take(budget.costs(eligible.loc[order]), budget.limit)]
    chosen = selection.chosen.index
    common = len(chosen.intersection(others))
    first = split_methods(rules.method)[0]
    scores = (values_of(table, method) for method in (first, other))
    import pandas as pd

    # Spearman's, by Pearson's of the ranks: the other way imports all of scipy.stats.
    ranks = (pd.Series(values).rank() for values in scores)
    correlation = next(ranks).corr(next(ranks))
    of = "the two scores" if "+" not in rules.method else f"{first} and {other}"
    return (
        f"{other} would have chosen {common} of these {len(chosen)} "
        f"({100 * common / len(chosen):.0f} %); Spearman correlation of {of} over "
        f"the pool: {correlation:z.2f}."
    )
