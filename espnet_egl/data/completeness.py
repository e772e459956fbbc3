"""What should be there of a recording, or a segment, and is not: said, never padded."""

from __future__ import annotations

import math

import numpy as np
import soundfile
from humanfriendly.text import pluralize

from espnet_egl.data.decoding import Sound
from espnet_egl.data.headers import is_noticeable
from espnet_egl.errors import UtteranceError


class BrokenOffError(UtteranceError):
    """A recording ends before it should, or cannot be decoded from here on.

    Args:
        error: Why.
        missing: Seconds that are not there; infinite: nobody can tell.
    """

    def __init__(self, error: UtteranceError, missing: float):
        super().__init__(error.reason, error.detail)
        self.missing = missing


def read_segment(
    sound: Sound, name: str, start: float, end: float | None, max_seconds: float
) -> np.ndarray:
    """The samples of a segment, (samples, channels); what is wrong with it is raised."""
    first = round(start * sound.rate)
    last = None if end is None else round(end * sound.rate)
    most = max_seconds * sound.rate
    if sound.length is not None:
        check(sound, sound.length, name, start, end, most)
        return read_whole(sound, name, first, last)
    # Only decoding tells how much there is: no more than may be read is looked at.
    stop = last
    if most < math.inf and (last is None or last - first > most):
        stop = first + math.floor(most) + 1
    wave = sound.read(first, stop)
    if len(wave) > most:
        raise too_long(name, "", max_seconds)
    if sound.length is not None:
        check(sound, sound.length, name, start, end, most)
    if sound.is_damaged():
        raise damaged(name)
    return wave


def samples_claimed(sound: Sound) -> float:
    """How many samples there should be; 0: nobody can tell."""
    if sound.length is not None:
        return sound.length
    # Of a stream of which only decoding tells, all that is claimed is still lacking.
    lacking = sound.lacking()
    return lacking * sound.rate if lacking < math.inf else 0.0


def check_walked(sound: Sound, name: str, first: int, place: int, end: float | None) -> None:
    """See that a segment was all there, once it was walked through."""
    rate = sound.rate
    if place == first:
        if sound.length is not None:
            check(sound, sound.length, name, first / rate, end, math.inf)
        raise UtteranceError("empty_audio", f"{name}: no samples")
    lacking = sound.lacking() if end is None else end - place / rate
    try:
        check(sound, place, name, first / rate, end, math.inf)
    except UtteranceError as e:
        raise BrokenOffError(e, lacking) from None


def check(
    sound: Sound, length: int, name: str, start: float, end: float | None, most: float
) -> None:
    """See that a segment lies in its recording, and the recording is all there where it matters."""
    first = round(start * sound.rate)
    last = length if end is None else round(end * sound.rate)
    # A millisecond is the rounding of tables.
    if end is None or last > length + sound.rate // 1000:
        check_end(sound, length, name)
    # Kaldi forgives segments that overshoot by rounding, no more.
    if length and (first >= length or last > length + sound.rate // 2):
        raise UtteranceError(
            "bad_segment",
            f"{name}: segment {start}-{end} s lies beyond the "
            f"{length / sound.rate:.2f} s of the recording",
        )
    count = min(last, length) - first
    if count > most:
        raise too_long(name, f"{count / sound.rate:.1f} s, ", most / sound.rate)


def check_end(sound: Sound, length: int, name: str) -> None:
    lacking, there = sound.lacking(), length / sound.rate
    if lacking == math.inf:
        raise UtteranceError("truncated_audio", f"{name}: it lacks its end; copy it again")
    if is_noticeable(lacking, there + lacking):
        raise UtteranceError(
            "truncated_audio",
            f"{name}: its header claims more than it holds: {lacking:.2f} s of "
            f"{there + lacking:.2f} s are missing; copy it again",
        )


def read_whole(sound: Sound, name: str, first: int, last: int | None) -> np.ndarray:
    """What a recording of known length must have, of which less may be decoded."""
    assert sound.length is not None
    count = (sound.length if last is None else min(last, sound.length)) - first
    wave = sound.read(first, last)
    if is_noticeable((count - len(wave)) / sound.rate, count / sound.rate):
        raise UtteranceError(
            "truncated_audio",
            f"{name}: there are {len(wave)} of {pluralize(count, 'sample')}; copy it again",
        )
    if sound.is_damaged():
        raise damaged(name)
    return wave


def too_long(name: str, seconds: str, most: float) -> UtteranceError:
    return UtteranceError(
        "too_long",
        f"{name}: {seconds}more than --max_seconds {most:g}; cut it into clips by espnet-egl "
        "segment (in stage 20: --al_segment true)",
    )


def damaged(name: str) -> UtteranceError:
    return UtteranceError(
        "truncated_audio", f"{name}: damaged, a part of it is missing; copy it again"
    )


def in_words(error: Exception) -> str:
    """What a library says, without the object that it was given."""
    if isinstance(error, soundfile.LibsndfileError):
        return str(error.error_string)
    return str(error) or type(error).__name__
