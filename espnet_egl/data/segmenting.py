"""Where a recording is cut: from how sure a detector is of speech, and how loud it is, to clips.

Pure functions of numbers. All times are whole milliseconds from where the recording, or the piece
of it that is cut, begins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from espnet_egl.errors import ConfigError

# What the detector listens to at a time.
WINDOW = 32
# Speech begins where the detector is that sure of it, and goes on until it is less sure than this:
# rather too much than too little.
_BEGINS, _ENDS = 0.3, 0.15
# What interrupts speech for less than this is no pause: the closure of a plosive, a breath.
PAUSE = 300
# Speech that is shorter is a click.
_SHORTEST = 64
# A place is as quiet as its window and those beside it: one alone may be a closure within a word.
_BESIDE = np.array([1.0, 2.0, 1.0])
# Of a clip's cost, see _group: a cut in the middle of speech is as bad as no clip at all.
_CUT_SPEECH = 1.0


@dataclass(frozen=True)
class Rules:
    """How long clips are, in seconds.

    Args:
        min_seconds: At least: what is shorter takes of the silence around it. A longer pause is
            never in a clip.
        max_seconds: At most, without exception.
        target_seconds: What is best.
        padding: Of silence that is kept before and behind speech.

    Raises:
        ConfigError: They contradict each other.
    """

    min_seconds: float = 2.0
    max_seconds: float = 20.0
    target_seconds: float = 10.0
    padding: float = 0.3

    def __post_init__(self) -> None:
        if not 0.1 <= self.min_seconds <= self.target_seconds <= self.max_seconds < math.inf:
            raise ConfigError(
                f"--min_seconds {self.min_seconds:g}, --target_seconds {self.target_seconds:g}, "
                f"--max_seconds {self.max_seconds:g}: none may be larger than the next, the first "
                "not below 0.1"
            )
        if not 0 <= 2 * self.padding < self.max_seconds:
            raise ConfigError(
                f"--padding {self.padding:g}: from 0 to less than half of --max_seconds"
            )


class Span(NamedTuple):
    """A stretch of time, in milliseconds."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """How long it is."""
        return self.end - self.start


def find_speech(probabilities: np.ndarray, length: int) -> list[Span]:
    """Stretches of speech, with pauses of at least :data:`PAUSE` between them.

    Args:
        probabilities: Of speech, a window after the other, (windows,).
        length: Of all, in milliseconds; the last window may lie across its end.
    """
    found: list[Span] = []
    start: int | None = None
    last = 0  # where the detector was sure last
    for place in np.flatnonzero(probabilities >= _ENDS):
        begin = int(place) * WINDOW
        if start is not None and begin - last >= PAUSE:
            found.append(Span(start, last))
            start = None
        if start is None and probabilities[place] >= _BEGINS:
            start = begin
        if start is not None:
            last = begin + WINDOW
    if start is not None:
        found.append(Span(start, last))
    inside = (Span(span.start, min(span.end, length)) for span in found)
    return [span for span in inside if span.length >= _SHORTEST]


def cut(speech: Sequence[Span], power: np.ndarray, length: int, rules: Rules) -> list[Span]:
    """Clips that hold all the speech.

    They are in order and do not overlap; none is longer than ``max_seconds``. One that is shorter
    than ``min_seconds`` has no silence beside it that it could take. Speech is cut where a stretch
    of it is longer than ``max_seconds``, at its quietest place, and nowhere else.

    Args:
        speech: As :func:`find_speech` has it.
        power: Mean square of every window, (windows,).
        length: Of all, in milliseconds.
        rules: How long clips are.
    """
    least, most, target, padding = (
        round(1000 * s)
        for s in (rules.min_seconds, rules.max_seconds, rules.target_seconds, rules.padding)
    )
    pieces = [piece for span in speech for piece in _split(span, power, least, most)]
    groups = _group(pieces, least, most, target, padding)
    clips = _pad(groups, power, length, most, padding)
    _lengthen(clips, length, least)
    _take_rests(clips, length, most)
    return clips


def gaps(clips: Sequence[Span], length: int) -> list[Span]:
    """What is in none of the clips.

    >>> gaps([Span(0, 5), Span(7, 9)], 12)
    [Span(start=5, end=7), Span(start=9, end=12)]
    """
    ends = [0, *(clip.end for clip in clips)]
    starts = [*(clip.start for clip in clips), length]
    return [Span(a, b) for a, b in zip(ends, starts, strict=True) if b > a]


def overlap(clip: Span, speech: Sequence[Span], first: int = 0) -> int:
    """Milliseconds of speech in a clip.

    Args:
        clip: The clip.
        speech: Stretches of speech, in order.
        first: The first of them that may reach into it.
    """
    total = 0
    for span in speech[first:]:
        if span.start >= clip.end:
            break
        total += max(0, min(span.end, clip.end) - max(span.start, clip.start))
    return total


def _split(span: Span, power: np.ndarray, least: int, most: int) -> list[Span]:
    """A stretch of speech in pieces that are short enough, cut at its quietest places."""
    pieces = []
    start, end = span
    while end - start > most:
        low, high = start + least, min(start + most, end - least)
        if high < low:  # there is no way to have both long enough
            low, high = end - most, start + most
        place = _quietest(power, low, high)
        pieces.append(Span(start, place))
        start = place
    return [*pieces, Span(start, end)]


def _quietest(power: np.ndarray, low: int, high: int) -> int:
    """Where to cut from ``low`` to ``high``: the middle of the quietest windows."""
    first, last = -(-low // WINDOW), high // WINDOW  # whole windows
    if last <= first or first >= len(power):
        return (low + high) // 2
    begin = max(0, first - 1)
    sums = np.convolve(power[begin : last + 1].astype(np.float64), _BESIDE, "same")
    wanted = sums[first - begin : last - begin]
    return (first + int(np.argmin(wanted))) * WINDOW + WINDOW // 2


def _group(pieces: Sequence[Span], least: int, most: int, target: int, padding: int) -> list[Span]:
    """Which neighbours are one clip: the cheapest of all ways to part them.

    A clip costs the square of how far its length is from ``target``, as a share of it, and the
    pauses in it, as a share of ``target``; where no pause parts it from the one before,
    :data:`_CUT_SPEECH`, too.
    """
    costs, begins = [0.0], [0]
    for last, piece in enumerate(pieces):
        best, begin = math.inf, last
        pauses = 0
        for first in range(last, -1, -1):
            span = Span(pieces[first].start, piece.end)
            if first < last:
                pause = pieces[first + 1].start - pieces[first].end
                pauses += pause
                if pause > least or span.length + 2 * padding > most:
                    break
            size = max(least, span.length + 2 * padding)
            cost = costs[first] + ((size - target) / target) ** 2 + pauses / target
            if first and pieces[first - 1].end == pieces[first].start:
                cost += _CUT_SPEECH
            if cost < best:
                best, begin = cost, first
        costs.append(best)
        begins.append(begin)
    groups = []
    end = len(pieces)
    while end:
        begin = begins[end]
        groups.append(Span(pieces[begin].start, pieces[end - 1].end))
        end = begin
    return groups[::-1]


def _pad(
    groups: Sequence[Span], power: np.ndarray, length: int, most: int, padding: int
) -> list[Span]:
    """Groups with silence before and behind; those that a short pause parts meet in it."""
    rooms = [(most - group.length) // 2 for group in groups]
    starts = [max(0, g.start - min(padding, room)) for g, room in zip(groups, rooms, strict=True)]
    ends = [min(length, g.end + min(padding, room)) for g, room in zip(groups, rooms, strict=True)]
    for i in range(1, len(groups)):
        before, after = groups[i - 1].end, groups[i].start
        pause = after - before
        if pause >= 2 * padding + PAUSE:
            continue
        # Not at its edges: the detector may be late.
        place = _quietest(power, before + pause // 4, after - pause // 4) if pause else before
        ends[i - 1] = min(place, before + rooms[i - 1])
        starts[i] = max(place, after - rooms[i])
    return [Span(*pair) for pair in zip(starts, ends, strict=True)]


def _lengthen(clips: list[Span], length: int, least: int) -> None:
    """Let clips that are too short take of the silence around them, as much on either side."""
    for i, clip in enumerate(clips):
        lacking = least - clip.length
        if lacking <= 0:
            continue
        before = clip.start - (clips[i - 1].end if i else 0)
        behind = (clips[i + 1].start if i + 1 < len(clips) else length) - clip.end
        left = min(before, max(lacking // 2, lacking - behind))
        right = min(behind, lacking - left)
        clips[i] = Span(clip.start - left, clip.end + right)


def _take_rests(clips: list[Span], length: int, most: int) -> None:
    """Give silence that is shorter than a pause to the shorter one of the clips beside it."""
    for i in range(len(clips) + 1):
        start = clips[i - 1].end if i else 0
        end = clips[i].start if i < len(clips) else length
        if not 0 < end - start < PAUSE:
            continue
        beside = [j for j in (i - 1, i) if 0 <= j < len(clips)]
        j = min(beside, key=lambda k: clips[k].length, default=None)
        if j is not None and clips[j].length + end - start <= most:
            clips[j] = Span(min(start, clips[j].start), max(end, clips[j].end))
