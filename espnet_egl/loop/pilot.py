"""What a first, small round says: does labelling pay here, and does it pay to choose?

Half of a pilot's clips are chosen, half are drawn at random. Three models are trained: on all of
them, and on each half alone. All three and the seed model decode the same test set, so that
differences are paired by utterance; the intervals are by bootstrap over these. What another
training with other random numbers would give is not in them: a small difference may be luck.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from espnet_egl.loop.curve import count_errors, rate
from espnet_egl.tables import duration

Texts = Mapping[str, str]


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

    def __str__(self) -> str:
        return f"{self.clips} clips, {duration(self.seconds)}"


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
    """

    references: Texts
    before: Texts
    parts: Mapping[str, Part]
    method: str
    drawn: Texts
    drawn_before: Texts
    cost: float = 0.0


def answer(pilot: Pilot) -> list[str]:
    """The answer in plain words, a paragraph a line.

    Raises:
        DataError: The test set has no words.
    """
    parts, words = pilot.parts, count_errors(pilot.references, {})[1]

    def errors(hypotheses: Texts) -> np.ndarray:
        return count_errors(pilot.references, hypotheses)[0]

    before = errors(pilot.before)
    after, chosen, drawn = (errors(parts[p].hypotheses) for p in ("all", "chosen", "random"))
    gain = rate(after - before, words)
    lines = [
        f"Labelled: {parts['all']}; of these {parts['chosen']} chosen by {pilot.method}, "
        f"{parts['random']} drawn at random.",
        f"WER was {_rate(rate(before, words))} and is {_rate(rate(after, words))}: "
        f"{_points(gain)}. {_verdict(gain, 'Labelling pays here', 'Labelling made it worse')}.",
    ]
    if pilot.cost > 0 and gain[0] < 0:
        lines.append(f"A point of WER cost {pilot.cost / -gain[0]:.0f}.")
    choice = rate(chosen - drawn, words)
    lines.append(
        f"Trained on the chosen half alone it is {rate(chosen, words)[0]:.1f} %, on the random "
        f"half {rate(drawn, words)[0]:.1f} %: {_points(choice)}. "
        f"{_verdict(choice, 'Choosing pays here', 'Choosing is worse than drawing here')}."
    )
    more = rate(after - (chosen + drawn) / 2, words)
    lines.append(
        f"All against one half: {_points(more)}. "
        f"{_verdict(more, 'More labels keep helping', 'More labels made it worse')}."
    )
    if any(pilot.drawn.values()):
        pool = rate(*count_errors(pilot.drawn, pilot.drawn_before))
        lines.append(f"On the pool, the seed model's WER is {_rate(pool)}, by the random half.")
    return [*lines, CAVEAT]


CAVEAT = (
    "Intervals are 95 %, over the utterances of the test set. Every model was trained once: "
    "a small difference may be the luck of training."
)


def _rate(found: tuple[float, float, float]) -> str:
    return f"{found[0]:.1f} % ({found[1]:.1f} to {found[2]:.1f})"


def _points(found: tuple[float, float, float]) -> str:
    return f"{found[0]:+.1f} points ({found[1]:+.1f} to {found[2]:+.1f})"


def _verdict(found: tuple[float, float, float], better: str, worse: str) -> str:
    _, low, high = found
    if high < 0:
        return better
    return worse if low > 0 else "So few clips cannot tell"
