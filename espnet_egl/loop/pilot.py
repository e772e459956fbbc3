"""What a first, small round says: does labelling pay here, and does it pay to choose?

Half of a pilot's clips are chosen, half are drawn at random. Three models are trained: on all of
them, and on each half alone; with self-training a fourth, on all of them and what that model made
of the rest of the pool. All of these and the seed model decode the same test set, so that
differences are paired by utterance; the intervals are by bootstrap over these. What another
training with other random numbers would give is not in them: a small difference may be luck.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from espnet_egl.errors import DataError
from espnet_egl.loop.curve import count_errors, rate
from espnet_egl.loop.tables import LEAST_GAIN, amount, money, number_of_clips
from espnet_egl.loop.worth import Say
from espnet_egl.store.files import parse_json, write_lines

Texts = Mapping[str, str]
# How much larger one half may be than the other for a verdict on choosing.
LOPSIDED = 1.25
# In percent or points of WER: a figure, and the ends of its 95 % interval.
Interval = tuple[float, float, float]


@dataclass(frozen=True)
class Part:
    """Of what was labelled.

    Attributes:
        clips: How many.
        seconds: Of audio.
        hypotheses: Utterance of the test set -> what the model trained on it recognised.
    """

    clips: int
    seconds: float
    hypotheses: Texts


@dataclass(frozen=True)
class Pilot:
    """Everything a pilot's answer is made from.

    Attributes:
        references: Utterance of the test set -> transcript.
        before: Utterance -> what the seed model recognised.
        parts: ``all``, ``chosen`` and ``random``.
        method: What chose.
        drawn: Utterance drawn at random -> its transcript.
        drawn_before: The same utterances as the seed model recognised them.
        cost: Of labelling all of it; 0: not known.
        worked: Seconds that annotators worked on it; 0: not known.
        test_set: Its name.
        alone: What the model trained itself on, beside all of it; None: nothing.
    """

    references: Texts
    before: Texts
    parts: Mapping[str, Part]
    method: str
    drawn: Texts
    drawn_before: Texts
    cost: float = 0.0
    worked: float = 0.0
    test_set: str = "test"
    alone: Part | None = None


@dataclass(frozen=True)
class Figures:
    """What a pilot measured, for whoever tells it in whatever language.

    Attributes:
        test_set: Its name.
        method: What chose.
        clips: Part -> how many.
        seconds: Part -> of audio.
        before: The seed model's WER.
        after: That of the model trained on all of it.
        gain: The difference of the two; below 0 is better, as everywhere here.
        chosen: WER of the model trained on what was chosen alone.
        drawn: Likewise on what was drawn at random.
        choice: The difference of the two.
        more: Of all against the mean of the halves.
        pool: The seed model's WER on the pool, by what was drawn; None: not known.
        cost: Of labelling; 0: not known.
        worked: Seconds that annotators worked; 0: not known.
        alone: Clips and seconds that the model trained itself on; None: none.
        alone_after: WER of the model that did so.
        alone_gain: The difference to the model trained on what is labelled.
    """

    test_set: str
    method: str
    clips: Mapping[str, int]
    seconds: Mapping[str, float]
    before: Interval
    after: Interval
    gain: Interval
    chosen: Interval
    drawn: Interval
    choice: Interval
    more: Interval
    pool: Interval | None
    cost: float
    worked: float
    alone: tuple[int, float] | None = None
    alone_after: Interval | None = None
    alone_gain: Interval | None = None

    def write(self, path: str | Path) -> None:
        """As JSON."""
        write_lines(path, [json.dumps(asdict(self), indent=2, ensure_ascii=False)])

    @classmethod
    def read(cls, path: str | Path) -> Figures:
        """What :meth:`write` left.

        Raises:
            DataError: It is missing or something else.
        """
        try:
            found = cls(**parse_json(Path(path).read_text(encoding="utf-8")))
            # Whatever is not as it was written does not come through this.
            tell(found)
        except (OSError, ValueError, TypeError, KeyError, IndexError) as e:
            raise DataError(f"{path}: not the figures of al_pilot ({e}); run stage 26 again") from e
        return found


def measure(pilot: Pilot) -> Figures:
    """The figures of a pilot.

    Raises:
        DataError: The test set has no words.
    """
    parts, words = pilot.parts, count_errors(pilot.references, {})[1]

    def errors(hypotheses: Texts) -> np.ndarray:
        return count_errors(pilot.references, hypotheses)[0]

    before = errors(pilot.before)
    after, chosen, drawn = (errors(parts[p].hypotheses) for p in ("all", "chosen", "random"))
    pool = None
    if any(pilot.drawn.values()):
        pool = rate(*count_errors(pilot.drawn, pilot.drawn_before))
    alone = None if pilot.alone is None else errors(pilot.alone.hypotheses)
    return Figures(
        test_set=pilot.test_set,
        method=pilot.method,
        clips={name: part.clips for name, part in parts.items()},
        seconds={name: part.seconds for name, part in parts.items()},
        before=rate(before, words),
        after=rate(after, words),
        gain=rate(after - before, words),
        chosen=rate(chosen, words),
        drawn=rate(drawn, words),
        choice=rate(chosen - drawn, words),
        more=rate(after - (chosen + drawn) / 2, words),
        pool=pool,
        cost=pilot.cost,
        worked=pilot.worked,
        alone=None if pilot.alone is None else (pilot.alone.clips, pilot.alone.seconds),
        alone_after=None if alone is None else rate(alone, words),
        alone_gain=None if alone is None else rate(alone - after, words),
    )


def tell(found: Figures, say: Say = str.format) -> list[str]:
    """The answer in plain words, a paragraph a line.

    Args:
        found: Of :func:`measure`.
        say: The language.
    """
    size = {part: _size(found.clips[part], found.seconds[part], say) for part in found.clips}
    gain, unknown = found.gain, say("So few clips cannot tell.")
    lines = [
        say(
            "Labelled: {all}; of these {chosen} chosen by {method}, {drawn} drawn at random.",
            all=size["all"],
            chosen=size["chosen"],
            drawn=size["random"],
            method=found.method,
        ),
        say(
            "WER on {test_set} was {before} and is {after}: {difference}.",
            test_set=found.test_set,
            before=_rate(found.before, say),
            after=_rate(found.after, say),
            difference=_points(gain, say),
        )
        + " "
        + _verdict(gain, say("Labelling pays here."), say("Labelling made it worse."), unknown),
        *_price(found, say),
    ]
    better, worse = say("Choosing pays here."), say("Choosing is worse than drawing here.")
    lines.append(
        say(
            "Trained on the chosen half alone it is {chosen:.1f} %, on the random half "
            "{drawn:.1f} %: {difference}.",
            chosen=found.chosen[0],
            drawn=found.drawn[0],
            difference=_points(found.choice, say),
        )
        + " "
        + (
            say("One half is much larger than the other: that does not tell what choosing does.")
            if _is_lopsided(found)
            else _verdict(found.choice, better, worse, unknown)
        )
    )
    better, worse = say("More labels keep helping."), say("More labels made it worse.")
    lines.append(
        say("All against one half: {difference}.", difference=_points(found.more, say))
        + " "
        + _verdict(found.more, better, worse, unknown)
    )
    if found.alone and found.alone_after and found.alone_gain:
        better, worse = say("Self-training pays here."), say("Self-training made it worse.")
        lines.append(
            say(
                "Trained by its own hypotheses on {rest} of the rest of the pool, too, it is "
                "{after:.1f} %: {difference}.",
                rest=_size(*found.alone, say),
                after=found.alone_after[0],
                difference=_points(found.alone_gain, say),
            )
            + " "
            + _verdict(found.alone_gain, better, worse, unknown)
        )
    if found.pool is not None:
        pool = _rate(found.pool, say)
        lines.append(
            say("On the pool, the seed model's WER is {rate}, by the random half.", rate=pool)
        )
    caveat = say(
        "Intervals are 95 %, over the utterances of the test set. Every model was trained once: "
        "a small difference may be the luck of training."
    )
    return [*lines, caveat]


def _is_lopsided(found: Figures) -> bool:
    """Whether the halves differ much, both in clips and in audio: not all has come back yet."""
    of = (found.clips, found.seconds)
    return all(max(n["chosen"], n["random"]) > LOPSIDED * min(n["chosen"], n["random"]) for n in of)


def _price(found: Figures, say: Say) -> list[str]:
    """Of a point of WER, in money and in annotators' time, as far as they are known."""
    gain, lines = -found.gain[0], []
    if found.cost > 0 and gain > LEAST_GAIN:
        lines.append(say("A point of WER cost {cost}.", cost=money(found.cost / gain)))
    if found.worked > 0:
        text = say("Annotators worked {time}.", time=amount(found.worked, say))
        if gain > LEAST_GAIN:
            each = amount(found.worked / gain, say)
            text += " " + say("That is {time} for a point of WER.", time=each)
        lines.append(text)
    return lines


def _size(clips: int, seconds: float, say: Say) -> str:
    return say("{clips}, {audio}", clips=number_of_clips(clips, say), audio=amount(seconds, say))


def _rate(found: Interval, say: Say) -> str:
    value, low, high = found
    return say("{value:.1f} % ({low:.1f} to {high:.1f})", value=value, low=low, high=high)


def _points(found: Interval, say: Say) -> str:
    value, low, high = found
    ends = {"low": low, "high": high}
    return say("{value:+z.1f} points ({low:+z.1f} to {high:+z.1f})", value=value, **ends)


def _verdict(found: Interval, better: str, worse: str, unknown: str) -> str:
    _, low, high = found
    if high < 0:
        return better
    return worse if low > 0 else unknown
