"""Recordings by their entries in wav.scp; the one read last stays open for the next segment."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np
import soundfile

from espnet_egl.data.completeness import (
    BrokenOffError,
    check_end,
    check_walked,
    damaged,
    in_words,
    read_segment,
    samples_claimed,
)
from espnet_egl.data.decoding import UNREADABLE, Sound, StreamedSound, open_sound
from espnet_egl.data.pipes import PIPE_TIMEOUT
from espnet_egl.data.sources import Source, find_source
from espnet_egl.errors import UtteranceError

# Floats are in [-1, 1], or a little above it; what is far above it are integers of so many bits.
_LOUDEST, _BITS = 16.0, (16, 24, 32)
# What is measured, or walked through, is read by so many samples at a time.
_STEP = 1 << 16


@dataclass(frozen=True)
class Measured:
    """A whole recording.

    Attributes:
        rate: In Hz.
        channels: How many.
        seconds: How long it is.
        is_plain: Whether libsndfile alone, as other programs use it, reads just that, in [-1, 1].
    """

    rate: int
    channels: int
    seconds: float
    is_plain: bool


class Recordings:
    """Reads segments of recordings, and decodes a recording once for segments in a row.

    A command's output is kept on the disk, and of a stream that is read from its front only what
    the last segment had: memory does not grow with the recording.

    Args:
        allow_pipes: Whether commands are run.
        pipe_timeout: How long one may take, in seconds.
    """

    def __init__(self, allow_pipes: bool = True, pipe_timeout: float = PIPE_TIMEOUT):
        self.allow_pipes, self.pipe_timeout = allow_pipes, pipe_timeout
        self._source: Source | None = None
        self._sound: Sound | None = None
        self._scale: float | None = None  # of its floats, once that is known
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_source": None, "_sound": None, "_scale": None}

    def read(
        self,
        rxfilename: str,
        start: float = 0.0,
        end: float | None = None,
        max_seconds: float = math.inf,
    ) -> tuple[np.ndarray, int]:
        """Every channel of a segment.

        Args:
            rxfilename: What wav.scp says: a path, ``<path>.ark:<offset>``, or a command that ends
                in ``|``.
            start: Where to begin, in seconds.
            end: Where to stop, in seconds; None for the end of the recording.
            max_seconds: Longer segments are not read into memory.

        Returns:
            Samples (samples, channels), float32, and their rate in Hz.

        Raises:
            UtteranceError: It cannot be read, is empty, cut off, damaged or too long, or holds
                values that are not finite.
        """
        with self._opened(rxfilename) as sound:
            scale = self._scale_of(sound)
            try:
                wave = read_segment(sound, rxfilename, start, end, max_seconds)
            except soundfile.LibsndfileError:
                if not sound.has_second_reader:
                    raise
                sound = self._second_reader(sound)
                wave = read_segment(sound, rxfilename, start, end, max_seconds)
        if len(wave) == 0:
            raise UtteranceError("empty_audio", f"{rxfilename}: no samples")
        if not np.isfinite(wave).all():
            raise UtteranceError("not_finite_audio", f"{rxfilename}: holds NaN or infinite samples")
        return (wave / scale if scale != 1 else wave), sound.rate

    def read_around(
        self, rxfilename: str, start: float, end: float, context: float
    ) -> tuple[np.ndarray, int, float]:
        """A segment, and what is around it as far as there is anything that can be read.

        Args:
            rxfilename: As for :meth:`read`.
            start: See there.
            end: See there.
            context: So many seconds before and behind.

        Returns:
            Samples (samples, channels), float32, their rate in Hz, and how many of the seconds are
            before the segment.

        Raises:
            UtteranceError: As :meth:`read`, of the segment.
        """
        with self._opened(rxfilename) as sound:
            first, last = (round(time * sound.rate) for time in (start, end))
            begin, stop = (
                round(c * sound.rate) for c in (max(0.0, start - context), end + context)
            )
            around = np.zeros((0, 1), np.float32)
            # First the more: of a stream, what was before the segment would be gone.
            with suppress(*UNREADABLE):
                around = np.nan_to_num(sound.read(begin, stop), posinf=0.0, neginf=0.0)
                around /= self._scale_of(sound)
        try:
            wave, rate = self.read(rxfilename, start, end)
        except UtteranceError:
            # Of a stream, damage before or behind the segment counts for all that was read.
            self.close()
            return *self.read(rxfilename, start, end), 0.0
        if around.shape[1] != wave.shape[1] or len(around) < first - begin + len(wave):
            return wave, rate, 0.0  # it breaks off in what is around it
        before, behind = around[: first - begin], around[last - begin :]
        return np.concatenate([before, wave, behind]), rate, len(before) / rate

    def measure(self, rxfilename: str) -> Measured:
        """A whole recording, decoded where its header alone does not tell.

        Args:
            rxfilename: As for :meth:`read`.

        Raises:
            UtteranceError: As :meth:`read`.
        """
        with self._opened(rxfilename) as sound:
            channels, scale = sound.read(0, 1).shape[1], self._scale_of(sound)
            length = sound.length
            if length is None:
                length = sum(len(block) for block in _blocks_of(sound))
            if length == 0:
                raise UtteranceError("empty_audio", f"{rxfilename}: no samples")
            check_end(sound, length, rxfilename)
            if sound.is_damaged():
                raise damaged(rxfilename)
            plain = sound.is_as_claimed and scale == 1
            return Measured(sound.rate, channels, length / sound.rate, plain)

    def walk(
        self, rxfilename: str, start: float = 0.0, end: float | None = None
    ) -> Iterator[tuple[np.ndarray, int]]:
        """A segment of whatever length, in blocks, one after the other.

        Args:
            rxfilename: As for :meth:`read`.
            start: See there.
            end: See there.

        Yields:
            Samples (samples, channels), float32, and their rate in Hz. What is not finite is 0.

        Raises:
            BrokenOffError: Behind the last block that can be decoded.
            UtteranceError: As :meth:`read`.
        """
        with self._opened(rxfilename) as sound:
            scale = self._scale_of(sound)
            place = first = round(start * sound.rate)
            last = None if end is None else round(end * sound.rate)
            claimed = sound.length
            while last is None or place < last:
                stop = place + _STEP if last is None else min(place + _STEP, last)
                try:
                    block = sound.read(place, stop)
                    damage = damaged(rxfilename) if sound.is_damaged() else None
                except UNREADABLE as e:
                    if isinstance(e, soundfile.LibsndfileError) and sound.has_second_reader:
                        sound = self._second_reader(sound)
                        continue
                    damage = UtteranceError("unreadable_audio", f"{rxfilename}: {in_words(e)}")
                if damage is not None:
                    there = last or claimed or samples_claimed(sound)
                    missing = (there - place) / sound.rate if there > place else math.inf
                    raise BrokenOffError(damage, missing) from None
                if len(block) == 0:
                    break
                yield np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0) / scale, sound.rate
                place += len(block)
            check_walked(sound, rxfilename, first, place, end)

    def _second_reader(self, sound: Sound) -> Sound:
        """At a frame of FLAC that is damaged libsndfile ends, and FFmpeg goes on behind it."""
        assert self._source is not None
        sound.close()
        self._sound = StreamedSound(self._source)
        return self._sound

    def seconds_of(self, rxfilename: str, most: float) -> float:
        """How long a recording is, by its header; one whose header does not tell is decoded.

        Args:
            rxfilename: As for :meth:`read`.
            most: Seconds: no more than that is decoded.

        Returns:
            Seconds; infinite where it is longer than ``most`` and only decoding on could tell.

        Raises:
            UtteranceError: As :meth:`read`.
        """
        with self._opened(rxfilename) as sound:
            place = 0
            while sound.length is None and place <= most * sound.rate:
                place += len(sound.read(place, place + _STEP))
            return math.inf if sound.length is None else sound.length / sound.rate

    def rate_of(self, rxfilename: str) -> int:
        """The sampling rate of a recording, in Hz.

        Args:
            rxfilename: As for :meth:`read`.

        Raises:
            UtteranceError: As :meth:`read`.
        """
        with self._opened(rxfilename) as sound:
            return sound.rate

    def count_channels(self, rxfilename: str) -> int:
        """How many channels a recording has.

        Args:
            rxfilename: As for :meth:`read`.

        Raises:
            UtteranceError: As :meth:`read`.
        """
        with self._opened(rxfilename) as sound:
            return sound.read(0, 1).shape[1]

    def _scale_of(self, sound: Sound) -> float:
        """Of the whole recording, whichever segment of it is read: looked for once."""
        if not sound.scale_matters:
            return 1.0
        if self._scale is None:
            self._scale = scale_of(_readable(_blocks_of(sound)))
        return self._scale

    @contextmanager
    def _opened(self, rxfilename: str) -> Iterator[Sound]:
        """The recording, as it was left or anew; any error is of it alone, and closes it."""
        if self._process != os.getpid():  # forked: the place in what is open would be shared
            self._process, self._source = os.getpid(), None
            self._sound = self._scale = None
        try:
            if self._source is None or self._source.name != rxfilename:
                self.close()
                self._source = find_source(rxfilename, self.allow_pipes, self.pipe_timeout)
            if self._sound is None:
                self._sound = open_sound(self._source)
            yield self._sound
        except UNREADABLE as e:
            self.close()
            raise UtteranceError("unreadable_audio", f"{rxfilename}: {in_words(e)}") from e
        except BaseException:
            self._let_go()
            raise

    def close(self) -> None:
        """Let go of the recording read last."""
        self._let_go()
        if self._source is not None:
            self._source.close()
            self._source = None

    def _let_go(self) -> None:
        if self._sound is not None:
            self._sound.close()
        self._sound = self._scale = None


def scale_of(blocks: Iterable[np.ndarray]) -> float:
    """What floats are to be divided by: 1, unless they are integers that were stored as floats.

    Args:
        blocks: All samples of a recording, in any shapes.
    """
    peak, are_integers = 0.0, True
    for block in blocks:
        peak = max(peak, float(np.abs(block).max(initial=0.0)))
        are_integers = are_integers and np.array_equal(block, np.round(block))
    if peak <= 1 or (peak <= _LOUDEST and not are_integers):
        return 1.0
    # An overshoot by a little is still of that scale.
    fitting = (2.0 ** (bits - 1) for bits in _BITS if peak <= 1.25 * 2.0 ** (bits - 1))
    return next(fitting, 1.0)


def _blocks_of(sound: Sound) -> Iterator[np.ndarray]:
    place = 0
    while len(block := sound.read(place, place + _STEP)):
        place += len(block)
        yield block


def _readable(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """As far as they can be decoded; who reads on behind that is told."""
    with suppress(*UNREADABLE):
        yield from blocks
