"""What a reader wants first: what was selected, what it costs, what it bought, what comes next."""

from __future__ import annotations

from espnet_egl.loop.tables import amount, number_of_clips
from espnet_egl.report import findings
from espnet_egl.report.inputs import Files
from espnet_egl.store.tables import number_in


def answer(files: Files) -> list[tuple[str, list[str]]]:
    """The report's first screen: headings, and what is said below each, in plain words."""
    say, found = files.inputs.say, []
    for test_set in files.test_sets:
        points = files.points(test_set)
        found.append(
            findings.measured(
                points,
                test_set,
                files.rules.get("method", ""),
                files.inputs.against,
                files.inputs.seed_hours,
                files.prices_beside(points),
                say,
            )
        )
    bought = [line for finding in found for line in finding.bought]
    # Of several test sets, what nothing is foretold of is said once.
    foretold = dict.fromkeys(tuple(finding.following) for finding in found)
    following = [line for lines in foretold for line in lines]
    sure = list(dict.fromkeys(line for finding in found for line in finding.sure))
    if not found:
        bought = [say("Nothing is measured yet: no model was trained on what was selected.")]
        following = [
            say(
                "That is told by the learning curve, when transcripts are back (stages 23 to "
                "26). A pilot of 300 clips tells whether labelling pays here, and choosing."
            )
        ]
        sure = [
            say(
                "A score says what the model expects to learn from a clip, not what it will "
                "learn. Whether this choice is better than drawing at random is not known yet."
            )
        ]
    return [
        (say("What was selected"), _what_was_selected(files)),
        (say("What it costs"), _what_it_costs(files)),
        (say("What it bought so far"), bought),
        (say("What the next budget should buy"), following),
        (say("How sure that is"), sure),
    ]


def _what_was_selected(files: Files) -> list[str]:
    if not files.selection:
        return []
    say, rules = files.inputs.say, files.rules
    words = {
        "audio": amount(files.seconds, say),
        "method": rules["method"],
        "budget": rules["budget"],
    }
    if files.scores is None:
        clips = number_of_clips(len(files.selection), say)
        lines = [say("{clips}, {audio}, by {method} (budget {budget}).", clips=clips, **words)]
    else:
        lines = [
            say(
                "{clips} of {pool}, {audio} of {total}, by {method} (budget {budget}).",
                clips=len(files.selection),
                pool=number_of_clips(len(files.scores), say),
                total=amount(float(files.scores["seconds"].sum()), say),
                **words,
            )
        ]
    if files.inputs.simulated:
        lines.append(
            say(
                "This is one selection of a simulation, random seed {seed}; the learning "
                "curves have all of them.",
                seed=rules["seed"],
            )
        )
    drawn = sum(row["reason"] == "random" for row in files.selection)
    if drawn:
        lines.append(say("Drawn at random, to tell what the pool is like: {n} of them.", n=drawn))
    if files.states:
        done = sum(state != "out" for state in files.states.values())
        lines.append(say("{n} of them came back from transcription.", n=done))
    return lines


def _what_it_costs(files: Files) -> list[str]:
    say, prices = files.inputs.say, files.prices
    if not files.selection:
        return []
    if prices:
        estimate = say(
            "{total:.2f}, at {hour:g} an hour of audio and {clip:g} a clip.",
            total=prices.total(len(files.selection), files.seconds / 3600),
            hour=prices.per_hour,
            clip=prices.per_clip,
        )
    else:
        estimate = say(
            "{audio} of listening and typing. No prices were given: with --price_per_hour "
            "and --price_per_clip the report counts money.",
            audio=amount(files.seconds, say),
        )
    return [estimate, *_worked(files)]


def _worked(files: Files) -> list[str]:
    """How long annotators worked, where their tool tells."""
    directory, say = files.inputs.labelled_dir, files.inputs.say
    if directory is None:
        return []
    seconds = [
        number_in(row, "annotator_seconds", directory / "returned.tsv")
        for row in files.returned
        if row["annotator_seconds"]
    ]
    if not seconds:
        return []
    worked = amount(sum(seconds), say)
    return [
        say(
            "Annotators worked {worked} on {clips}.",
            worked=worked,
            clips=number_of_clips(len(seconds), say),
        )
    ]
