"""What a header says of a file's length, and how that compares with the file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import BinaryIO

import soundfile

from espnet_egl.data.ogg import lacks_end

# What is missed by nobody: less than this of a recording, in seconds and in parts of it.
_SECONDS, _SHARE = 0.1, 0.1

# Where a file says how much audio it holds, libsndfile notes how much there is: of WAV, AIFF, AU,
# SVX and W64 in bytes; of RF64 in samples, of MAT4 in bytes again; of VOC, that they differ.
_CLAIM = re.compile(r"^\s*(?:data|SSND|Data Size|BODY|riff)\s*: (\d+) \(should be (\d+)\)", re.M)
_FRAMES = re.compile(r"^\*\*\* Calculated frame count (\d+) does not match.* (\d+)\.$", re.M)
_BYTES = re.compile(r"^\*\*\* File seems to be truncated\. (\d+) <--> (\d+)", re.M)
_TOO_SHORT = re.compile(r"^Seems to be a truncated file", re.M)
# Who writes to a pipe does not know yet, and claims as much as the field can say.
_UNKNOWN_LENGTH = 0x7FFF0000

# Of samples that are stored as they are.
_WIDTHS = {"PCM_S8": 1, "PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4}
_WIDTHS |= {"DOUBLE": 8, "ULAW": 1, "ALAW": 1}
_RIFF = ("WAV", "WAVEX", "RF64")


def is_noticeable(missing: float, whole: float) -> bool:
    """Whether a part of a recording is missed: a tenth of a second, or of what is short.

    Args:
        missing: In seconds, as ``whole``.
        whole: With it.
    """
    return missing > min(_SECONDS, _SHARE * whole)


def lacking_share(f: soundfile.SoundFile, content: BinaryIO) -> float:
    """Which part of the audio that a header claims is not there: 0 of a whole file, 1 where a part
    is gone that nobody can tell the size of.

    Formats that name no length do not tell.

    Args:
        f: The file as libsndfile opened it.
        content: Its bytes.
    """
    notes = f.extra_info
    if f.format == "OGG":
        return float(lacks_end(f, content))
    if f.format == "NIST":
        return _share(f.frames, _sphere_samples(content))
    if (found := _CLAIM.search(notes)) is not None:
        claimed, there = int(found[1]), int(found[2])
        return 0.0 if claimed >= _UNKNOWN_LENGTH else _share(there, claimed)
    if (found := _FRAMES.search(notes) or _BYTES.search(notes)) is not None:
        there, claimed = int(found[1]), int(found[2])
        return 0.0 if claimed >= _UNKNOWN_LENGTH else _share(there, claimed)
    return float(_TOO_SHORT.search(notes) is not None)


def _share(there: int, claimed: int) -> float:
    return max(0.0, 1 - there / claimed) if claimed else 0.0


def is_to_be_counted(f: soundfile.SoundFile, content: BinaryIO) -> bool:
    """Whether libsndfile cannot know how much audio there is, or does not read all of it.

    Of MPEG it guesses by the first frames; a header that was never completed says nothing; and
    that of a WAV above 4 GiB has no room for the number.

    Args:
        f: The file as libsndfile opened it.
        content: Its bytes.
    """
    if is_mpeg(f) or (f.format == "FLAC" and f.frames >= 1 << 36):
        return True
    size = content.seek(0, os.SEEK_END)
    return f.frames == 0 or (f.format in ("WAV", "WAVEX") and size - 8 > 0xFFFFFFFF)


def is_mpeg(f: soundfile.SoundFile) -> bool:
    """Whether it is MPEG, in a file of its own or in a WAV."""
    return "MPEG" in f.subtype


def mpeg_counts_frames(head: bytes) -> bool:
    """Whether MP3 says how many frames it has, by a tag of Xing's in the first of them.

    Args:
        head: How it begins, behind any other tags.
    """
    found = re.search(rb"Xing|Info", head[:64])
    return found is not None and bool(head[found.end() + 3] & 1)


def seconds_behind(f: soundfile.SoundFile, content: BinaryIO) -> float:
    """How much audio would fit into what stands behind a file's audio, and is no part of it.

    Args:
        f: The file as libsndfile opened it.
        content: Its bytes.
    """
    per_second = f.samplerate * f.channels * _WIDTHS.get(f.subtype, 0)
    size = content.seek(0, os.SEEK_END)
    other = size - f.frames * f.channels * _WIDTHS.get(f.subtype, 0)
    if not per_second or not is_noticeable(other / per_second, size / per_second):
        return 0.0
    if f.format in _RIFF:
        other = _behind_chunks(content, size)
    # Headers of other formats may be long, and tags behind the audio, too; half of a file is more.
    elif other * 2 < size:
        return 0.0
    return other / per_second


def _behind_chunks(content: BinaryIO, size: int) -> int:
    """How many bytes of RIFF stand behind its audio and in no chunk."""
    is_behind = False
    for name, place, length in riff_chunks(content):
        if is_behind and (not name.isascii() or not name.decode("ascii").isprintable()):
            return size - place + 8
        if place + length > size:
            return size - place + 8 if is_behind else 0
        is_behind = is_behind or name == b"data"
    return 0


def riff_share(content: BinaryIO) -> float:
    """As :func:`lacking_share`, of a WAV that libsndfile does not open."""
    size = content.seek(0, os.SEEK_END)
    for name, place, length in riff_chunks(content):
        if name == b"data":
            return 0.0 if length >= _UNKNOWN_LENGTH else _share(min(length, size - place), length)
    return 0.0


def riff_chunks(content: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Name, first byte and length of every chunk of a WAV or RF64."""
    size, place, long_data = content.seek(0, os.SEEK_END), 12, 0
    while place + 8 <= size:
        content.seek(place)
        head = content.read(24)
        name, length = head[:4], int.from_bytes(head[4:8], "little")
        if name == b"ds64":
            long_data = int.from_bytes(head[16:24], "little")
        if name == b"data" and length == 0xFFFFFFFF and long_data:
            length = long_data
        yield name, place + 8, length
        place += 8 + length
        if length % 2:  # a byte should follow that is of no chunk
            content.seek(place)
            place += content.read(1) == b"\0"


def _sphere_samples(content: BinaryIO) -> int:
    """What the header of a SPHERE file claims, which libsndfile keeps to itself."""
    content.seek(0)
    found = re.search(rb"^sample_count -i (\d+)", content.read(1024), re.M)
    return int(found[1]) if found else 0
