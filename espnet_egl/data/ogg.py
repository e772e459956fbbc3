"""Ogg: whether a file has its end, and all of what is before it."""

from __future__ import annotations

import os
import re
import struct
from typing import BinaryIO

import soundfile

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


def is_ogg(content: BinaryIO) -> bool:
    """Whether a file begins as Ogg."""
    content.seek(0)
    return content.read(4) == b"OggS"


def lacks_end(f: soundfile.SoundFile | None, content: BinaryIO) -> bool:
    """Whether the last page is cut off, ends no stream, or is one that libsndfile cannot use.

    Args:
        f: The file as libsndfile opened it; None: it does not.
        content: Its bytes.
    """
    content.seek(max(0, content.seek(0, os.SEEK_END) - _OGG_TAIL))
    tail = content.read()
    starts = [found.start() for found in _OGG_PAGE.finditer(tail)]
    page = tail[starts[-1] :] if starts else b""
    if len(page) < _OGG_HEADER.size:
        return True
    flags, granule, serial, segments = _OGG_HEADER.unpack_from(page)
    body = _OGG_HEADER.size + segments
    if len(page) < body + sum(page[_OGG_HEADER.size : body]) or not flags & _OGG_END_OF_STREAM:
        return True
    if f is None:
        return False
    stream, last = (pattern.search(f.extra_info) for pattern in (_OGG_STREAM, _OGG_LAST))
    # Of chained streams libsndfile reads the first, and the last page is of another.
    if stream is None or last is None or int(stream[1]) != serial:
        return False
    return granule not in (-1, int(last[1]))  # -1: no packet ends in the page


def is_broken(before: str, after: str) -> bool:
    """Whether a part of an Ogg file is missing, by what libsndfile noted before reading and after.

    A stream recorded from its midst lacks its first pages, and nothing of what was recorded. If
    damage takes them, what follows begins too early: no segment is where it should be. A search
    for a segment that comes across damage may end in a wrong place, too.

    Args:
        before: ``extra_info`` of the file as it was opened.
        after: The same when the clip was read.
    """
    in_the_way = _OGG_BROKEN.search(after[len(before) :])
    return in_the_way is not None or _OGG_DAMAGED.search(before) is not None
