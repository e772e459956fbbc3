"""How far the jobs of a directory are, wherever they run: their journals tell."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from humanfriendly.text import pluralize

from espnet_egl.store.journal import AGAIN, JOURNAL, from_line
from espnet_egl.store.tables import duration

# Seconds between two looks: on a terminal, where a line takes the place of the last, and in a log.
ON_TERMINAL, IN_LOG = 2.0, 60.0


class Progress:
    """What jobs have done, as far as their journals are written.

    Args:
        logdir: Has ``keys.JOB.scp`` and ``output.JOB/`` of every job.
        numbers: Of the jobs.
        unit: What a key is.
    """

    def __init__(self, logdir: Path, numbers: Sequence[int], unit: str = "utterance"):
        self.unit = unit
        self.journals = {n: logdir / f"output.{n}" / JOURNAL for n in numbers}
        self.totals = {n: _lines(logdir / f"keys.{n}.scp") for n in numbers}
        self.done = dict.fromkeys(numbers, 0)
        self._read = dict.fromkeys(numbers, 0)
        self.look()
        self._start = (time.monotonic(), self.count)

    @property
    def count(self) -> int:
        """Keys that are done."""
        return sum(min(self.done[n], total) for n, total in self.totals.items())

    @property
    def total(self) -> int:
        """All keys."""
        return sum(self.totals.values())

    def look(self) -> None:
        """Read what the journals have more."""
        for number, path in self.journals.items():
            # What cannot be read yet is told later: a look must not end the jobs.
            with contextlib.suppress(OSError), path.open("rb") as f:
                f.seek(self._read[number])
                for line in f:
                    if not line.endswith(b"\n"):
                        break
                    self._read[number] += len(line)
                    self.done[number] += _counts(line)

    def describe(self) -> str:
        """In a line, for a person: with rate and time left, once there is something to go by.

        Until the first key is done, jobs wait for their turn and load the model: that tells nothing
        of the rest.
        """
        count, finished = self.count, sum(self.done[n] >= t for n, t in self.totals.items())
        said = f"{count} of {pluralize(self.total, self.unit)}"
        if len(self.totals) > 1:
            said += f", {finished} of {pluralize(len(self.totals), 'job')} done"
        began, before = self._start
        seconds = time.monotonic() - began
        if count == before:
            self._start = (time.monotonic(), count)
            said += "; jobs wait for their turn, or load the model" if count < self.total else ""
        elif seconds > 0 and count < self.total:
            rate = (count - before) / seconds
            left = duration((self.total - count) / rate)
            said += f", {rate:.3g}/s, {left} left"
        return said


def watch(progress: Progress, over: Callable[[float], bool]) -> None:
    """Tell how far jobs are, on stderr, until they are done.

    Args:
        progress: Theirs.
        over: Waits so many seconds, or less where it ends; whether it has ended.
    """
    terminal, told = os.isatty(2), False
    try:
        while progress.count < progress.total and not over(ON_TERMINAL if terminal else IN_LOG):
            progress.look()
            line = progress.describe()
            line = f"\r\033[K{line}" if terminal else f"{line}\n"
            print(line, end="", file=sys.stderr, flush=True)
            told = True
    finally:
        if terminal and told:
            print(file=sys.stderr)


@contextlib.contextmanager
def watched(logdir: Path, numbers: Sequence[int], unit: str) -> Iterator[None]:
    """Within the block, which runs the jobs, tell how far they are."""
    ended = threading.Event()
    thread = threading.Thread(target=watch, args=(Progress(logdir, numbers, unit), ended.wait))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def end_of(process: int) -> Callable[[float], bool]:
    """For :func:`watch`: what waits for the end of a process of this machine."""

    # Whoever has ended and was not waited for still has a number; its children have another parent.
    own = os.getppid() == process

    def lives() -> bool:
        return os.getppid() == process if own else _lives(process)

    def over(seconds: float) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end and lives():
            time.sleep(0.5)
        return not lives()

    return over


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _lines(path: Path) -> int:
    with contextlib.suppress(OSError), path.open("rb") as f:
        return sum(1 for _ in f)
    return 0


def _counts(line: bytes) -> int:
    """Keys that a line of a journal adds, or takes back."""
    if not line.startswith(f'{{"{AGAIN}": '.encode()):
        return 1
    entry = from_line(line.decode(errors="replace").removesuffix("\n"))
    return 0 if entry is None else -len(entry[AGAIN])
