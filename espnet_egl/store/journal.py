"""What a shard has done so far: one line an utterance, each with a checksum.

A kill leaves the last line cut short, a lost machine anything. A line that is not what was
written is as if it had never been: its utterance is scored again. Nothing is ever taken out: a line
that takes earlier ones back is added.
"""

from __future__ import annotations

import json
import logging
import os
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from espnet_egl.errors import DataError, StorageError
from espnet_egl.store.files import explain, hold, parse_json

logger = logging.getLogger(__name__)

# Of a shard, in its directory.
JOURNAL = "journal.jsonl"

_MARK = ', "crc": "'
# The first key of a line that takes back what earlier ones say of its utterances.
AGAIN = "again"
_AGAIN_START = f'{{"{AGAIN}": '.encode()


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
                if AGAIN in entry:
                    for uid in entry[AGAIN]:
                        sums.pop(uid, None)
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
        self._write(entry)
        self.done.add(entry["uid"])

    def take_back(self, uids: Collection[str]) -> None:
        """Let utterances be done again.

        Raises:
            StorageError: As :meth:`append`.
        """
        self._write({AGAIN: list(uids), "uid": ""})
        self.done.difference_update(uids)

    def _write(self, entry: dict[str, Any]) -> None:
        left = memoryview((to_line(entry) + "\n").encode())
        try:
            while left:
                left = left[self._file.write(left) or 0 :]
        except OSError as e:
            raise StorageError(f"{self.path} cannot be written: {explain(e)}") from e

    def entries(self) -> Iterator[dict[str, Any]]:
        """See :func:`read_entries`."""
        return read_entries(self.path)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_entries(path: Path) -> Iterator[dict[str, Any]]:
    """All whole entries that count, in the order they were written, every utterance once.

    Raises:
        OSError: The journal cannot be read.
    """
    with path.open("rb") as f:
        notes = [_entry(line) for line in f if line.startswith(_AGAIN_START)]
    # How often what stands from here on is taken back later.
    taken_back = Counter(uid for note in notes if note for uid in note[AGAIN])
    seen: set[str] = set()
    with path.open("rb") as f:
        for line in f:
            entry = _entry(line) if line.endswith(b"\n") else None
            if entry is None:
                continue
            if AGAIN in entry:
                taken_back.subtract(entry[AGAIN])
            elif taken_back[entry["uid"]] <= 0 and entry["uid"] not in seen:
                seen.add(entry["uid"])
                yield entry


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        return from_line(line.decode().removesuffix("\n"))
    except UnicodeDecodeError:
        return None
