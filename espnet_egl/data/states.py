"""What tells that a clip is another one than before: its lines in the tables, and its file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from espnet_egl.data.kaldi import read_lines, read_pool_table
from espnet_egl.data.sources import file_stats
from espnet_egl.errors import DataError
from espnet_egl.store.files import write_lines

# A file may be whole, or its disk there, the next time; what else is wrong with it stays.
PASSING = frozenset({"unreadable_audio", "truncated_audio", "failed_pipe", "pipe_timeout"})


class State(NamedTuple):
    """Of a clip.

    Attributes:
        lines: A hash of its line in the key file, and of its recording's in wav.scp.
        file: Size and time of the file; empty where nothing tells: of commands, of files that are
            not there.
    """

    lines: str
    file: str

    def is_other(self, before: State) -> bool:
        """Whether the clip may be another one than it was.

        A file that is gone is no other one, as it would be if its whole disk were gone.
        """
        return self.lines != before.lines or bool(self.file and self.file != before.file)


def states_of(key_file: str | Path, rows: Mapping[str, str]) -> dict[str, State]:
    """Look at every clip's file, without opening it.

    Args:
        key_file: The pool's wav.scp, segments or feats.scp.
        rows: Its utterances: id -> what it says of them.
    """
    key_file = Path(key_file)
    recordings = None
    if key_file.name == "segments" and (scp := key_file.with_name("wav.scp")).exists():
        recordings = read_pool_table(scp).good
    files: dict[str, str] = {}
    found = {}
    for uid, line in rows.items():
        source = line
        if recordings is not None:
            source = recordings.get(line.partition(" ")[0], "")
            line = f"{line}\n{source}"
        if source not in files:
            files[source] = _file_state(source)
        digest = hashlib.blake2b(line.encode(), digest_size=8).hexdigest()
        found[uid] = State(digest, files[source])
    return found


def _file_state(entry: str) -> str:
    if "|" in entry:
        return ""
    # A path with spaces, or several files that are read together.
    found = file_stats(entry) or file_stats(entry, several=True)
    return "+".join(f"{file.st_size}:{file.st_mtime_ns}" for file in found)


def write_states(path: str | Path, states: Iterable[tuple[str, State]]) -> None:
    """Write ``utterance lines file`` lines."""
    write_lines(path, (f"{uid} {state.lines} {state.file or '-'}" for uid, state in states))


def read_states(path: str | Path) -> dict[str, State]:
    """Read what :func:`write_states` wrote.

    Raises:
        DataError: It cannot be read, or holds another line; the message names it.
    """
    found = {}
    for number, line in enumerate(read_lines(path), 1):
        cells = line.split()
        if len(cells) != 3:
            raise DataError(f"{path}:{number}: not '<utterance> <hash> <state of the file>'")
        found[cells[0]] = State(cells[1], "" if cells[2] == "-" else cells[2])
    return found
