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

# Of WMA: the name of the object that says how long the file is, and how far it is looked for.
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_HEAD = 1 << 16
# Of raw AAC, so many bytes are looked at at once where no frame is.
_ADTS_LOOK = 1 << 12


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
    if f.frames == 0:
        return not (f.format in _RIFF and is_whole_riff(content))
    return f.format in ("WAV", "WAVEX") and size - 8 > 0xFFFFFFFF


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


def tag_length(head: bytes) -> int:
    """How long a tag of ID3 or APE is that stands here, in bytes; 0: there is none.

    Args:
        head: Its beginning, of 16 bytes or more.
    """
    if head[:3] == b"ID3" and len(head) >= 10:  # four times seven bits
        fields = zip(head[6:10], (21, 14, 7, 0), strict=True)
        return 10 + sum((byte & 0x7F) << shift for byte, shift in fields)
    if head[:8] == b"APETAGEX":
        return 32 + int.from_bytes(head[12:16], "little")
    return 128 if head[:3] == b"TAG" else 0


def adts_frames_lost(content: BinaryIO) -> float:
    """How many frames would fill the holes of raw AAC, where no frame follows another.

    Args:
        content: Its bytes.
    """
    content.seek(0)
    place, held, frames, lost = 0, 0, 0, 0
    while len(head := content.read(16)) >= 7:
        if length := tag_length(head):
            pass
        elif (length := _adts_length(head)) > 0:
            held, frames = held + length, frames + 1
        else:  # to where the next one may begin
            found = (head + content.read(_ADTS_LOOK)).find(b"\xff", 1)
            length = found if found > 0 else len(head) + _ADTS_LOOK
            lost += length
        place += length
        content.seek(place)
    return lost * frames / held if held else 0.0


def _adts_length(head: bytes) -> int:
    """Of a frame of AAC with its header, in bytes; 0: it is none."""
    if head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:
        return 0
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return length if length > 7 else 0


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


def is_whole_riff(content: BinaryIO) -> bool:
    """Whether chunks behind the audio fill a WAV to its last byte: what it says of it is true."""
    size, end, is_behind = content.seek(0, os.SEEK_END), 0, False
    for name, place, length in riff_chunks(content):
        if is_behind and not (name.isascii() and name.decode("ascii").isprintable()):
            return False
        is_behind = is_behind or name == b"data"
        end = place + length
    return is_behind and size - end in (0, 1)


def asf_share(content: BinaryIO) -> float:
    """As :func:`lacking_share`, of a WMA, which says how many bytes it has.

    In its file properties, behind the name of that object: its size, the file's name, its size,
    a date, how many packets, two times, a lead in, and marks of which the first is of a file that
    was not completed (Advanced Systems Format, section 3.2).
    """
    size = content.seek(0, os.SEEK_END)
    content.seek(0)
    head = content.read(_ASF_HEAD)
    place = head.find(_ASF_PROPERTIES)
    fields = head[place + 16 : place + 92]
    if place < 0 or len(fields) < 76 or fields[72] & 1:
        return 0.0
    return _share(size, int.from_bytes(fields[24:32], "little"))


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
