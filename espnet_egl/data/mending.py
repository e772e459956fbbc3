"""Headers that were never completed, as a killed recorder leaves them: read to the file's end."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from espnet_egl.data.headers import riff_chunks

# A name in W64: of these 16 bytes the first four tell.
_W64_NAME = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"

# What stands before the audio is longer in no file but with pictures.
_LONGEST = 1 << 20


class Mended(io.RawIOBase):
    """A file with another header.

    Args:
        content: The file, which is closed with this.
        header: What is read first.
        skip: How many of the file's bytes it stands for.
    """

    def __init__(self, content: BinaryIO, header: bytes, skip: int):
        self._content, self._header, self._skip, self._place = content, header, skip, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_CUR:
            offset += self._place
        if whence == os.SEEK_END:
            size = self._content.seek(0, os.SEEK_END)
            offset += len(self._header) + size - self._skip
        self._place = offset
        return offset

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        found = self._header[self._place : self._place + len(buffer)]
        if not found:
            self._content.seek(self._place - len(self._header) + self._skip)
            found = self._content.read(len(buffer))
        buffer[: len(found)] = found
        self._place += len(found)
        return len(found)

    def close(self) -> None:
        self._content.close()
        super().close()


def complete(content: BinaryIO) -> tuple[bytes, int] | None:
    """The header that a file would have if its writer had come to complete it.

    Args:
        content: A file whose header says that it holds no audio, or has no room for how much.

    Returns:
        The header, and how many bytes of the file it stands for; None: that is unknown.
    """
    size = content.seek(0, os.SEEK_END)
    content.seek(0)
    start = content.read(16)
    if start[:4] == b".snd":
        return start[:8] + b"\xff" * 4, 12
    if start[8:12] == b"WAVE":
        return _of_riff(content, size)
    if start[:4] == b"FORM" and start[8:11] == b"AIF":
        return _changed(content, _of_aiff(content, size))
    if start[:6] == b"riff\x2e\x91":
        return _changed(content, _of_w64(content, size))
    return None


def _of_riff(content: BinaryIO, size: int) -> tuple[bytes, int] | None:
    """As RF64, which has room for any size."""
    format_chunk = b""
    for name, place, length in riff_chunks(content):
        if name == b"fmt " and length <= _LONGEST:
            content.seek(place - 8)
            format_chunk = content.read(8 + length + length % 2)
        if name == b"data" and format_chunk:
            audio = size - place
            sizes = (size.to_bytes(8, "little"), audio.to_bytes(8, "little"), bytes(12))
            head = b"RF64" + b"\xff" * 4 + b"WAVEds64" + (28).to_bytes(4, "little")
            return head + b"".join(sizes) + format_chunk + b"data" + b"\xff" * 4, place
    return None


# What is to be read from a byte on, in the place of what is there.
Changes = dict[int, bytes]


def _changed(content: BinaryIO, changes: Changes) -> tuple[bytes, int] | None:
    length = max((place + len(value) for place, value in changes.items()), default=0)
    if not 0 < length <= _LONGEST:
        return None
    content.seek(0)
    header = bytearray(content.read(length))
    for place, value in changes.items():
        header[place : place + len(value)] = value
    return bytes(header), length


def _of_aiff(content: BinaryIO, size: int) -> Changes:
    frames_at, width = 0, 0
    for name, place in _chunks(content, size, 12, 4, "big"):
        content.seek(place)
        if name == b"COMM":
            common = content.read(8)
            channels, bits = common[:2], common[6:8]
            width = int.from_bytes(channels, "big") * ((int.from_bytes(bits, "big") + 7) // 8)
            frames_at = place + 2
        if name == b"SSND" and width:
            frames = (size - place - 8) // width
            return {
                4: (size - 8).to_bytes(4, "big"),
                frames_at: frames.to_bytes(4, "big"),
                place - 4: (size - place).to_bytes(4, "big"),
            }
    return {}


def _of_w64(content: BinaryIO, size: int) -> Changes:
    for name, place in _chunks(content, size, 40, 8, "little", len(_W64_NAME)):
        if name == b"data" + _W64_NAME:
            length = size - place + 24
            return {16: size.to_bytes(8, "little"), place - 8: length.to_bytes(8, "little")}
    return {}


def _chunks(
    content: BinaryIO, size: int, place: int, field: int, order: Any, more: int = 0
) -> Iterator[tuple[bytes, int]]:
    """Names of chunks, and where what they hold begins.

    Args:
        content: The file.
        size: How many bytes it has.
        place: Where the first one begins.
        field: How many bytes say how long one is.
        order: Of these bytes.
        more: By how many bytes a name is longer than four; such chunks count their heads, and
            begin at every eighth byte.
    """
    head = 4 + more + field
    while place + head <= size:
        content.seek(place)
        name = content.read(4 + more)
        length = int.from_bytes(content.read(field), order)
        yield name, place + head
        following = place + (max(length, head) + 7) // 8 * 8 if more else place + head + length
        place = following + (following % 2 if not more else 0)
