"""The report's plots: light, printable, told apart with any colour vision, the same every time."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from espnet_egl.loop import worth
from espnet_egl.loop.worth import Say
from espnet_egl.report.blocks import Plot
from espnet_egl.store.tables import score_column

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of Okabe and Ito: told apart with any colour vision, and in grey.
METHOD, RIVAL = "#0072B2", "#999999"
COLUMNS = 4
# Points of a scatter plot that are drawn.
MOST_POINTS = 5000
# That have the signs of the languages a label may be in.
FONTS = ("Noto Sans CJK JP", "IPAexGothic", "IPAGothic", "Hiragino Sans", "Yu Gothic")
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    # A name may hold a dollar sign.
    "text.parse_math": False,
    # Equal bytes for equal data.
    "svg.hashsalt": "espnet_egl",
    "svg.fonttype": "path",
}


@dataclass(frozen=True)
class Band:
    """A method's learning curve.

    Attributes:
        size: (P,) of what was labelled.
        mean: (P,) WER, over seeds.
        low: (P,) of its 95 % interval.
        high: (P,) likewise.
        seeds: How many; of one, the interval is the test set's.
    """

    size: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: int


def bands(points: pd.DataFrame, axis: str) -> dict[str, Band]:
    """The curves of all methods.

    Args:
        points: Of :func:`.worth.read_points`.
        axis: hours, utterances or cost.
    """
    return {
        method: _band(list(curves.values()), points, method, axis)
        for method, curves in worth.curves_of(points, axis).items()
    }


def _band(curves: list[worth.Curve], points: pd.DataFrame, method: str, axis: str) -> Band:
    # A simulation that is not at its end has seeds with a part of the sizes.
    length = max(len(curve.size) for curve in curves)
    curves = [curve for curve in curves if len(curve.size) == length]
    size = np.mean([curve.size for curve in curves], axis=0)
    wers = np.array([curve.wer for curve in curves])
    if len(curves) > 1:
        found = [worth.estimate(column) for column in wers.T]
        return Band(
            size,
            wers.mean(0),
            np.array([f.low for f in found]),
            np.array([f.high for f in found]),
            len(curves),
        )
    rows = points[(points["method"] == method) | (points["round"] == 0)]
    ends = {
        (float(r[axis]) if r["round"] else 0.0, float(r["wer"])): (r["wer_lo"], r["wer_hi"])
        for _, r in rows.iterrows()
    }
    pairs = [ends.get(key, (np.nan, np.nan)) for key in zip(size, wers[0], strict=True)]
    low, high = np.array(pairs, float).T
    return Band(size, wers[0], low, high, 1)


def curve_figure(
    points: pd.DataFrame, axis: str, test_set: str, against: str, say: Say = str.format
) -> Figure:
    """A panel a method: its learning curve, beside what it is compared with.

    Args:
        points: Of :func:`.worth.read_points`.
        axis: hours, utterances or cost.
        test_set: Its name.
        against: Method.
        say: The language.
    """
    found = bands(points, axis)
    names = [name for name in found if name != against] or list(found)
    unit, factor = {
        "hours": (say("labelled, hours"), 1.0),
        "utterances": (say("labelled, clips"), 1.0),
        "cost": (say("cost"), 1.0),
    }[axis]
    if axis == "hours" and max(band.size[-1] for band in found.values()) < 2:
        unit, factor = say("labelled, minutes"), 60.0
    figure, axes = _panels(len(names), share=True)
    for panel, name in zip(axes, names, strict=True):
        if against in found and against != name:
            _draw(panel, found[against], factor, RIVAL, "--", against)
        _draw(panel, found[name], factor, METHOD, "-", name)
        panel.legend(fontsize=8, frameon=False)
        panel.grid(alpha=0.3)
        panel.set_ylim(bottom=0)
    figure.supxlabel(unit, fontsize=10)
    figure.supylabel(say("WER on {test_set}, %", test_set=test_set), fontsize=10)
    return figure


def _draw(panel: Axes, band: Band, factor: float, colour: str, line: str, label: str) -> None:
    size = band.size * factor
    panel.plot(size, band.mean, line, color=colour, marker="o", ms=3, label=label)
    panel.fill_between(size, band.low, band.high, color=colour, alpha=0.2, lw=0)


def learning_curves(
    points: pd.DataFrame, axis: str, test_set: str, against: str, say: Say, name: str = ""
) -> Plot:
    """The plot of :func:`curve_figure`; its files are named by axis and set, or ``name``."""
    said = ". ".join(
        say(
            "{method}: from {first:.1f} % to {last:.1f} % WER",
            method=method,
            first=band.mean[0],
            last=band.mean[-1],
        )
        for method, band in bands(points, axis).items()
    )
    caption = {
        "hours": say("WER on {test_set} over the hours labelled", test_set=test_set),
        "utterances": say("WER on {test_set} over the clips labelled", test_set=test_set),
        "cost": say("WER on {test_set} over the cost", test_set=test_set),
    }[axis]
    return _plot(
        name or f"curve_{axis}_{test_set.replace('/', '_')}",
        caption,
        said,
        lambda say: curve_figure(points, axis, test_set, against, say),
        say,
    )


def rank_figure(
    table: pd.DataFrame, methods: Sequence[str], first: str, say: Say = str.format
) -> Figure:
    """A method's rank against the others', as in the paper's figure 2.

    Args:
        table: The score table.
        methods: Whose scores it has.
        first: Of these, the one on every horizontal axis.
        say: The language.
    """
    ranks = table[[score_column(m) for m in methods]].rank(ascending=False)
    if len(ranks) > MOST_POINTS:
        ranks = ranks.sample(MOST_POINTS, random_state=0)
    others = [m for m in methods if m != first]
    figure, axes = _panels(len(others))
    for panel, method in zip(axes, others, strict=True):
        one, other = ranks[score_column(first)], ranks[score_column(method)]
        # As pixels, however many there are.
        panel.scatter(one, other, s=3, color=METHOD, alpha=0.5, linewidths=0, rasterized=True)
        panel.set(
            xlabel=say("rank by {method}", method=first),
            ylabel=say("rank by {method}", method=method),
            aspect="equal",
        )
    return figure


def ranks(table: pd.DataFrame, methods: Sequence[str], first: str, say: Say) -> Plot:
    """The plot of :func:`rank_figure`."""
    columns = table[[score_column(m) for m in methods]].rank().corr()[score_column(first)]
    said = ". ".join(
        say("Spearman correlation of {first} and {other}: {rho:z.2f}", first=first, other=m, rho=r)
        for m in methods
        if m != first and (r := columns[score_column(m)]) == r
    )
    caption = say("Rank by {method} against rank by the others; 1 is labelled first", method=first)
    return _plot("ranks", caption, said, lambda say: rank_figure(table, methods, first, say), say)


def histograms(
    table: pd.DataFrame,
    chosen: Sequence[str],
    methods: Sequence[str],
    say: Say,
    name: str = "scores",
) -> Plot:
    """Of every method's scores, in the pool and in the selection."""
    inside = table["utterance"].isin(chosen)

    def draw(say: Say) -> Figure:
        figure, axes = _panels(len(methods))
        for panel, method in zip(axes, methods, strict=True):
            _histogram(panel, table[score_column(method)], inside, method, say)
        return figure

    said = ". ".join(
        say(
            "{method}: median {pool:.3g} in the pool, {chosen:.3g} in the selection",
            method=method,
            pool=table[score_column(method)].median(),
            chosen=table.loc[inside, score_column(method)].median(),
        )
        for method in methods
    )
    return _plot(name, say("Scores of the pool and of the selection"), said, draw, say)


def _histogram(panel: Axes, scores: pd.Series, inside: pd.Series, method: str, say: Say) -> None:
    low, high = scores.min(), scores.max()
    # Gradient lengths go over decades.
    if low > 0 and high > 1000 * low:
        bins: Any = np.geomspace(low, high, 30)
        _set_log_scale(panel)
    else:
        bins = np.linspace(low, high if high > low else low + 1, 30)
    panel.hist(scores, bins, color=RIVAL, alpha=0.6, label=say("pool"))
    panel.hist(scores[inside], bins, color=METHOD, alpha=0.8, label=say("selection"))
    panel.set(xlabel=say("score by {method}", method=method), ylabel=say("clips"))
    panel.legend(fontsize=8, frameon=False)


def _set_log_scale(panel: Axes) -> None:
    """With plain numbers: matplotlib's own labels are markup, which the style shows as it is."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    panel.set_xscale("log")
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())


def _panels(count: int, share: bool = False) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(max(4.0, 3.0 * columns), 2.8 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=share, sharey=share, squeeze=False)
    for panel in list(axes.flat)[count:]:
        panel.remove()
    for panel in list(axes.flat)[max(0, count - columns) : count]:
        # The lowest of its column, if not of the last row; sharing would hide its labels.
        panel.tick_params(labelbottom=True)
    return figure, list(axes.flat)[:count]


def _plot(name: str, caption: str, said: str, draw: Callable[[Say], Figure], say: Say) -> Plot:
    """Draw it in the report's language, or in English where no font has its signs."""
    import matplotlib as mpl

    with mpl.rc_context(style(caption)):
        if not _drawable(caption):
            say = str.format
        figure = draw(say)
        svg, png = io.BytesIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None}, dpi=100)
        figure.savefig(png, format="png", metadata={"Software": None}, dpi=120)
    return Plot(name, caption, said, svg.getvalue(), png.getvalue())


def style(text: str = "") -> Any:
    """Settings of matplotlib, with a font that has the signs of a text, if one is installed."""
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    wanted = [] if text.isascii() else [name for name in FONTS if name in installed]
    return {**STYLE, "font.family": ["DejaVu Sans", *wanted[:1]]}


def _drawable(text: str) -> bool:
    from matplotlib import font_manager, rcParams
    from matplotlib.ft2font import FT2Font

    known: set[int] = set()
    for family in rcParams["font.family"]:
        known |= FT2Font(font_manager.findfont(family)).get_charmap().keys()
    return all(ord(sign) in known or sign.isspace() for sign in text)
