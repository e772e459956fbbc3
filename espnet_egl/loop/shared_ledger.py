"""A ledger that several pools, models and teams share: a file to which what was asked is added.

A line a clip that was handed over, and one more when its state changes; the last one counts. Every
line ends in its checksum. Nothing is ever taken out.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from espnet_egl.errors import DataError, StorageError
from espnet_egl.exchange import MARKS
from espnet_egl.store.files import explain, hold

logger = logging.getLogger(__name__)

COLUMNS = ("when", "al_dir", "place", "utterance", "audio_hash", "seconds", "state", "checksum")
HEADER = "\t".join(COLUMNS)
OUT, WITHDRAWN = "out", "withdrawn"
STATES = frozenset({OUT, WITHDRAWN, "labelled", *MARKS})


@dataclass(frozen=True)
class Line:
    """What was asked.

    Attributes:
        al_dir: Who asked: a directory of active learning.
        place: The selection in it, e.g. ``r1/select_b``.
        uid: The utterance.
        audio_hash: Of its samples; empty: not known.
        seconds: Of audio.
        state: ``out``; what came back: ``labelled``, ``not_speech``, ``cannot_understand``; or
            ``withdrawn``: it did not reach annotators after all.
        when: In UTC.
    """

    al_dir: str
    place: str
    uid: str
    audio_hash: str
    seconds: float
    state: str
    when: str = ""

    @property
    def asker(self) -> tuple[str, str]:
        """Which selection asked."""
        return self.al_dir, self.place

    def to_text(self) -> str:
        """As it stands in the file, without the end of the line."""
        cells = (self.when, *self.asker, self.uid, self.audio_hash, f"{self.seconds:.3f}")
        text = "\t".join((*cells, self.state))
        return f"{text}\t{zlib.crc32(text.encode()):08x}"


def from_text(text: str) -> Line | None:
    """What :meth:`Line.to_text` was; None: damaged."""
    cells = text.split("\t")
    if len(cells) != len(COLUMNS) or cells[6] not in STATES or not cells[3]:
        return None
    when, al_dir, place, uid, audio_hash, seconds, state, _ = cells
    try:
        line = Line(al_dir, place, uid, audio_hash, float(seconds), state, when)
    except ValueError:
        return None
    return line if line.to_text() == text else None


class SharedLedger:
    """The file, as it is.

    Args:
        path: It; one that is missing is empty.

    Attributes:
        lines: Of every clip that a selection asked, the last: (al_dir, place, utterance) -> line.

    Raises:
        DataError: A line is not what was written; the message names it.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.lines: dict[tuple[str, str, str], Line] = {}
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            content = b""
        except OSError as e:
            raise DataError(f"{path}: cannot be read ({e.strerror})") from e
        whole, _, rest = content.rpartition(b"\n")
        if rest:
            logger.warning(f"{path}: its last line was cut short, as by a kill: it does not count")
        self._size = len(content) - len(rest)
        for number, data in enumerate(whole.split(b"\n") if whole or self._size else (), 1):
            text = data.decode(errors="replace")
            if number == 1:
                if text != HEADER:
                    raise DataError(f"{path}:1: not a ledger: its first line is not '{HEADER}'")
                continue
            line = from_text(text)
            if line is None:
                raise DataError(
                    f"{path}:{number}: damaged, by its checksum: not what was written. Restore "
                    "the file from a copy, or take this line out if you know what it was"
                )
            self.lines[*line.asker, line.uid] = line

    def asked(self) -> list[Line]:
        """Every clip that is with annotators, or was."""
        return [line for line in self.lines.values() if line.state != WITHDRAWN]

    def of(self, al_dir: str, place: str) -> dict[str, Line]:
        """What a selection asked: utterance -> line."""
        found = (line for line in self.lines.values() if line.asker == (al_dir, place))
        return {line.uid: line for line in found}

    def add(self, lines: Iterable[Line], file: IO[bytes]) -> None:
        """Add what is not there yet, at once, to the file that :func:`writing` opened.

        Raises:
            StorageError: It cannot be written; then nothing of it is there.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        new = [line for line in lines if self._is_new(line)]
        texts = [replace(line, when=now).to_text() for line in new]
        if not texts:
            return
        if not self._size:
            texts.insert(0, HEADER)
        try:
            os.ftruncate(file.fileno(), self._size)
            file.write("".join(f"{text}\n" for text in texts).encode())
            file.flush()
            os.fsync(file.fileno())
        except OSError as e:
            os.ftruncate(file.fileno(), self._size)
            raise StorageError(f"{self.path} cannot be written: {explain(e)}") from e
        self.lines |= {(*line.asker, line.uid): line for line in new}

    def _is_new(self, line: Line) -> bool:
        before = self.lines.get((*line.asker, line.uid))
        if before is None:
            return line.state != WITHDRAWN
        # What came back is not out again because it is handed over once more.
        return line.state not in (before.state, *((OUT,) if before.state != WITHDRAWN else ()))


@contextmanager
def writing(path: str | Path) -> Iterator[tuple[SharedLedger, IO[bytes]]]:
    """A ledger that nobody else writes in this block.

    Yields:
        It, and the file for :meth:`SharedLedger.add`.

    Raises:
        DataError: It is damaged.
        StorageError: It cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as e:
        raise StorageError(f"{path} cannot be written: {explain(e)}") from e
    with file:
        hold(file, path, wait=True)
        yield SharedLedger(path), file
