"""A sorted table of many lines, of which a few are taken out or put in: the rest is copied."""

from __future__ import annotations

import mmap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from espnet_egl.store.files import atomic_open


def splice(
    path: str | Path,
    out: Collection[str],
    put: Mapping[str, Sequence[str]],
    separator: str = "\t",
    header: bool = True,
) -> None:
    """Rewrite a table whose lines are sorted by their first cell, as ``LC_ALL=C sort`` does.

    Args:
        path: The table.
        out: First cells whose lines are taken out.
        put: First cell -> the lines that stand there, without their ends; in place of what does.
        separator: What ends the first cell.
        header: Whether the first line is none of these.

    Raises:
        StorageError: It cannot be written; what was there before is there still.
    """
    path = Path(path)
    old = _Lines(path, separator.encode())
    with atomic_open(path, "wb") as f:
        at = old.end_of_line(0) if header else 0
        f.write(old.data[:at])
        # Characters are in the order of their bytes in UTF-8.
        for cell in sorted({*out, *put}):
            key = cell.encode()
            start = old.find(key, at)
            f.write(old.data[at:start])
            f.writelines(f"{line}\n".encode() for line in put.get(cell, ()))
            at = start
            while at < old.size and old.key(at) == key:
                at = old.end_of_line(at)
        f.write(old.data[at:])
    old.close()


class _Lines:
    """Places of lines in a file that need not fit memory."""

    def __init__(self, path: Path, separator: bytes):
        self.separator = separator
        self.size = path.stat().st_size
        with path.open("rb") as f:
            # Of nothing there is no map.
            self._map = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) if self.size else None
        self.data = memoryview(self._map if self._map is not None else b"")

    def close(self) -> None:
        self.data.release()
        if self._map is not None:
            self._map.close()

    def end_of_line(self, place: int) -> int:
        """Where the next line starts."""
        end = -1 if self._map is None else self._map.find(b"\n", place)
        return self.size if end < 0 else end + 1

    def key(self, place: int) -> bytes:
        """The first cell of the line that starts there."""
        assert self._map is not None
        end = self.end_of_line(place)
        return self._map[place:end].rstrip(b"\n").split(self.separator, 1)[0]

    def find(self, key: bytes, low: int) -> int:
        """Where the first line from ``low`` on starts whose first cell is not before ``key``."""
        high = self.size
        while low < high:
            assert self._map is not None
            middle = (low + high) // 2
            start = max(self._map.rfind(b"\n", low, middle) + 1, low)
            if self.key(start) < key:
                low = self.end_of_line(start)
            else:
                high = start
        return low
