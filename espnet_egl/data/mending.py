"""Headers that were never completed, as a killed recorder leaves them: read to the file's end."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from espnet_egl.data.headers import riff_chunks

# A name in W64: of these 16 bytes the first four tell.
_W64_NAME = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"

Changes = dict[int, bytes]  # what is to be read from a byte on, in the place of what is there


class Mended(io.RawIOBase):
    """A file with other bytes in some places.

    Args:
        content: The file, which is closed with this.
        changes: See :data:`Changes`.
    """

    def __init__(self, content: BinaryIO, changes: Changes):
        self._content, self._changes = content, changes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._content.seek(offset, whence)

    def tell(self) -> int:
        return self._content.tell()

    def readinto(self, buffer: Any) -> int:
        first = self._content.tell()
        found = bytearray(self._content.read(len(buffer)))
        for place, value in self._changes.items():
            for i, byte in enumerate(value, place - first):
                if 0 <= i < len(found):
                    found[i] = byte
        buffer[: len(found)] = found
        return len(found)

    def close(self) -> None:
        self._content.close()
        super().close()


def completed(content: BinaryIO) -> Changes:
    """What a header would say if its writer had come to complete it; nothing where that is unknown.

    Args:
        content: A file whose header says that it holds no audio.
    """
    size = content.seek(0, os.SEEK_END)
    content.seek(0)
    start = content.read(16)
    if start[:4] == b".snd":
        return {8: b"\xff" * 4}
    if start[8:12] == b"WAVE":
        return _of_riff(content, size)
    if start[:4] == b"FORM" and start[8:11] == b"AIF":
        return _of_aiff(content, size)
    if start[:4] == b"riff" and start[4:] == b"\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0":
        return _of_w64(content, size)
    return {}


def _of_riff(content: BinaryIO, size: int) -> Changes:
    changes: Changes = {}
    for name, place, _ in riff_chunks(content):
        if name == b"ds64":
            changes[place] = (size - 8).to_bytes(8, "little")
        if name == b"data":
            if not changes:  # no RF64; nor is there room for the size of a WAV above 4 GiB
                return {place - 4: b"\xff" * 4} if size < 1 << 32 else {}
            first = min(changes)
            changes[first + 8] = (size - place).to_bytes(8, "little")
            return {**changes, place - 4: b"\xff" * 4}
    return {}


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
