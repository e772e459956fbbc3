"""The comparison of learning curves as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from espnet_egl.errors import DataError
from espnet_egl.loop import worth

if TYPE_CHECKING:
    from espnet_egl.loop.worth import Curve
    from espnet_egl.selection.budget import Prices

Curves = dict[str, dict[int, "Curve"]]
# Method -> budget -> mean hours, and the WER of every seed.
Rates = dict[str, dict[str, tuple[float, np.ndarray]]]
# Points of WER: below it, a price for a point means nothing.
LEAST_GAIN = 0.01


def tables(
    path: str | Path, test_set: str, against: str, seed_hours: float, prices: Prices
) -> list[str]:
    """Lines of Markdown: error rates, differences, labels saved, areas, forecasts.

    Args:
        path: ``curve.tsv``.
        test_set: Whose error rates.
        against: The method to compare with; where it is not there, nothing is compared.
        seed_hours: Of the seed set; 0: nothing is foretold.
        prices: Of labelling, where the curve has no costs; both false: costs are not told.

    Raises:
        DataError: See :func:`.worth.read_points`.
    """
    points = worth.read_points(path, test_set)
    hours, clips, costs = (
        worth.curves_of(points, axis) for axis in ("hours", "utterances", "cost")
    )
    lines = _rates(worth.rates_of(points))
    if against in hours and len(hours) > 1:
        lines += _differences(hours, against, "hours")
        lines += _differences(clips, against, "clips")
        lines += _saved(hours, against)
    return lines + _forecasts(hours, clips, costs, seed_hours, prices)


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return [f"**{title}**", "", *lines, ""]


def _heads(sizes: np.ndarray, unit: str) -> list[str]:
    return [f"{size:.3g} h" if unit == "hours" else f"{size:.0f} clips" for size in sizes]


def _rates(rates: Rates) -> list[str]:
    """The cells as they were measured; budgets in the order of their hours."""
    hours: dict[str, list[float]] = {}
    for by_budget in rates.values():
        for budget, (size, _) in by_budget.items():
            hours.setdefault(budget, []).append(size)
    budgets = sorted(hours, key=lambda budget: float(np.mean(hours[budget])))
    rows = [
        [
            method or "seed model",
            *(_cell(by_budget[b][1]) if b in by_budget else "-" for b in budgets),
        ]
        for method, by_budget in rates.items()
    ]
    return _table("WER, %", ["method", *(b or "nothing" for b in budgets)], rows)


def _differences(curves: Curves, against: str, unit: str) -> list[str]:
    rows, sizes = [], next(iter(curves[against].values())).size[1:]
    for method, by_seed in curves.items():
        if method == against:
            continue
        figures = [worth.difference_at(size) for size in sizes]
        figures.append(worth.area_difference(sizes[-1]))
        pairs = len(by_seed.keys() & curves[against].keys())
        values = [worth.paired(by_seed, curves[against], figure) for figure in figures]
        rows.append([method, *(_cell(v, pairs) for v in values)])
    head = ["method", *_heads(sizes, unit), "mean of the curve"]
    return _table(f"WER minus that of {against} with as many {unit} labelled", head, rows)


def _saved(curves: Curves, against: str) -> list[str]:
    rows, sizes = [], next(iter(curves[against].values())).size[1:]
    for method, by_seed in curves.items():
        if method == against:
            continue
        cells = []
        for size in sizes:
            values = worth.paired(by_seed, curves[against], worth.saved_at(size))
            missing = len(worth.paired(by_seed, curves[against], worth.gained_at(size)))
            missing -= len(values)
            note = f"; not reached by {missing}" if missing and len(values) else ""
            cells.append("not reached" if missing and not len(values) else _cell(values) + note)
        rows.append([method, *cells])
    title = f"Hours saved for the WER of {against}, % of its hours"
    return _table(title, ["method", *_heads(sizes, "hours")], rows)


def _cell(values: np.ndarray, seeds: int = 0) -> str:
    """Of what is defined; says so where that are fewer seeds than there are."""
    if not len(values):
        return "-"
    note = f"; {len(values)} of {seeds} seeds" if len(values) < seeds else ""
    return f"{worth.estimate(values)}{note}"


def _forecasts(
    hours: Curves, clips: Curves, costs: Curves, seed_hours: float, prices: Prices
) -> list[str]:
    if seed_hours == 0:
        return []
    rows = []
    for method, by_seed in hours.items():
        last = max(curve.size[-1] for curve in by_seed.values())
        count = max(curve.size[-1] for curve in clips[method].values())
        cost = max(curve.size[-1] for curve in costs[method].values())
        if prices:
            cost = prices.total(count, last)
        try:
            now = worth.forecast(by_seed, last, seed_hours)
            more = worth.forecast(by_seed, 2 * last, seed_hours)
        except DataError:
            continue
        gain = now.mean - more.mean
        price = "-"
        if cost:
            price = f"{cost / gain:.0f}" if gain > LEAST_GAIN else "no gain in sight"
        # Less than the uncertainty of the figure itself cannot be told from nothing.
        hint = "yes" if more.high < now.mean else "cannot be told: label in small steps"
        rows.append([method, str(now), str(more), price, hint])
    head = ["method", "WER now, by the fit", "with twice the hours"]
    head += ["cost of a point of WER from here", "worth going on"]
    title = "What comes next, by a power law fitted to the curve"
    return _table(title, head, rows) if rows else []
