"""Which utterances that are done have to be done again: their files are not what they were."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_egl.data.pool import Pool
from espnet_egl.store.files import check_directory, read_manifest
from espnet_egl.store.journal import JOURNAL, Journal, read_entries
from espnet_egl.types import Skipped

# A file may be whole, or its disk there, the next time; what else is wrong with it stays.
PASSING = frozenset({"unreadable_audio", "truncated_audio", "failed_pipe", "pipe_timeout"})

# Of a shard's manifest, what says which utterances there were.
OF_LISTS = frozenset(
    {"data_sha256", "key_file_sha256", "segments_sha256", "segments", "utt2speech_sha256"}
)


@dataclass
class Again:
    """Utterances that a journal has, and that have to be read again.

    Attributes:
        changed: Those whose file has another size or time than when it was read.
        mended: Those that could not be read, and now can.
    """

    changed: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.changed or self.mended)

    @property
    def uids(self) -> list[str]:
        """All of them."""
        return [*self.changed, *self.mended]

    def describe(self) -> str:
        """In a line, for a person."""
        parts = [
            f"{len(self.changed)} clips whose files changed are scored again",
            f"{len(self.mended)} that could not be read can be now",
        ]
        return f"{', '.join(parts)}, e.g. '{self.uids[0]}'"


def find_again(entries: Iterable[dict[str, Any]], pool: Pool) -> Again:
    """Look at every file again, and into those that could not be read.

    A file that is gone is no other one: its score stays, as it would if the whole disk were gone.

    Args:
        entries: Of a shard's journal.
        pool: Its utterances, as they are now.
    """
    again = Again()
    for entry in entries:
        uid, before, now = entry["uid"], entry.get("file"), pool.file_state(entry["uid"])
        if now and before is not None and now != before:
            again.changed.append(uid)
        elif "skipped" in entry and entry["skipped"][0] in PASSING:
            found = pool.read(uid)
            if not isinstance(found, Skipped) or found.reason not in PASSING:
                again.mended.append(uid)
    return again


def take_over(
    earlier: Iterable[str | Path],
    output_dir: str | Path,
    settings: Mapping[str, Any],
    keys: Iterable[str],
    advice: str,
) -> None:
    """Copy what earlier runs over another list of the same folder have of a shard's utterances.

    Whether a file is still the one that was scored, :func:`find_again` tells.

    Args:
        earlier: Directories with shards.
        output_dir: The shard's.
        settings: What its scores are made with; of the lists alone they may differ.
        keys: Its utterances.
        advice: What to do if they differ otherwise.

    Raises:
        ManifestError: They do.
    """
    found = sorted(path for e in earlier for path in Path(e).glob(f"output.*/{JOURNAL}"))
    found = [path for path in found if path.stat().st_size]
    for path in found:
        before = read_manifest(path.parent)
        lists = {name: before[name] for name in OF_LISTS & before.keys()}
        check_directory(path.parent, {**settings, **lists}, advice)
    if not found:
        return
    wanted = set(keys)
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    with contextlib.closing(Journal(Path(output_dir) / JOURNAL)) as journal:
        for path in found:
            for entry in read_entries(path):
                if entry["uid"] in wanted and entry.get("file"):
                    journal.append(entry)
