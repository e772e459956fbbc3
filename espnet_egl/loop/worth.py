"""What labelling was worth: learning curves compared with random selection.

A curve is the WER of one method over the hours (or clips) labelled, for each random seed; it
starts at the seed model. Between its points it is taken to be straight. Differences are paired:
method and random selection of the same seed share what is drawn and how training starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from espnet_egl.errors import DataError
from espnet_egl.store.tables import read_rows

if TYPE_CHECKING:
    import pandas as pd

# An English phrase and its values -> the phrase in the reader's language, filled in.
Say = Callable[..., str]
# Of a size: methods with the same budget spend it not quite alike.
SLACK = 0.02
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with a 95 % interval; the ends are NaN where ``why`` there is none."""

    mean: float
    low: float
    high: float
    why: str = "one seed"

    def __str__(self) -> str:
        return self.said()

    def said(self, say: Say = str.format) -> str:
        """With its interval, for people."""
        if np.isnan(self.low):
            return say("{mean:z.2f} ({why})", mean=self.mean, why=say(self.why))
        ends = {"low": self.low, "high": self.high}
        return say("{mean:z.2f} ({low:z.2f} to {high:z.2f})", mean=self.mean, **ends)


def estimate(values: np.ndarray) -> Estimate:
    """Of values of independent seeds, by Student's t.

    Not by bootstrap: of five values, its 95 % interval holds the mean in 84 % of cases.

    >>> str(estimate(np.array([2.0])))
    '2.00 (one seed)'
    >>> str(estimate(np.array([1.0, 2.0, 3.0])))
    '2.00 (-0.48 to 4.48)'
    """
    from scipy.stats import ttest_1samp

    mean = float(np.mean(values))
    if len(values) < 2 or np.ptp(values) == 0:
        end = np.nan if len(values) < 2 else mean
        return Estimate(mean, end, end)
    low, high = ttest_1samp(values, 0).confidence_interval(LEVEL)
    return Estimate(mean, float(low), float(high))


@dataclass(frozen=True)
class Curve:
    """WER over what was labelled, of one method and seed.

    Attributes:
        size: (P,) hours or utterances, rising; the first is 0, the seed model.
        wer: (P,) in percent.
    """

    size: np.ndarray
    wer: np.ndarray

    def at(self, size: float) -> float:
        """WER by straight interpolation; NaN beyond the last point."""
        # A budget is never spent to the last second.
        size = min(size, self.size[-1]) if size <= self.size[-1] * (1 + SLACK) else size
        return float(np.interp(size, self.size, self.wer, right=np.nan))

    def reaches(self, wer: float) -> float:
        """The smallest size with this WER or less; NaN if there is none."""
        below = np.flatnonzero(self.wer <= wer)
        if not len(below):
            return np.nan
        end = below[0]
        if end == 0:
            return float(self.size[0])
        share = (self.wer[end - 1] - wer) / (self.wer[end - 1] - self.wer[end])
        return float(self.size[end - 1] + share * (self.size[end] - self.size[end - 1]))

    def area(self, size: float) -> float:
        """The mean WER from the first point to ``size``."""
        inside = self.size < size
        sizes = np.append(self.size[inside], size)
        wers = np.append(self.wer[inside], self.at(size))
        return float(np.trapezoid(wers, sizes) / (size - sizes[0]))


# Columns of curve.tsv that are read as such.
NUMBERS = ("seed", "round", "utterances", "hours", "cost", "wer")


def read_points(path: str | Path, test_set: str) -> pd.DataFrame:
    """The rows of a test set from ``curve.tsv``, of a simulation or of real rounds.

    Returns:
        With method and budget as text, the figures as numbers. Of real rounds the budgets have
        their round's number: each spends a budget of its own, a simulation's rounds share one.

    Raises:
        DataError: It is missing or malformed, or has no round of such a test set.
    """
    import pandas as pd

    rows = read_rows(path, ("method", "budget", "test_set", *NUMBERS))
    rows = [row for row in rows if row["test_set"] == test_set]
    if all(row["round"] == "0" for row in rows):
        raise DataError(f"{path}: no round of test set '{test_set}' is in it")
    table = pd.DataFrame(rows)
    try:
        for name in NUMBERS:
            table[name] = pd.to_numeric(table[name])
        table = table.astype({"seed": int, "round": int})
    except ValueError as e:
        raise DataError(f"{path}: not a learning curve: {e}") from e
    trained = table["round"] > 0
    if "seconds" in table:
        table.loc[trained, "budget"] += " (round " + table["round"].astype(str) + ")"
    return table


def curves_of(points: pd.DataFrame, axis: str) -> dict[str, dict[int, Curve]]:
    """Method -> seed -> curve.

    Args:
        points: Of :func:`read_points`.
        axis: What the WER is told over: hours, utterances or cost.
    """
    start = points.loc[points["round"] == 0, "wer"]
    curves: dict[str, dict[int, Curve]] = {}
    for (method, seed), group in points[points["round"] > 0].groupby(["method", "seed"]):
        curves.setdefault(str(method), {})[int(str(seed))] = _curve(group, start, axis)
    return curves


def rates_of(points: pd.DataFrame) -> dict[str, dict[str, tuple[float, np.ndarray]]]:
    """Method -> budget -> mean hours, and the WER of every seed; the seed model's method is empty.

    Args:
        points: Of :func:`read_points`.
    """
    # Of several rounds with one budget, the last is the one that spent it.
    table = points.sort_values("round").groupby(["method", "budget", "seed"], as_index=False).last()
    rates: dict[str, dict[str, tuple[float, np.ndarray]]] = {}
    for (method, budget), group in table.groupby(["method", "budget"]):
        figures = (float(group["hours"].mean()), group["wer"].to_numpy(float))
        rates.setdefault(str(method), {})[str(budget)] = figures
    return rates


def _curve(group: pd.DataFrame, start: pd.Series, axis: str) -> Curve:
    # As above: the last of several rounds.
    group = group.sort_values("round").groupby("budget", sort=False).last()
    group = group.sort_values(axis).drop_duplicates(axis)
    first = start.head(1).to_numpy(float)
    sizes = np.append(np.zeros(len(first)), group[axis].to_numpy(float))
    return Curve(sizes, np.append(first, group["wer"].to_numpy(float)))


def paired(
    curves: Mapping[int, Curve],
    against: Mapping[int, Curve],
    of: Callable[[Curve, Curve], float],
) -> np.ndarray:
    """A figure of two curves for every seed that has both; without what is not defined.

    Args:
        curves: Seed -> curve of the method.
        against: Seed -> curve of random selection.
        of: The figure of the two; NaN where it is not defined.
    """
    seeds = sorted(curves.keys() & against.keys())
    values = np.array([of(curves[seed], against[seed]) for seed in seeds], float)
    return values[np.isfinite(values)]


def difference_at(size: float) -> Callable[[Curve, Curve], float]:
    """WER of the method minus random selection's with as much labelled; below 0 is better."""
    return lambda curve, other: curve.at(size) - other.at(size)


def saved_at(size: float) -> Callable[[Curve, Curve], float]:
    """Percent of random selection's ``size`` that the method does without for equal WER.

    NaN where the method does not reach it, or there is nothing to reach: :func:`gained_at`.
    """

    def saved(curve: Curve, other: Curve) -> float:
        gained = gained_at(size)(curve, other)
        return 100 * (1 - curve.reaches(other.at(size)) / size) if gained > 0 else np.nan

    return saved


def gained_at(size: float) -> Callable[[Curve, Curve], float]:
    """What random selection gained by ``size``; NaN if nothing, or if it ends before."""

    def gained(_: Curve, other: Curve) -> float:
        gain = other.wer[0] - other.at(size)
        return float(gain) if gain > 0 else np.nan

    return gained


def area_difference(size: float) -> Callable[[Curve, Curve], float]:
    """Mean WER up to ``size``, of the method minus random selection's."""
    return lambda curve, other: curve.area(size) - other.area(size)
