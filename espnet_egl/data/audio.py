"""Audio of one utterance: files, arks of them, Kaldi's pipes and segments, at the model's rate."""

from __future__ import annotations

import io
import math
import os
import re
import selectors
import signal
import struct
import subprocess
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile

from espnet_egl.errors import DataError, UtteranceError
from espnet_egl.store.files import atomic_open

# Commands get so many seconds, as --pipe_timeout has it, and may write so many bytes.
PIPE_TIMEOUT = 300.0
PIPE_BYTES = 1 << 30

# Of the two numbers that say how rates relate: those of all usual rates come to less.
RATIO_PRODUCT = 1 << 20

_ARK_ENTRY = re.compile(r"(.+\.ark):([0-9]+)", re.S)
_ARK_SOUND = b"AUDIO"
_RIFF = b"RIFF"

# Where a file says how much audio it holds, libsndfile notes how much there is: of WAV, AIFF, AU,
# SVX and W64 both; that they differ, of RF64, MAT4 and VOC.
_CLAIM = re.compile(r"^\s*(?:data|SSND|Data Size|BODY|riff)\s*: (\d+) \(should be (\d+)\)", re.M)
_TOO_SHORT = re.compile(
    r"^(?:\*\*\* Calculated frame count \d+ does not match"
    r"|\*\*\* File seems to be truncated|Seems to be a truncated file)",
    re.M,
)
# Who writes to a pipe does not know yet, and claims as much as the field can say.
_UNKNOWN_LENGTH = 0x7FFF0000

# A page of Ogg has 65307 bytes at most: the last one begins in a file's tail.
_OGG_TAIL = 1 << 16
_OGG_PAGE = re.compile(rb"OggS\0[\0-\7]")
_OGG_HEADER = struct.Struct("<5xBqI8xB")  # flags, granule position, serial number, segments
_OGG_END_OF_STREAM = 4
# What libsndfile took for the stream, and for the granule position of its last page.
_OGG_STREAM = re.compile(r"^Stream serialno : (\d+)", re.M)
_OGG_LAST = re.compile(r"^(?:PCM end| *Last Granule pos) *: (\d+)", re.M)
# What it notes of bytes that are no page, and of pages that are missing.
_OGG_SKIPPED, _OGG_HOLE = r"Ogg : Skipped \d+ bytes", r"Ogg : Warning, libogg reports a hole"
_OGG_BROKEN = re.compile(rf"^(?:{_OGG_SKIPPED}|{_OGG_HOLE})", re.M)
_OGG_DAMAGED = re.compile(rf"^{_OGG_SKIPPED}.*\n{_OGG_HOLE}", re.M)


def read_audio(
    rxfilename: str,
    rate: int,
    start: float = 0.0,
    end: float | None = None,
    allow_pipes: bool = True,
    pipe_timeout: float = PIPE_TIMEOUT,
    max_seconds: float = math.inf,
) -> tuple[np.ndarray, float]:
    """Read a waveform as ESPnet's recogniser expects it.

    Args:
        rxfilename: What wav.scp says: the path of a file that libsndfile reads, an entry
            ``<path>.ark:<offset>`` that holds one, or a command that ends in ``|`` and writes
            one to its standard output.
        rate: The sampling rate the model wants; other rates are resampled.
        start: Where to begin, in seconds.
        end: Where to stop, in seconds; None for the end of the recording.
        allow_pipes: Whether commands are run.
        pipe_timeout: How long a command may take, in seconds.
        max_seconds: Longer clips are not read into memory.

    Returns:
        Waveform (samples,) in [-1, 1], float32, of the first channel (what ESPnet's front
        end keeps in inference), and its duration in seconds.

    Raises:
        UtteranceError: It cannot be read, is empty, cut off or too long, or holds values that
            are not finite.
    """
    wave, file_rate = _read(rxfilename, start, end, allow_pipes, pipe_timeout, max_seconds)
    return _resample(wave, file_rate, rate), len(wave) / file_rate


def read_channels(
    entry: str,
    rate: int,
    start: float = 0.0,
    end: float | None = None,
    allow_pipes: bool = True,
    pipe_timeout: float = PIPE_TIMEOUT,
    max_seconds: float = math.inf,
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

    Returns:
        Waveform (samples, channels) in [-1, 1], float32, or (samples,) of one channel; and its
        duration in seconds.

    Raises:
        UtteranceError: As :func:`read_audio`, or the files differ in length or sampling rate.
    """
    is_command = entry.endswith("|")
    columns = [entry] if is_command else entry.split() or [""]
    allow_pipes = allow_pipes and is_command  # or else a column would be run as one
    read = [
        _read(column, start, end, allow_pipes, pipe_timeout, max_seconds, every_channel=True)
        for column in columns
    ]
    shapes = [(len(wave), file_rate) for wave, file_rate in read]
    for column, shape in zip(columns, shapes, strict=True):
        if shape != shapes[0]:
            raise UtteranceError(
                "unreadable_audio",
                f"{column} has {shape[0]} samples at {shape[1]} Hz, {columns[0]} has "
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
) -> float:
    """Write one clip alone, its first channel at its own rate; one that is there must be the same.

    Args:
        path: The file.
        rxfilename: As for :func:`read_audio`, and so the rest.
        start: See there.
        end: See there.
        allow_pipes: See there.
        pipe_timeout: See there.

    Returns:
        Seconds.

    Raises:
        UtteranceError: As :func:`read_audio`.
        DataError: The clip is there, of another recording.
    """
    wave, rate = _read(rxfilename, start, end, allow_pipes, pipe_timeout)
    if path.exists() and not _is_same(wave, rate, path):
        raise source_changed(path, rxfilename)
    write_wave(path, wave, rate)
    return len(wave) / rate


def source_changed(path: Path, rxfilename: str) -> DataError:
    """People may have heard something else than what is trained on."""
    return DataError(
        f"{rxfilename} is not what it was when {path} was made of it: put it back as it was; or "
        "move that file away, have the clip transcribed again, and run this again"
    )


def _is_same(wave: np.ndarray, rate: int, path: Path) -> bool:
    try:
        other, other_rate = soundfile.read(path, dtype="float32")
    except soundfile.LibsndfileError:
        return False
    # Files hold 16 bits a sample, and commands that dither never write the same twice.
    return (rate, wave.shape) == (other_rate, other.shape) and np.allclose(
        wave.clip(-1, 1), other, rtol=0, atol=1e-3
    )


def _read(
    rxfilename: str,
    start: float,
    end: float | None,
    allow_pipes: bool,
    pipe_timeout: float,
    max_seconds: float = math.inf,
    every_channel: bool = False,
) -> tuple[np.ndarray, int]:
    """(samples,) of the first channel or (samples, channels), and the sampling rate."""
    source: Any
    if rxfilename.endswith("|"):
        source = _run_pipe(rxfilename[:-1], allow_pipes, pipe_timeout)
    else:
        source = find_sound(rxfilename)
    try:
        wave, file_rate = _read_samples(source, rxfilename, start, end, max_seconds)
    # Memory: a header may claim any number of samples.
    except (soundfile.LibsndfileError, OSError, ValueError, TypeError, MemoryError) as e:
        raise UtteranceError("unreadable_audio", f"{rxfilename}: {e}") from e
    if not every_channel:
        wave = wave[:, 0]
    if len(wave) == 0:
        raise UtteranceError("empty_audio", f"{rxfilename}: no samples")
    if not np.isfinite(wave).all():
        raise UtteranceError("not_finite_audio", f"{rxfilename}: holds NaN or infinite samples")
    return wave, file_rate


def is_ark_entry(rxfilename: str) -> bool:
    """Whether it is ``<path>.ark:<offset>``, as asr.sh writes it with --audio_format flac.ark."""
    return _ARK_ENTRY.fullmatch(rxfilename) is not None


def find_sound(rxfilename: str, framed: bool = False) -> str | io.BytesIO:
    """What libsndfile opens for an entry of wav.scp that is no command.

    Args:
        rxfilename: The entry.
        framed: Whether an ark has to be ESPnet's: Kaldi's own, of wav-copy, ESPnet reads as
            integers, at another scale than any other file.

    Returns:
        The path of a file as it is, or the sound that an entry of an ark holds.

    Raises:
        UtteranceError: There is no such file, or the entry is no such sound.
    """
    found = _ARK_ENTRY.fullmatch(rxfilename)
    path = rxfilename if found is None else found[1]
    check_is_file(path)
    if found is None:
        return path
    try:
        with Path(path).open("rb") as f:
            return io.BytesIO(_read_ark_sound(f, int(found[2]), framed))
    except (OSError, ValueError, OverflowError) as e:
        raise UtteranceError("unreadable_audio", f"{rxfilename}: {e}") from e


def _read_ark_sound(f: BinaryIO, offset: int, framed: bool) -> bytes:
    """The file that an entry holds: with kaldiio's framing, or as Kaldi's wav-copy writes it.

    The framing is AUDIO, how many bytes the length has, and the length; without one, a file begins
    with RIFF and the length of what follows.
    """
    rest = f.seek(0, os.SEEK_END) - offset
    f.seek(offset)
    mark = f.read(len(_RIFF))
    if mark == _RIFF and not framed:
        length = len(_RIFF) + 4 + int.from_bytes(f.read(4), "little")
        f.seek(offset)
    elif mark + f.read(len(_ARK_SOUND) - len(_RIFF)) == _ARK_SOUND:
        length = int.from_bytes(f.read(int.from_bytes(f.read(1), "little")), "little")
    else:
        raise ValueError("no sound as ESPnet's format_wav_scp.py or Kaldi's wav-copy writes it")
    if length > rest:
        raise ValueError("the ark ends before the entry does; copy it again")
    return f.read(length)


def check_is_file(path: str) -> None:
    """Refuse what would wait for input instead of being read: ``-``, devices, named pipes.

    Raises:
        UtteranceError: It is no file.
    """
    try:
        is_file = Path(path).is_file()
    except (OSError, ValueError) as e:  # too long for a name, or a zero byte in it
        raise UtteranceError("unreadable_audio", f"{path}: {e}") from e
    if not is_file:
        what = "not a file" if Path(path).exists() else "no such file"
        raise UtteranceError("unreadable_audio", f"{path or 'no path is given'}: {what}")


def _read_samples(
    source: Any, name: str, start: float, end: float | None, max_seconds: float
) -> tuple[np.ndarray, int]:
    with soundfile.SoundFile(source) as f:
        first = round(start * f.samplerate)
        last = f.frames if end is None else round(end * f.samplerate)
        notes = f.extra_info
        if (end is None or last > f.frames) and is_cut_off(f):
            raise UtteranceError(
                "truncated_audio",
                f"{name}: its header claims more than it holds, or it lacks its end; copy it again",
            )
        # Kaldi forgives segments that overshoot by rounding, no more.
        if f.frames and (first >= f.frames or last > f.frames + f.samplerate // 2):
            raise UtteranceError(
                "bad_segment",
                f"{name}: segment {start}-{end} s lies beyond the "
                f"{f.frames / f.samplerate:.2f} s of the recording",
            )
        count = min(last, f.frames) - first
        if count > max_seconds * f.samplerate:
            raise UtteranceError(
                "too_long",
                f"{name}: {count / f.samplerate:.1f} s, more than --max_seconds {max_seconds:g}; "
                "cut it by a file segments",
            )
        f.seek(min(first, f.frames))
        wave = f.read(count, dtype="float32", always_2d=True)
        if len(wave) < count:
            raise UtteranceError(
                "truncated_audio",
                f"{name}: {len(wave)} of {count} samples are there; copy it again",
            )
        if _is_broken(notes, f.extra_info):
            raise UtteranceError(
                "truncated_audio", f"{name}: damaged, a part of it is missing; copy it again"
            )
        return wave, f.samplerate


def is_cut_off(f: soundfile.SoundFile) -> bool:
    """Whether a file's header claims more audio than there is, or an Ogg file lacks its end.

    Formats that name no length, as MP3, do not tell.
    """
    if f.format == "NIST":
        return _sphere_samples(f.name) > f.frames
    if f.format == "OGG":
        return _lacks_ogg_end(f)
    found = _CLAIM.search(f.extra_info)
    if found is not None:
        # Chunks of odd length have a byte behind them, which some leave out.
        return int(found[2]) + 1 < int(found[1]) < _UNKNOWN_LENGTH
    return _TOO_SHORT.search(f.extra_info) is not None


def _lacks_ogg_end(f: soundfile.SoundFile) -> bool:
    """Whether the last page is cut off, ends no stream, or is one that libsndfile cannot use."""
    tail = _read_tail(f.name, _OGG_TAIL)
    starts = [found.start() for found in _OGG_PAGE.finditer(tail)]
    page = tail[starts[-1] :] if starts else b""
    if len(page) < _OGG_HEADER.size:
        return True
    flags, granule, serial, segments = _OGG_HEADER.unpack_from(page)
    body = _OGG_HEADER.size + segments
    if len(page) < body + sum(page[_OGG_HEADER.size : body]) or not flags & _OGG_END_OF_STREAM:
        return True
    stream, last = (pattern.search(f.extra_info) for pattern in (_OGG_STREAM, _OGG_LAST))
    # Of chained streams libsndfile reads the first, and the last page is of another.
    if stream is None or last is None or int(stream[1]) != serial:
        return False
    return granule not in (-1, int(last[1]))  # -1: no packet ends in the page


def _is_broken(before: str, after: str) -> bool:
    """Whether a part of an Ogg file is missing, by what libsndfile noted before reading and after.

    A stream recorded from its midst lacks its first pages, and nothing of what was recorded. If
    damage takes them, what follows begins too early: no segment is where it should be. A search
    for a segment that comes across damage may end in a wrong place, too.
    """
    in_the_way = _OGG_BROKEN.search(after[len(before) :])
    return in_the_way is not None or _OGG_DAMAGED.search(before) is not None


def _read_tail(source: Any, size: int) -> bytes:
    """The last bytes of a file, or of what was read of one."""
    if isinstance(source, io.BytesIO):
        return source.getvalue()[-size:]
    with Path(source).open("rb") as f:
        f.seek(max(0, f.seek(0, os.SEEK_END) - size))
        return f.read()


def _sphere_samples(source: Any) -> int:
    """What the header of a SPHERE file claims, which libsndfile keeps to itself."""
    if isinstance(source, io.BytesIO):
        header = source.getvalue()[:1024]
    else:
        with Path(source).open("rb") as f:
            header = f.read(1024)
    found = re.search(rb"^sample_count -i (\d+)", header, re.M)
    return int(found[1]) if found else 0


def _run_pipe(command: str, allow_pipes: bool, timeout: float) -> io.BytesIO:
    """What a command writes; it and all it started are ended when its time is over."""
    shown = f"'{command.strip()} |'"
    if not allow_pipes:
        raise UtteranceError("pipe_not_allowed", f"{shown} was not run")
    with tempfile.TemporaryFile() as errors:
        # A command in wav.scp is run by the shell: Kaldi's convention, and the user's own data.
        process = subprocess.Popen(  # noqa: S603
            ["bash", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        try:
            written = _read_until(process, time.monotonic() + timeout)
        except TimeoutError:
            raise UtteranceError(
                "pipe_timeout", f"{shown} took more than --pipe_timeout {timeout:g} s"
            ) from None
        except OverflowError:
            raise UtteranceError(
                "failed_pipe", f"{shown} wrote more than {PIPE_BYTES >> 20} MiB"
            ) from None
        finally:
            _end(process)
        errors.seek(0)
        last_line = (errors.read(1 << 16).decode("utf-8", "replace").strip().splitlines() or [""])[
            -1
        ]
    if process.returncode != 0:
        raise UtteranceError("failed_pipe", f"{shown} ended with {process.returncode}: {last_line}")
    if not written:
        raise UtteranceError("failed_pipe", f"{shown} wrote nothing: {last_line}")
    return io.BytesIO(written)


def _read_until(process: subprocess.Popen[bytes], deadline: float) -> bytes:
    """All that it writes, once it has ended.

    Raises:
        TimeoutError: It has not by then.
        OverflowError: It writes more than PIPE_BYTES.
    """
    assert process.stdout is not None
    found = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            block = os.read(process.stdout.fileno(), 1 << 16)
            found += block
            if len(found) > PIPE_BYTES:
                raise OverflowError
            if not block:
                try:
                    process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    break
                return bytes(found)
            if time.monotonic() > deadline:
                break
    raise TimeoutError


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command that has not ended by itself, with everything of its session."""
    assert process.stdout is not None
    process.stdout.close()
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


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
