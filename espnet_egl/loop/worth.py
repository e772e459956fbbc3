"""What labelling was worth: learning curves compared with random selection, and what comes next.

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
# That a power law is fitted to.
LEAST_SIZES = 3
PARAMETERS = 3
# Points more than parameters; with fewer, residuals say nothing of the noise.
LEAST_FREEDOM = 3
# Of the residuals.
RESAMPLES = 200
# Of a law. A fit that ends at one of them is no law, but the limit of what was tried.
EXPONENTS = (0.01, 10.0)
# Of the tests whether a curve is flat, and whether it strays from the law fitted to it.
SIGNIFICANCE = 0.01
# Of the error rate now: twice the hours must gain more, or labelling is not worth it.
LEAST_SHARE = 0.01
NO_LAW = "the curve fits no power law"


class NoPowerLawError(DataError):
    """The curve has points enough, and fits no power law."""


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


@dataclass(frozen=True)
class PowerLaw:
    """WER = floor + scale * (seed_hours + hours)^-exponent, as learning curves go.

    Attributes:
        seed_hours: Transcribed before anything was labelled.
        floor: What more of the same data does not mend, in percent; at least 0.
        scale: At least 0; 0: the curve is flat.
        exponent: Above 0.
    """

    seed_hours: float
    floor: float
    scale: float
    exponent: float

    def at(self, hours: float | np.ndarray) -> np.ndarray:
        """WER with so many hours labelled."""
        return self.floor + self.scale * (self.seed_hours + np.asarray(hours)) ** -self.exponent


@dataclass(frozen=True)
class Outlook:
    """What more labels should bring, by a power law; WER in percent, see :func:`forecast`.

    Attributes:
        now: With the hours that are labelled.
        twice: With twice as many.
        four: With four times as many.
        pays: False: of the law alone, even the favourable end of the gain from now to twice is at
            most LEAST_SHARE of the WER now. True: even the upper end of twice is below the WER now.
            None: neither can be told.
    """

    now: Estimate
    twice: Estimate
    four: Estimate
    pays: bool | None


def fit_power_law(hours: np.ndarray, wer: np.ndarray, seed_hours: float) -> PowerLaw:
    """Least squares; a flat curve's scale is 0.

    Args:
        hours: (N,) labelled.
        wer: (N,) in percent.
        seed_hours: Above 0.

    Raises:
        DataError: Fewer than three sizes: nothing can be told from them.
        NoPowerLawError: The best exponent is a bound of what was tried, or the points stray from
            the law by more than repeated trainings do from each other.
    """
    if len(np.unique(hours)) < LEAST_SIZES:
        raise DataError("a learning curve needs three sizes at least to be continued")
    law = _least_squares(hours, wer, seed_hours)
    if not EXPONENTS[0] * 1.01 < law.exponent < EXPONENTS[1] * 0.99:
        if not _flat(wer, wer - law.at(hours)):
            raise NoPowerLawError(f"{NO_LAW}: its exponent would be {law.exponent:.3g}")
        law = PowerLaw(seed_hours, float(wer.mean()), 0.0, 1.0)
    if _strays(hours, wer - law.at(hours)):
        raise NoPowerLawError(f"{NO_LAW}: trainings of one size agree with each other, not with it")
    return law


def _least_squares(hours: np.ndarray, wer: np.ndarray, seed_hours: float) -> PowerLaw:
    import warnings

    from scipy.optimize import OptimizeWarning, curve_fit

    if np.ptp(wer) == 0:
        return PowerLaw(seed_hours, float(wer[0]), 0.0, 1.0)

    def law(h: np.ndarray, floor: float, scale: float, exponent: float) -> np.ndarray:
        return floor + scale * ((seed_hours + h) / seed_hours) ** -exponent

    start = (0.5 * wer.min(), wer.max() - 0.5 * wer.min(), 0.5)
    bounds = ([0, 0, EXPONENTS[0]], [wer.max(), 100 + wer.max() * 2, EXPONENTS[1]])
    try:
        with warnings.catch_warnings():
            # Of the covariance, which few points do not tell and nobody reads here.
            warnings.simplefilter("ignore", OptimizeWarning)
            (floor, scale, exponent), _ = curve_fit(
                law, hours, wer, start, bounds=bounds, maxfev=10000
            )
    except (ValueError, RuntimeError) as e:
        raise NoPowerLawError(f"{NO_LAW}: {e}") from e
    return PowerLaw(seed_hours, floor, scale * seed_hours**exponent, exponent)


def _flat(wer: np.ndarray, residuals: np.ndarray) -> bool:
    """Whether a constant does as well as the law that left these residuals, by an F test."""
    from scipy.stats import f

    freedom, left = len(wer) - PARAMETERS, float(residuals @ residuals)
    if freedom < LEAST_FREEDOM or left == 0:
        return False
    won = float(np.sum((wer - wer.mean()) ** 2)) - left
    return bool(
        f.sf(won / (PARAMETERS - 1) / (left / freedom), PARAMETERS - 1, freedom) > SIGNIFICANCE
    )


def _strays(hours: np.ndarray, residuals: np.ndarray) -> bool:
    """The F test for lack of fit: between sizes, residuals differ more than within one."""
    from scipy.stats import f

    order = np.argsort(hours)
    # Trainings with one budget have not quite the same hours.
    sizes = np.cumsum(np.diff(hours[order], prepend=hours.min()) > SLACK * hours[order])
    counts = np.bincount(sizes)
    means = np.bincount(sizes, residuals[order]) / counts
    between, within = len(counts) - PARAMETERS, len(hours) - len(counts)
    if between < 1 or within < LEAST_FREEDOM:
        return False
    noise = float(np.sum((residuals[order] - means[sizes]) ** 2)) / within
    lack = float(counts @ means**2) / between
    return bool(lack > 0 and f.sf(lack / max(noise, 1e-12), between, within) < SIGNIFICANCE)


@dataclass(frozen=True)
class _Fits:
    """A law, those fitted to resampled residuals, and how far one training is from the law.

    Attributes:
        law: Of the points as they are.
        others: None where the points are too few to tell the noise from the law.
        noise: Half of the 95 % interval of one training, in points of WER.
    """

    law: PowerLaw
    others: list[PowerLaw]
    noise: float

    def estimate(self, of: Callable[[PowerLaw], np.ndarray], noise: float = 0.0) -> Estimate:
        """A figure of the law, in percent, with the noise in its interval."""
        mean = float(of(self.law))
        if not self.others:
            return Estimate(mean, np.nan, np.nan, "too few points")
        ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
        low, high = np.quantile([float(of(law)) for law in self.others], ends)
        low = mean - np.hypot(max(mean - low, 0), noise)
        # An error rate is not below 0.
        return Estimate(
            mean, max(float(low), 0.0), float(mean + np.hypot(max(high - mean, 0), noise))
        )

    def wer(self, hours: float) -> Estimate:
        """That one training with so many hours labelled should have."""
        return self.estimate(lambda law: law.at(hours), self.noise)


def _fits(curves: Mapping[int, Curve], seed_hours: float, seed: int) -> _Fits:
    from scipy.stats import t

    sizes = np.concatenate([curve.size for curve in curves.values()])
    wers = np.concatenate([curve.wer for curve in curves.values()])
    trained = sizes > 0
    if len(np.unique(sizes[trained])) >= LEAST_SIZES:
        # The seed model is of another training, and its data may be of another kind than the pool.
        sizes, wers = sizes[trained], wers[trained]
    law = fit_power_law(sizes, wers, seed_hours)
    fitted, draw = law.at(sizes), np.random.default_rng(seed)
    freedom = len(sizes) - PARAMETERS
    if freedom < LEAST_FREEDOM:
        return _Fits(law, [], np.nan)
    # Least squares leaves residuals that are smaller than the noise.
    residuals = (wers - fitted) * np.sqrt(len(sizes) / freedom)
    again = (fitted + draw.choice(residuals, len(residuals)) for _ in range(RESAMPLES))
    others = [_least_squares(sizes, np.maximum(wer, 0), seed_hours) for wer in again]
    deviation = float(np.sqrt(np.mean(residuals**2)))
    return _Fits(law, others, float(t.ppf((1 + LEVEL) / 2, freedom)) * deviation)


def forecast(
    curves: Mapping[int, Curve], hours: float, seed_hours: float, seed: int = 0
) -> Estimate:
    """WER with so many hours labelled, by a power law.

    The interval is for one training: that of laws fitted to resampled residuals, and the residual
    standard error by Student's t. Its ends are NaN where the points are too few to tell the noise
    from the law.

    Raises:
        DataError: See :func:`fit_power_law`.
    """
    return _fits(curves, seed_hours, seed).wer(hours)


def outlook(curves: Mapping[int, Curve], seed_hours: float, seed: int = 0) -> Outlook:
    """What comes after the last point of the curves.

    Raises:
        DataError: See :func:`fit_power_law`.
    """
    fits = _fits(curves, seed_hours, seed)
    last = max(float(curve.size[-1]) for curve in curves.values())
    now, twice, four = (fits.wer(times * last) for times in (1, 2, 4))
    # The luck of one training is no reason to label or not to.
    gain = fits.estimate(lambda law: law.at(last) - law.at(2 * last))
    if gain.high <= LEAST_SHARE * now.mean:
        return Outlook(now, twice, four, pays=False)
    sure = fits.estimate(lambda law: law.at(2 * last)).high < now.mean
    return Outlook(now, twice, four, pays=True if sure else None)
