"""What more labels should bring: a learning curve continued by a power law."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from espnet_egl.errors import DataError
from espnet_egl.loop.worth import LEVEL, SLACK, Curve, Estimate

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
