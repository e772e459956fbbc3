"""The report's first screen at a glance: three numbers and one picture."""

from __future__ import annotations

import numpy as np

from espnet_egl.loop import worth
from espnet_egl.loop.tables import amount, money, number_of_clips
from espnet_egl.report import findings, plots
from espnet_egl.report.blocks import Figure, Plot
from espnet_egl.report.inputs import Files
from espnet_egl.selection.ranking import split_methods
from espnet_egl.store.tables import score_column

# Of the picture's files.
NAME = "answer"


def figures(files: Files) -> list[Figure]:
    """Three numbers: what was bought where that is measured, or else what was selected."""
    return _bought(files) if files.test_sets else _selected(files)


def picture(files: Files) -> Plot | None:
    """The learning curve, or else the scores that decided, of the pool and of the selection."""
    say = files.inputs.say
    if files.test_sets:
        test_set, method = files.test_sets[0], _method(files)
        points = files.points(test_set)
        shown = points["method"].isin([method, files.inputs.against]) | (points["round"] == 0)
        against = files.inputs.against
        return plots.learning_curves(points[shown], "hours", test_set, against, say, NAME)
    if files.scores is None or not files.selection:
        return None
    method = split_methods(files.rules["method"])[0]
    if score_column(method) not in files.scores:
        return None
    uids = [row["utterance"] for row in files.selection]
    return plots.histograms(files.scores, uids, [method], say, NAME)


def _method(files: Files) -> str:
    points = files.points(files.test_sets[0])
    asked = files.rules.get("method", "")
    return findings.told_of(worth.curves_of(points, "hours"), asked, files.inputs.against)


def _bought(files: Files) -> list[Figure]:
    say, against, test_set = files.inputs.say, files.inputs.against, files.test_sets[0]
    points, method = files.points(test_set), _method(files)
    curves = worth.curves_of(points, "hours")
    size, after = findings.reached(points, curves, method)
    clips = int(points.loc[points["method"] == method, "utterances"].max())
    labelled = say(
        "labelled: {clips}, by {method}", clips=number_of_clips(clips, say), method=method
    )
    found = [Figure(amount(3600 * size, say), labelled)]
    start = points.loc[points["round"] == 0, "wer"]
    wer = say("WER on {test_set}", test_set=test_set)
    if len(start):
        before = float(start.iloc[0])
        wer = say("WER on {test_set}, before {before:.1f} %", test_set=test_set, before=before)
    found.append(Figure(f"{after.mean:.1f} %", wer))
    values = np.array([])
    if against in curves and method != against:
        end = min(c.size[-1] for name in (method, against) for c in curves[name].values())
        values = worth.paired(curves[method], curves[against], worth.area_difference(end))
    if len(values):
        difference = worth.estimate(values)
        said = {"against": against, "difference": difference.said(say)}
        caption = say("of WER against {against}, over the curve: {difference}", **said)
        found.append(Figure(say("{n:+z.2f} points", n=difference.mean), caption))
    elif len(start):
        gain = after.mean - float(start.iloc[0])
        found.append(Figure(say("{n:+z.2f} points", n=gain), say("of WER since the seed model")))
    return found


def _selected(files: Files) -> list[Figure]:
    if not files.selection:
        return []
    say, rules, scores = files.inputs.say, files.rules, files.scores
    chosen = number_of_clips(len(files.selection), say)
    by = {"method": rules["method"]}
    found = [Figure(chosen, say("selected by {method}", **by))]
    third = Figure(str(rules["budget"]), say("the budget"))
    length = amount(files.seconds, say)
    if scores is None:
        found.append(Figure(length, say("to listen to")))
    else:
        pool = number_of_clips(len(scores), say)
        total = float(scores["seconds"].sum())
        found[0] = Figure(chosen, say("selected of {pool}, by {method}", pool=pool, **by))
        found.append(Figure(length, say("to listen to, of {total}", total=amount(total, say))))
        share = 100 * files.seconds / total if total else 0.0
        third = Figure(f"{share:.3g} %", say("of the pool's audio"))
    if files.prices:
        cost = files.prices.total(len(files.selection), files.seconds / 3600)
        third = Figure(money(cost), say("what it costs, as estimated"))
    return [*found, third]
