"""The answer in plain words: what was chosen, what it cost, what it bought, what comes next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from espnet_egl.errors import DataError
from espnet_egl.loop import power_law, worth
from espnet_egl.loop.tables import LEAST_GAIN, amount, money, number_of_clips
from espnet_egl.loop.worth import Curve, Estimate, Say
from espnet_egl.selection.budget import Prices

if TYPE_CHECKING:
    import pandas as pd

# Methods that see the pool's transcripts: nobody has these.
ORACLE = "true_"


@dataclass(frozen=True)
class Finding:
    """Of one test set; sentences.

    Attributes:
        bought: What labelling changed so far.
        following: What more of it is foretold to change.
        sure: How far these can be relied on.
    """

    bought: list[str] = field(default_factory=list)
    following: list[str] = field(default_factory=list)
    sure: list[str] = field(default_factory=list)


def measured(
    points: pd.DataFrame,
    test_set: str,
    method: str,
    against: str,
    seed_hours: float,
    prices: Prices,
    say: Say,
) -> Finding:
    """What a learning curve says.

    Args:
        points: Of :func:`.worth.read_points`.
        test_set: Its name.
        method: Whose curve it is about; one that is not there: the best one's.
        against: The method to compare with.
        seed_hours: Of the seed set; 0: nothing is foretold.
        prices: Of labelling, in place of the curve's costs; both 0: the curve's.
        say: The language.
    """
    curves = worth.curves_of(points, "hours")
    rival = curves.get(against, {})
    compared = _compared(curves, against)
    best = _best(compared)
    method = told_of(curves, method, against)
    cost = _cost(points, method, prices)
    found = Finding()
    found.bought.extend(_bought(points, curves, method, test_set, cost, say))
    if rival and method != against:
        found.bought.append(_against(curves, method, against, say))
    if len(compared) > 1:
        found.bought.append(
            say(
                "Best of {n} methods: {best}, {difference} points of WER against {against}, on "
                "average over the curve.",
                n=len(compared),
                best=best,
                difference=compared[best].said(say),
                against=against,
            )
        )
    leading = best or method
    found.following.extend(
        _following(curves, leading, test_set, seed_hours, _cost(points, leading, prices), say)
    )
    found.sure.extend(_sure(curves, method, len(compared) > 1, say))
    return found


def told_of(curves: Mapping[str, Mapping[int, Curve]], method: str, against: str) -> str:
    """The method whose curve is told of: the one asked for, or the best, or any."""
    if method in curves:
        return method
    return _best(_compared(curves, against)) or next(iter(curves))


def _best(compared: Mapping[str, Estimate]) -> str:
    return min(compared, key=lambda name: compared[name].mean) if compared else ""


def reached(
    points: pd.DataFrame, curves: Mapping[str, Mapping[int, Curve]], method: str
) -> tuple[float, Estimate]:
    """Hours of the method's longest curve, and the WER there, in percent."""
    by_seed = curves[method]
    size = max(curve.size[-1] for curve in by_seed.values())
    ends = np.array([c.wer[-1] for c in by_seed.values() if c.size[-1] >= size * (1 - worth.SLACK)])
    if len(ends) != 1:
        return size, worth.estimate(ends)
    rows = points[(points["method"] == method) & (points["round"] > 0)].sort_values("hours")
    last = rows.iloc[-1]
    return size, Estimate(ends[0], float(last["wer_lo"]), float(last["wer_hi"]))


def _compared(curves: Mapping[str, Mapping[int, Curve]], against: str) -> dict[str, Estimate]:
    """Method -> mean difference of its curve to the rival's, over what both were measured for."""
    found = {}
    for name, by_seed in curves.items():
        if name == against or against not in curves or name.startswith(ORACLE):
            continue
        size = min(c.size[-1] for group in (by_seed, curves[against]) for c in group.values())
        values = worth.paired(by_seed, curves[against], worth.area_difference(size))
        if len(values):
            found[name] = worth.estimate(values)
    return found


def _cost(points: pd.DataFrame, method: str, prices: Prices) -> float:
    """Of the method's longest curve."""
    rows = points[points["method"] == method]
    if prices:
        return prices.total(float(rows["utterances"].max()), float(rows["hours"].max()))
    return float(rows["cost"].max())


def _bought(
    points: pd.DataFrame,
    curves: Mapping[str, Mapping[int, Curve]],
    method: str,
    test_set: str,
    cost: float,
    say: Say,
) -> list[str]:
    size, after = reached(points, curves, method)
    rows = points[(points["method"] == method) & (points["round"] > 0)]
    lines = [
        say(
            "With {clips}, {audio}, selected by {method}, the WER on {test_set} is {after} %.",
            clips=number_of_clips(int(rows["utterances"].max()), say),
            audio=amount(3600 * size, say),
            method=method,
            test_set=test_set,
            after=after.said(say),
        )
    ]
    start = points.loc[points["round"] == 0, "wer"]
    if len(start):
        gain = float(start.iloc[0]) - after.mean
        lines.append(
            say(
                "Before, it was {before:.1f} %: {gain:+z.1f} points.",
                before=float(start.iloc[0]),
                gain=-gain,
            )
        )
        if cost > 0 and gain > LEAST_GAIN:
            lines.append(say("A point of WER cost {cost}.", cost=money(cost / gain)))
    return lines


def _against(curves: Mapping[str, Mapping[int, Curve]], method: str, against: str, say: Say) -> str:
    own, rival = curves[method], curves[against]
    size = min(c.size[-1] for group in (own, rival) for c in group.values())
    values = worth.paired(own, rival, worth.area_difference(size))
    if not len(values):
        return say("It has no random seed in common with {against}.", against=against)
    difference = worth.estimate(values)
    words = {
        "method": method,
        "against": against,
        "difference": difference.said(say),
    }
    if difference.high < 0:
        text = say(
            "With as many hours, {method} is better than {against}: {difference} points of WER on "
            "average over the curve.",
            **words,
        )
    elif difference.low > 0:
        text = say(
            "With as many hours, {method} is worse than {against}: {difference} points of WER on "
            "average over the curve.",
            **words,
        )
    else:
        text = say(
            "With as many hours, {method} cannot be told from {against}: {difference} points of "
            "WER on average over the curve.",
            **words,
        )
    saved = worth.paired(own, rival, worth.saved_at(size))
    if len(saved) and len(saved) == len(values):
        text += " " + _hours(worth.estimate(saved), against, say)
    return text


def _hours(saved: Estimate, against: str, say: Say) -> str:
    """Percent of them saved, in words that fit the sign."""
    if saved.mean < 0:
        more = Estimate(-saved.mean, -saved.high, -saved.low, saved.why)
        return say(
            "For the WER that {against} has at the end, it takes {more} % more hours.",
            against=against,
            more=more.said(say),
        )
    return say(
        "For the WER that {against} has at the end, it takes {saved} % fewer hours.",
        against=against,
        saved=saved.said(say),
    )


def _following(
    curves: Mapping[str, Mapping[int, Curve]],
    method: str,
    test_set: str,
    seed_hours: float,
    cost: float,
    say: Say,
) -> list[str]:
    if seed_hours == 0:
        return [say("Nothing is foretold: how long the seed set is was not given.")]
    size = max(curve.size[-1] for curve in curves[method].values())
    try:
        found = power_law.outlook(curves[method], seed_hours)
    except power_law.NoPowerLawError:
        return [
            say(
                "Nothing can be foretold of {test_set}: the curve fits no power law.",
                test_set=test_set,
            )
        ]
    except DataError:
        return [
            say(
                "Nothing can be foretold yet of {test_set}: it takes the WER at three sizes at "
                "least, the seed model's among them.",
                test_set=test_set,
            )
        ]
    lines = [
        say(
            "If as much again is labelled by {method}, {audio} in all, the WER on {test_set} "
            "should be {wer} %, by a power law fitted to the curve (now {now:.1f} % by the same "
            "fit).",
            method=method,
            test_set=test_set,
            audio=amount(2 * 3600 * size, say),
            wer=found.twice.said(say),
            now=found.now.mean,
        )
    ]
    gain = found.now.mean - found.twice.mean
    if cost > 0 and gain > LEAST_GAIN:
        lines.append(say("A point of WER would then cost {cost}.", cost=money(cost / gain)))
    if found.pays:
        lines.append(say("Going on is worth it."))
    elif found.pays is False:
        lines.append(
            say("Going on is not worth it: twice the hours gain less than 1 % of the error rate.")
        )
    else:
        lines.append(say("Whether going on is worth it cannot be told: label in small steps."))
    return lines


def _sure(
    curves: Mapping[str, Mapping[int, Curve]], method: str, several: bool, say: Say
) -> list[str]:
    seeds = len(curves[method])
    if seeds == 1:
        lines = [
            say(
                "Every model was trained once. Intervals are 95 %, over the utterances of the test "
                "set; the luck of training is not in them."
            )
        ]
    else:
        lines = [
            say(
                "Means of {n} random seeds; intervals are 95 %, over seeds. Another test set, or "
                "other audio, is not in them.",
                n=seeds,
            )
        ]
    if several:
        lines.append(
            say(
                "The best of several methods was picked by these same figures: expect a little "
                "less of it next time."
            )
        )
    return lines
