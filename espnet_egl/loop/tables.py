"""The comparison of learning curves as tables, in English or translated, and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from espnet_egl.errors import DataError
from espnet_egl.loop import power_law, worth
from espnet_egl.loop.worth import Say

if TYPE_CHECKING:
    from espnet_egl.loop.worth import Curve
    from espnet_egl.selection.budget import Prices

Curves = dict[str, dict[int, "Curve"]]
# Method -> budget -> mean hours, and the WER of every seed.
Rates = dict[str, dict[str, tuple[float, np.ndarray]]]
# Points of WER: below it, a price for a point means nothing.
LEAST_GAIN = 0.01
# What Markdown takes for markup within a line; an underline within a word is none.
MARKUP = re.compile(r"[\\`*~|\[\]]|(?<![^\W_])_|_(?![^\W_])")


@dataclass(frozen=True)
class Table:
    """Text in rows and columns; the first column names the row.

    Attributes:
        title: What it shows.
        head: The columns' names.
        rows: As long as the head each.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> list[str]:
        """Its lines, an empty one at the end; nothing in it is markup."""
        cells = ([inert(cell) for cell in row] for row in (self.head, *self.rows))
        lines = [f"| {' | '.join(row)} |" for row in cells]
        lines.insert(1, f"| {' | '.join(['---'] * len(self.head))} |")
        return [f"**{inert(self.title)}**", "", *lines, ""]


def amount(seconds: float, say: Say = str.format) -> str:
    """Seconds as a person says them.

    >>> amount(48), amount(750)
    ('48 s', '12.5 minutes')
    """
    if seconds < 120:
        return say("{n:.3g} s", n=seconds)
    if seconds < 7200:
        return say("{n:.1f} minutes", n=seconds / 60)
    return say("{n:.1f} hours", n=seconds / 3600)


def number_of_clips(number: int, say: Say = str.format) -> str:
    """As a person says it.

    >>> number_of_clips(1), number_of_clips(20)
    ('1 clip', '20 clips')
    """
    return say("1 clip") if number == 1 else say("{n} clips", n=number)


def tables(
    path: str | Path, test_set: str, against: str, seed_hours: float, prices: Prices
) -> list[str]:
    """The lines of :func:`comparison` in Markdown."""
    found = comparison(path, test_set, against, seed_hours, prices)
    return [line for table in found for line in table.markdown()]


def comparison(
    path: str | Path,
    test_set: str,
    against: str,
    seed_hours: float,
    prices: Prices,
    say: Say = str.format,
) -> list[Table]:
    """Error rates, differences, labels saved, areas, forecasts.

    Args:
        path: ``curve.tsv``.
        test_set: Whose error rates.
        against: The method to compare with; where it is not there, nothing is compared.
        seed_hours: Of the seed set; 0: nothing is foretold.
        prices: Of labelling, in place of the curve's costs; both 0: the curve's.
        say: The language of it.

    Raises:
        DataError: See :func:`.worth.read_points`.
    """
    points = worth.read_points(path, test_set)
    hours, clips, costs = (
        worth.curves_of(points, axis) for axis in ("hours", "utterances", "cost")
    )
    found = [_rates(worth.rates_of(points), say)]
    if against in hours and len(hours) > 1:
        found.append(_differences(hours, against, "hours", say))
        found.append(_differences(clips, against, "clips", say))
        found.append(_saved(hours, against, say))
    rows = _forecasts(hours, clips, costs, seed_hours, prices, say)
    if rows:
        head = [
            say("method"),
            say("WER now, by the fit"),
            say("with twice the hours"),
            say("with four times the hours"),
            say("cost of a point of WER from here"),
            say("worth going on"),
        ]
        title = say("What comes next, by a power law fitted to the curve")
        found.append(Table(title, head, rows))
    return found


def inert(text: str) -> str:
    """Text so that Markdown shows it as it is.

    >>> print(inert("[one](https://x) *two* snr_db _three_"))
    \\[one\\](https://x) \\*two\\* snr_db \\_three\\_
    """
    return MARKUP.sub(r"\\\g<0>", text.replace("&", "&amp;").replace("<", "&lt;"))


def money(amount: float) -> str:
    """With its first three digits at least: no price is rounded to nothing.

    >>> money(0.01234), money(1234.5)
    ('0.0123', '1234')
    """
    return f"{amount:.0f}" if amount >= 100 else f"{amount:.3g}"


def _heads(sizes: np.ndarray, unit: str, say: Say) -> list[str]:
    if unit == "hours":
        return [say("{size:.3g} h", size=size) for size in sizes]
    return [number_of_clips(round(size), say) for size in sizes]


def _rates(rates: Rates, say: Say) -> Table:
    """The cells as they were measured; budgets in the order of their hours."""
    hours: dict[str, list[float]] = {}
    for by_budget in rates.values():
        for budget, (size, _) in by_budget.items():
            hours.setdefault(budget, []).append(size)
    budgets = sorted(hours, key=lambda budget: float(np.mean(hours[budget])))
    rows = [
        [
            method or say("seed model"),
            *(_cell(by_budget[b][1], say) if b in by_budget else "-" for b in budgets),
        ]
        for method, by_budget in rates.items()
    ]
    head = [say("method"), *(b or say("nothing") for b in budgets)]
    return Table(say("WER, %"), head, rows)


def _sizes(curves: dict[int, Curve]) -> np.ndarray:
    """That were labelled; a curve may lack the seed model."""
    size = next(iter(curves.values())).size
    return size[size > 0]


def _differences(curves: Curves, against: str, unit: str, say: Say) -> Table:
    rows, sizes = [], _sizes(curves[against])
    for method, by_seed in curves.items():
        if method == against:
            continue
        figures = [worth.difference_at(size) for size in sizes]
        figures.append(worth.area_difference(sizes[-1]))
        pairs = len(by_seed.keys() & curves[against].keys())
        values = [worth.paired(by_seed, curves[against], figure) for figure in figures]
        rows.append([method, *(_cell(v, say, pairs) for v in values)])
    head = [say("method"), *_heads(sizes, unit, say), say("mean of the curve")]
    if unit == "hours":
        title = say("WER minus that of {method} with as many hours labelled", method=against)
    else:
        title = say("WER minus that of {method} with as many clips labelled", method=against)
    return Table(title, head, rows)


def _saved(curves: Curves, against: str, say: Say) -> Table:
    rows, sizes = [], _sizes(curves[against])
    for method, by_seed in curves.items():
        if method == against:
            continue
        cells = []
        for size in sizes:
            values = worth.paired(by_seed, curves[against], worth.saved_at(size))
            missing = len(worth.paired(by_seed, curves[against], worth.gained_at(size)))
            missing -= len(values)
            if missing and not len(values):
                cells.append(say("not reached"))
            else:
                note = say("; not reached by {n}", n=missing) if missing else ""
                cells.append(_cell(values, say) + note)
        rows.append([method, *cells])
    title = say("Hours saved for the WER of {method}, % of its hours", method=against)
    return Table(title, [say("method"), *_heads(sizes, "hours", say)], rows)


def _cell(values: np.ndarray, say: Say, seeds: int = 0) -> str:
    """Of what is defined; says so where that are fewer seeds than there are."""
    if not len(values):
        return "-"
    few = len(values) < seeds
    note = say("; {n} of {seeds} seeds", n=len(values), seeds=seeds) if few else ""
    return worth.estimate(values).said(say) + note


def _forecasts(
    hours: Curves, clips: Curves, costs: Curves, seed_hours: float, prices: Prices, say: Say
) -> list[list[str]]:
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
            found = power_law.outlook(by_seed, seed_hours)
        except power_law.NoPowerLawError:
            rows.append([method, say("the curve fits no power law"), "-", "-", "-", "-"])
            continue
        except DataError:
            continue
        gain = found.now.mean - found.twice.mean
        price = "-"
        if cost:
            price = money(cost / gain) if gain > LEAST_GAIN else say("no gain in sight")
        hint = say("cannot be told: label in small steps")
        if found.pays is not None:
            hint = say("yes") if found.pays else say("no")
        wers = (wer.said(say) for wer in (found.now, found.twice, found.four))
        rows.append([method, *wers, price, hint])
    return rows
