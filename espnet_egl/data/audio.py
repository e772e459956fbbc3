"""Audio of one utterance: any recording, any segment of it, at the model's rate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile
from humanfriendly.text import pluralize

from espnet_egl.data.channels import is_overheard, pick
from espnet_egl.data.kaldi import Channel
from espnet_egl.data.pipes import PIPE_TIMEOUT
from espnet_egl.data.recordings import Recordings
from espnet_egl.errors import DataError, UtteranceError
from espnet_egl.store.files import atomic_open

# Of the two numbers that say how rates relate: those of all usual rates come to less.
RATIO_PRODUCT = 1 << 20


def read_audio(
    rxfilename: str,
    rate: int,
    start: float = 0.0,
    end: float | None = None,
    allow_pipes: bool = True,
    pipe_timeout: float = PIPE_TIMEOUT,
    max_seconds: float = math.inf,
    recordings: Recordings | None = None,
    channel: Channel | None = None,
) -> tuple[np.ndarray, float]:
    """Read a waveform as ESPnet's recogniser expects it.

    Args:
        rxfilename: What wav.scp says: the path of a file that libsndfile or FFmpeg reads, an
            entry ``<path>.ark:<offset>`` that holds one, or a command that ends in ``|`` and
            writes one to its standard output.
        rate: The sampling rate the model wants; other rates are resampled.
        start: Where to begin, in seconds.
        end: Where to stop, in seconds; None for the end of the recording.
        allow_pipes: Whether commands are run.
        pipe_timeout: How long a command may take, in seconds.
        max_seconds: Longer clips are not read into memory.
        recordings: What reads them, so that segments of a recording, one after the other, decode
            it once; it has its own ``allow_pipes`` and ``pipe_timeout``. None: opened for this.
        channel: One, from 0 on, or the mean of all; None: the first (what ESPnet's front end
            keeps in inference).

    Returns:
        Waveform (samples,) in [-1, 1], float32, of one channel, and its duration in seconds.

    Raises:
        UtteranceError: It cannot be read, is empty, cut off or too long, or holds values that
            are not finite.
    """
    with _reading(recordings, allow_pipes, pipe_timeout) as opened:
        wave, seconds, _ = listen(opened, rxfilename, rate, start, end, max_seconds, channel)
    return wave, seconds


def listen(
    recordings: Recordings,
    rxfilename: str,
    rate: int,
    start: float,
    end: float | None,
    max_seconds: float,
    channel: Channel | None,
) -> tuple[np.ndarray, float, bool]:
    """As :func:`read_audio`, and whether another channel holds speech that is not in this one.

    Raises:
        UtteranceError: As :func:`read_audio`.
    """
    channels, file_rate = recordings.read(rxfilename, start, end, max_seconds)
    wave = pick(channels, channel, rxfilename)
    overheard = is_overheard(channels, channel, file_rate)
    return _resample(wave, file_rate, rate), len(wave) / file_rate, overheard


def listen_around(
    recordings: Recordings,
    rxfilename: str,
    rate: int,
    start: float,
    end: float,
    context: float,
    channel: Channel | None,
) -> tuple[np.ndarray, float, float]:
    """A segment as :func:`read_audio` has it, with ``context`` seconds before and behind.

    Returns:
        Waveform (samples,), the seconds of the segment, and the seconds of it that are before the
        segment.

    Raises:
        UtteranceError: As :func:`read_audio`, of the segment.
    """
    channels, file_rate, before = recordings.read_around(rxfilename, start, end, context)
    wave = pick(channels, channel, rxfilename)
    seconds = min(end - start, len(wave) / file_rate - before)
    return _resample(wave, file_rate, rate), seconds, before


@contextmanager
def _reading(
    recordings: Recordings | None, allow_pipes: bool, pipe_timeout: float
) -> Iterator[Recordings]:
    """What is given, or one that is closed behind it."""
    if recordings is not None:
        yield recordings
        return
    own = Recordings(allow_pipes, pipe_timeout)
    try:
        yield own
    finally:
        own.close()


def read_channels(
    entry: str,
    rate: int,
    start: float = 0.0,
    end: float | None = None,
    allow_pipes: bool = True,
    pipe_timeout: float = PIPE_TIMEOUT,
    max_seconds: float = math.inf,
    recordings: Recordings | None = None,
) -> tuple[np.ndarray, float]:
    """Read every channel, as ESPnet's type ``multi_columns_sound`` has them.

    Args:
        entry: What wav.scp says: what :func:`read_audio` takes, or several paths, separated by
            spaces, whose channels are put side by side.
        rate: As for :func:`read_audio`, and so the rest.
        start: See there.
        end: See there.
        allow_pipes: See there.
        pipe_timeout: See there.
        max_seconds: See there.
        recordings: See there.

    Returns:
        Waveform (samples, channels) in [-1, 1], float32, or (samples,) of one channel; and its
        duration in seconds.

    Raises:
        UtteranceError: As :func:`read_audio`, or the files differ in length or sampling rate.
    """
    is_command = entry.endswith("|")
    columns = [entry] if is_command else entry.split() or [""]
    if not is_command and any(column.endswith("|") for column in columns):
        raise UtteranceError("pipe_not_allowed", f"{entry}: a command among files was not run")
    with _reading(recordings, allow_pipes, pipe_timeout) as opened:
        read = [opened.read(column, start, end, max_seconds) for column in columns]
    shapes = [(len(wave), file_rate) for wave, file_rate in read]
    for column, shape in zip(columns, shapes, strict=True):
        if shape != shapes[0]:
            raise UtteranceError(
                "unreadable_audio",
                f"{column} has {pluralize(shape[0], 'sample')} at {shape[1]} Hz, {columns[0]} has "
                f"{shapes[0][0]} at {shapes[0][1]} Hz: make them channels of one recording",
            )
    samples, file_rate = shapes[0]
    wave = np.concatenate([wave for wave, _ in read], axis=1)
    wave = wave[:, 0] if wave.shape[1] == 1 else wave
    return _resample(wave, file_rate, rate), samples / file_rate


def write_wave(path: Path, wave: np.ndarray, rate: int) -> None:
    """Write a file at once, in the format of its suffix; one that is there is left as it is.

    Args:
        path: The file, ``.flac`` or ``.wav``.
        wave: Waveform (samples,) in [-1, 1].
        rate: In Hz.
    """
    if not path.exists():
        with atomic_open(path, "wb") as f:
            soundfile.write(f, wave, rate, format=path.suffix[1:].upper())


def write_clip(
    path: Path,
    rxfilename: str,
    start: float = 0.0,
    end: float | None = None,
    allow_pipes: bool = True,
    pipe_timeout: float = PIPE_TIMEOUT,
    recordings: Recordings | None = None,
    channel: Channel | None = None,
    context: float = 0.0,
) -> tuple[float, float, float]:
    """Write one clip, one channel at its own rate; one that is there must be the same.

    Args:
        path: The file.
        rxfilename: As for :func:`read_audio`, and so the rest.
        start: See there.
        end: See there.
        allow_pipes: See there.
        pipe_timeout: See there.
        recordings: See there.
        channel: See there.
        context: Seconds of the recording around the clip that come along, where it has an end.

    Returns:
        Seconds of the file before the clip, of the clip, and behind it.

    Raises:
        UtteranceError: As :func:`read_audio`.
        DataError: The clip is there, of another recording or with other seconds around it.
    """
    with _reading(recordings, allow_pipes, pipe_timeout) as opened:
        if context and end is not None:
            channels, rate, before = opened.read_around(rxfilename, start, end, context)
        else:
            channels, rate = opened.read(rxfilename, start, end)
            before = 0.0
    wave = pick(channels, channel, rxfilename)
    if path.exists():
        _check_same(path, wave, rate, rxfilename, is_segment=end is not None)
    write_wave(path, wave, rate)
    whole = len(wave) / rate
    seconds = whole - before
    if context and end is not None:
        seconds = min(seconds, end - start)
    return before, seconds, whole - before - seconds


def source_changed(path: Path, rxfilename: str) -> DataError:
    """People may have heard something else than what is trained on."""
    return DataError(
        f"{rxfilename} is not what it was when {path} was made of it: put it back as it was; or "
        "move that file away, have the clip transcribed again, and run this again"
    )


def _check_same(path: Path, wave: np.ndarray, rate: int, rxfilename: str, is_segment: bool) -> None:
    try:
        other, other_rate = soundfile.read(path, dtype="float32")
    except soundfile.LibsndfileError:
        raise source_changed(path, rxfilename) from None
    same_shape = (rate, wave.shape) == (other_rate, other.shape)
    if is_segment and rate == other_rate and not same_shape:
        # The segment is in the file's name: what can differ is what is around it.
        raise DataError(
            f"{path} was made with another --context_seconds (it has {len(other) / rate:.3f} s, "
            f"and would have {len(wave) / rate:.3f} s of {rxfilename} now): give that one again; "
            f"or move {path.parent} away, and have its clips heard anew"
        )
    # Files hold 16 bits a sample, and commands that dither never write the same twice.
    if not (same_shape and np.allclose(wave.clip(-1, 1), other, rtol=0, atol=1e-3)):
        raise source_changed(path, rxfilename)


def _resample(wave: np.ndarray, file_rate: int, rate: int) -> np.ndarray:
    """(samples,) or (samples, channels), each channel by itself."""
    if file_rate == rate:
        return wave
    import torch
    import torchaudio

    # Memory grows with the product of the reduced rates: gigabytes for 44101 Hz, more for what a
    # damaged header says. A ratio that is off by a millionth is close by, and in most cases exact.
    ratio = Fraction(file_rate, rate)
    ratio = ratio.limit_denominator(max(1, math.isqrt(int(RATIO_PRODUCT / ratio))))
    channels = torch.from_numpy(np.ascontiguousarray(wave.T))
    return torchaudio.functional.resample(channels, ratio.numerator, ratio.denominator).numpy().T


def change_speed(wave: np.ndarray, rate: int, factor: float) -> np.ndarray:
    """The same waveform played ``factor`` times as fast, its pitch too, as by ``sox speed``.

    Args:
        wave: (samples,) at ``rate``.
        rate: Its sampling rate in Hz.
        factor: Above 1 is faster and shorter.
    """
    import torch
    import torchaudio

    faster, _ = torchaudio.functional.speed(torch.from_numpy(wave), rate, factor)
    return faster.numpy()
