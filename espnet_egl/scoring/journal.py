"""What a shard has done so far: one line an utterance, each with a checksum.

A kill leaves the last line cut short, a lost machine anything. A line that is not what was
written is as if it had never been: its utterance is scored again.
"""

from __future__ import annotations

import json
import logging
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from espnet_egl.errors import DataError, StorageError
from espnet_egl.store.files import explain, hold, parse_json

logger = logging.getLogger(__name__)

_MARK = ', "crc": "'


def to_line(entry: dict[str, Any]) -> str:
    """A line of JSON whose last value is the CRC-32 of the line without it.

    >>> to_line({"uid": "a"})
    '{"uid": "a", "crc": "3d84f8f5"}'
    """
    text = json.dumps(entry, ensure_ascii=False)
    return f'{text[:-1]}{_MARK}{zlib.crc32(text.encode()):08x}"}}'


def from_line(line: str) -> dict[str, Any] | None:
    """What :func:`to_line` was given; None if the line is damaged."""
    try:
        entry = parse_json(line)
        del entry["crc"]
        return entry if "uid" in entry and to_line(entry) == line else None
    # A line can say what cannot be written: half a surrogate pair, or one list too many in others.
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


class Journal:
    """One line per finished utterance, appended as it comes.

    Args:
        path: The file; a last line that a kill cut short is removed.

    Attributes:
        done: The utterances of every whole line.

    Raises:
        DataError: Another process writes it, or two wrote it that do not agree.
        StorageError: It cannot be written.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            # No buffer: what a full disk refused would come again when the file is closed.
            self._file = self.path.open("ab", buffering=0)
        except OSError as e:
            raise StorageError(f"{path} cannot be written: {explain(e)}") from e
        try:
            hold(self._file, path)
            self.done = self._recover()
        except BaseException:
            self._file.close()
            raise

    def _recover(self) -> set[str]:
        """Cut off a last line without an end, and check the others."""
        sums: dict[str, tuple[int, int]] = {}
        whole = 0
        with self.path.open("rb") as f:
            for number, line in enumerate(f, 1):
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                entry = _entry(line)
                if entry is None:
                    logger.warning(f"{self.path}:{number}: damaged; its utterance is scored again")
                    continue
                first, checksum = sums.setdefault(entry["uid"], (number, zlib.crc32(line)))
                if checksum != zlib.crc32(line):
                    raise DataError(
                        f"{self.path}:{number}: '{entry['uid']}' came out otherwise in line "
                        f"{first}: two jobs wrote here. Remove {self.path.parent} and score again"
                    )
        os.truncate(self.path, whole)
        return set(sums)

    def append(self, entry: dict[str, Any]) -> None:
        """Write one utterance's entry, which has a ``uid``; once.

        Raises:
            StorageError: It cannot be written; what was written before is kept.
        """
        if entry["uid"] in self.done:
            return
        left = memoryview((to_line(entry) + "\n").encode())
        try:
            while left:
                left = left[self._file.write(left) or 0 :]
        except OSError as e:
            raise StorageError(f"{self.path} cannot be written: {explain(e)}") from e
        self.done.add(entry["uid"])

    def entries(self) -> Iterator[dict[str, Any]]:
        """All whole entries, in the order they were written, every utterance once."""
        left = set(self.done)
        with self.path.open("rb") as f:
            for line in f:
                entry = _entry(line)
                if entry is not None and entry["uid"] in left:
                    left.remove(entry["uid"])
                    yield entry

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        return from_line(line.decode().removesuffix("\n"))
    except UnicodeDecodeError:
        return None
