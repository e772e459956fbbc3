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


def tables(
    path: str | Path, test_set: str, against: str, seed_hours: float, prices: Prices
) -> list[str]:
    """Lines of Markdown: error rates, differences, labels saved, areas, forecasts.

    Args:
        path: ``curve.tsv``.
        test_set: Whose error rates.
        against: The method to compare with.
        seed_hours: Of the seed set; 0: nothing is foretold.
        prices: Of labelling; false: costs are not told.

    Raises:
        DataError: See :func:`.worth.read_curves`; or the method to compare with is not there.
    """
    hours = worth.read_curves(path, test_set, "hours")
    clips = worth.read_curves(path, test_set, "utterances")
    if against not in hours:
        raise DataError(f"{path}: '{against}', to compare with, is not in it; give --against")
    sizes = next(iter(hours[against].values())).size[1:]
    counts = next(iter(clips[against].values())).size[1:]
    return [
        *_rates(hours, sizes),
        *_differences(hours, against, sizes, "hours"),
        *_differences(clips, against, counts, "clips"),
        *_saved(hours, against, sizes),
        *_forecasts(hours, clips, seed_hours, prices),
    ]


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return [f"**{title}**", "", *lines, ""]


def _heads(sizes: np.ndarray, unit: str) -> list[str]:
    return [f"{size:.3g} h" if unit == "hours" else f"{size:.0f} clips" for size in sizes]


def _rates(curves: Curves, sizes: np.ndarray) -> list[str]:
    rows = []
    for method, by_seed in curves.items():
        means = [
            worth.estimate(np.array([curve.wer[i + 1] for curve in by_seed.values()]))
            for i in range(min(len(c.wer) for c in by_seed.values()) - 1)
        ]
        cells = [str(m) for m in means] + ["-"] * (len(sizes) - len(means))
        rows.append([method, str(len(by_seed)), *cells])
    return _table("WER, %", ["method", "seeds", *_heads(sizes, "hours")], rows)


def _differences(curves: Curves, against: str, sizes: np.ndarray, unit: str) -> list[str]:
    rows = []
    for method, by_seed in curves.items():
        if method == against:
            continue
        figures = [worth.difference_at(size) for size in sizes]
        cells = [_cell(worth.paired(by_seed, curves[against], figure)) for figure in figures]
        area = worth.paired(by_seed, curves[against], worth.area_difference(sizes[-1]))
        rows.append([method, *cells, _cell(area)])
    head = ["method", *_heads(sizes, unit), "mean of the curve"]
    return _table(f"WER minus that of {against} with as many {unit} labelled", head, rows)


def _saved(curves: Curves, against: str, sizes: np.ndarray) -> list[str]:
    rows = []
    for method, by_seed in curves.items():
        if method == against:
            continue
        cells = []
        for size in sizes:
            values = worth.paired(by_seed, curves[against], worth.saved_at(size))
            missing = len(by_seed.keys() & curves[against].keys()) - len(values)
            note = f"; not reached by {missing}" if missing and len(values) else ""
            cells.append((_cell(values) + note) if len(values) else "not reached")
        rows.append([method, *cells])
    title = f"Hours saved for the WER of {against}, % of its hours"
    return _table(title, ["method", *_heads(sizes, "hours")], rows)


def _cell(values: np.ndarray) -> str:
    return str(worth.estimate(values)) if len(values) else "-"


def _forecasts(hours: Curves, clips: Curves, seed_hours: float, prices: Prices) -> list[str]:
    if seed_hours == 0:
        return []
    rows = []
    for method, by_seed in hours.items():
        last = max(curve.size[-1] for curve in by_seed.values())
        try:
            now = worth.forecast(by_seed, last, seed_hours)
            more = worth.forecast(by_seed, 2 * last, seed_hours)
        except DataError:
            continue
        gain = now.mean - more.mean
        row = [method, str(now), str(more)]
        if prices:
            count = max(curve.size[-1] for curve in clips[method].values())
            cost = last * prices.per_hour + count * prices.per_clip
            row.append(f"{cost / gain:.0f}" if gain > 0.01 else "no gain in sight")
        # Less than the uncertainty of the figure itself cannot be told from nothing.
        row.append("yes" if more.high < now.mean else "cannot be told: label in small steps")
        rows.append(row)
    head = ["method", "WER now, by the fit", "with twice the hours"]
    head += ["cost of a point of WER from here"] if prices else []
    title = "What comes next, by a power law fitted to the curve"
    return _table(title, [*head, "worth going on"], rows) if rows else []
