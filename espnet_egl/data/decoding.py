"""One recording, decoded: sought in where that is exact, else read from the front, once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import numpy as np
import soundfile

from espnet_egl.data.ffmpeg import SUFFIXES as FFMPEG_SUFFIXES
from espnet_egl.data.ffmpeg import demuxer_of, is_headerless, open_stream
from espnet_egl.data.headers import (
    asf_share,
    is_mpeg,
    is_noticeable,
    is_to_be_counted,
    lacking_share,
    riff_share,
    seconds_behind,
)
from espnet_egl.data.mending import Mended, complete
from espnet_egl.data.ogg import is_broken, is_ogg, lacks_end
from espnet_egl.data.sources import Source

logger = logging.getLogger(__name__)

# Of a stream that is read from the front, so many samples at a time.
_BLOCK = 1 << 16
# Seconds. Codecs begin and end with frames that are filled up, and where two files of MP3 meet, the
# first frames of the second build on none: what is claimed, and what can be decoded, is that rough.
_ROUGH = 0.25
# Dialogic's files have no header: four bits a sample, 8 kHz.
_VOX: dict[str, Any] = {"format": "RAW", "subtype": "VOX_ADPCM", "samplerate": 8000, "channels": 1}
SUFFIXES = FFMPEG_SUFFIXES | frozenset(
    {".aif", ".aifc", ".aiff", ".au", ".bwf", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus"}
    | {".rf64", ".snd", ".sph", ".vox", ".w64", ".wav", ".wave"}
)
# Whatever fails to be opened or read: a header may claim any number of samples.
UNREADABLE: tuple[type[Exception], ...] = (
    *(soundfile.LibsndfileError, OSError, ValueError, TypeError, MemoryError),
    # Of a broken header, whatever a reader stumbles over.
    *(LookupError, ArithmeticError, AttributeError, RuntimeError),
)


class Sound(Protocol):
    """A recording that is being read.

    Attributes:
        rate: In Hz.
        length: Samples of a channel; None while only decoding on can tell.
        scale_matters: Whether samples are floats, which may be of any scale.
        has_second_reader: Whether FFmpeg may get further where libsndfile fails.
    """

    rate: int
    length: int | None
    scale_matters: bool
    has_second_reader: bool

    @property
    def is_as_claimed(self) -> bool:
        """Whether whoever goes by libsndfile alone reads all of it, once all was read here."""

    def read(self, first: int, last: int | None) -> np.ndarray:
        """Samples ``first`` to ``last`` (None: all), fewer at the end: (samples, channels)."""

    def lacking(self) -> float:
        """Seconds that should be there and are not, of what was read; infinite: nobody can tell."""

    def is_damaged(self) -> bool:
        """Whether a part of what was read last is missing or in a wrong place."""

    def close(self) -> None:
        """Let go of it."""


class SoughtSound:
    """What libsndfile seeks in, to the sample."""

    def __init__(self, f: soundfile.SoundFile, source: Source, owns_source: bool = False):
        self._f, self._source, self._owns_source = f, source, owns_source
        self.rate, self.length = f.samplerate, f.frames
        self.scale_matters = f.subtype in ("FLOAT", "DOUBLE")
        self.has_second_reader = f.format == "FLAC"
        self._is_ogg, self._notes = f.format == "OGG", f.extra_info
        self._was_read = False

    @property
    def is_as_claimed(self) -> bool:
        return not self._owns_source  # what was mended is so for this reader alone

    def read(self, first: int, last: int | None) -> np.ndarray:
        if self._is_ogg and self._was_read:  # its notes of damage are of what was read since
            self._f.close()
            self._f = _open_sndfile(self._source)
        self._was_read = True
        last = self.length if last is None else min(last, self.length)
        first = min(first, self.length)
        self._f.seek(first)
        return self._f.read(max(0, last - first), dtype="float32", always_2d=True)

    def lacking(self) -> float:
        with self._source.open() as content:
            share = lacking_share(self._f, content)
        if share == 1:
            return float("inf")
        return self.length * share / (1 - share) / self.rate

    def is_damaged(self) -> bool:
        return self._is_ogg and is_broken(self._notes, self._f.extra_info)

    def close(self) -> None:
        self._f.close()
        if self._owns_source:
            self._source.close()


class _Blocks(Protocol):
    """What is decoded from the front: see :class:`.ffmpeg.FFmpegStream`."""

    rate: int
    lost: float

    def __iter__(self) -> Iterator[np.ndarray]: ...

    def lacking(self, there: float) -> float: ...

    def close(self) -> None: ...


class _SndfileBlocks:
    """What libsndfile cannot seek in: GSM 6.10, G.721, VOX."""

    lost = 0.0

    def __init__(self, f: soundfile.SoundFile):
        self._f, self.rate = f, f.samplerate

    def __iter__(self) -> Iterator[np.ndarray]:
        left = self._f.frames  # behind it libsndfile would make up samples
        while left and len(block := self._f.read(min(left, _BLOCK), "float32", always_2d=True)):
            left -= len(block)
            yield block

    def lacking(self, there: float) -> float:
        return 0.0  # it says nothing

    def close(self) -> None:
        self._f.close()


class StreamedSound:
    """A recording that can only be read from the front.

    Of what was read, all since the beginning of the last clip is kept: the next one may overlap
    it. A clip before that begins anew.

    Args:
        source: The recording.
        by_ffmpeg: By whom it is decoded: FFmpeg, or libsndfile without seeking.
        share: Of the audio that should be there, what the header and the file's size say is not.
        to_the_end: Read all of a WAV, whatever its header says.
        is_float: Whether samples are floats.
        guess: How many samples libsndfile would read; None: none.
    """

    has_second_reader = False

    def __init__(
        self,
        source: Source,
        by_ffmpeg: bool = True,
        share: float = 0.0,
        to_the_end: bool = False,
        is_float: bool = False,
        guess: int | None = None,
    ):
        self._source, self._by_ffmpeg, self._to_the_end = source, by_ffmpeg, to_the_end
        self._share, self.scale_matters = share, is_float
        self.length: int | None = None
        self._guess = guess
        self._begin()

    @property
    def is_as_claimed(self) -> bool:
        if self.length is None or self._guess is None:
            return False
        return not is_noticeable(
            abs(self.length - self._guess) / self.rate, self.length / self.rate
        )

    def _begin(self) -> None:
        with ExitStack() as opened:
            if self._by_ffmpeg:
                content = opened.enter_context(self._source.open())
                stream: _Blocks = open_stream(content, self._source.suffix, self._to_the_end)
            else:
                stream = _SndfileBlocks(_open_sndfile(self._source))
            opened.callback(stream.close)
            self._opened, self._stream = opened.pop_all(), stream
        self.rate, self._blocks = self._stream.rate, iter(self._stream)
        self._kept: list[np.ndarray] = []
        self._start = self._end = 0  # of what is kept, in samples

    def read(self, first: int, last: int | None) -> np.ndarray:
        if first < self._start:
            self.close()
            self._begin()
        self._forget(first)
        while last is None or self._end < last:
            block = next(self._blocks, None)
            if block is None:
                self.length = self._end
                break
            self._kept.append(block)
            self._end += len(block)
            self._forget(first)
        if not self._kept:
            return np.zeros((0, 1), np.float32)
        wave = np.concatenate(self._kept)
        stop = None if last is None else max(0, last - self._start)
        return wave[max(0, first - self._start) : stop].copy()

    def _forget(self, first: int) -> None:
        """Drop the blocks that end before a sample."""
        while len(self._kept) > 1 and self._start + len(self._kept[0]) <= first:
            self._start += len(self._kept.pop(0))

    def lacking(self) -> float:
        if self._share == 1:
            return float("inf")
        there = (self.length or 0) / self.rate
        by_size = there * self._share / (1 - self._share)
        by_claim = self._stream.lacking(there)
        return max(by_size, by_claim if by_claim > _ROUGH else 0.0)

    def is_damaged(self) -> bool:
        return self._stream.lost > _ROUGH

    def close(self) -> None:
        self._opened.close()


def open_sound(source: Source) -> Sound:
    """Open a recording for the reader that gets all of it: libsndfile, or else FFmpeg.

    Raises:
        soundfile.LibsndfileError: Neither reads it. So do the others of :data:`UNREADABLE`.
    """
    with source.open() as content:
        if is_headerless(content, source.suffix):
            return StreamedSound(source)
        known = demuxer_of(content, source.suffix) is not None
    try:
        f = _open_sndfile(source)
    except UNREADABLE:
        if (mended := _mended(source)) is not None:
            return mended
        if not known:
            raise
        with source.open() as content:
            share = riff_share(content) or asf_share(content)
            share = share or float(is_ogg(content) and lacks_end(None, content))
        return StreamedSound(source, share=share)
    try:
        return _choose(f, source, known)
    except BaseException:
        f.close()
        raise


def _mended(source: Source) -> Sound | None:
    """A recording whose header was never completed, read to the end of the file."""
    with source.open() as content:
        header = complete(content)
    if header is None:
        return None
    whole = Source(source.name, file=Mended(source.again(), *header))  # type: ignore[arg-type]
    try:
        sound = SoughtSound(_open_sndfile(whole), whole, owns_source=True)
    except UNREADABLE:
        whole.close()
        return None
    if not sound.length:
        sound.close()
        return None
    logger.warning(
        f"{source.name}: its header does not say how long it is, as of a recorder that was killed: "
        f"read to its end, {sound.length / sound.rate:.2f} s"
    )
    return sound


def _choose(f: soundfile.SoundFile, source: Source, known: bool) -> Sound:
    """By whom a file is read that libsndfile has opened."""
    with source.open() as content:
        counted, share = is_to_be_counted(f, content), lacking_share(f, content)
        behind = 0.0 if counted else seconds_behind(f, content)
    if counted and not is_mpeg(f) and (mended := _mended(source)) is not None:
        f.close()
        return mended
    if counted and known and (counted_sound := _counted(f, source, share)) is not None:
        f.close()
        return counted_sound
    if behind:
        logger.warning(
            f"{source.name}: its header names {f.frames / f.samplerate:.2f} s of audio, and bytes "
            f"for another {behind:.2f} s stand behind it: they are not read. If they are audio, "
            "mend the header, for example by sox --ignore-length"
        )
    if not f.seekable():
        f.close()
        # Of half a block at the end of a WAV, which pads it, libsndfile makes noise.
        return StreamedSound(source, (f.format, f.subtype) == ("WAV", "GSM610"), share)
    return SoughtSound(f, source)


def _counted(f: soundfile.SoundFile, source: Source, share: float) -> Sound | None:
    """FFmpeg's reading of a file whose header does not tell its length; None: there is no audio."""
    only_ffmpeg = is_mpeg(f)
    is_float = f.subtype in ("FLOAT", "DOUBLE")
    try:
        sound = StreamedSound(source, True, share, not only_ffmpeg, is_float, guess=f.frames)
        if not only_ffmpeg and len(sound.read(0, 1)) == 0:
            sound.close()
            return None
    except UNREADABLE:
        if f.frames or only_ffmpeg:
            raise
        return None
    return sound


def _open_sndfile(source: Source) -> soundfile.SoundFile:
    options: dict[str, Any] = {}
    if source.suffix == ".vox":
        with source.open() as content:
            # What begins as another format is not Dialogic's, whatever its name.
            options = _VOX if demuxer_of(content, "") in (None, "mp3", "aac", "ac3") else {}
    return soundfile.SoundFile(source.for_libsndfile(), **options)
