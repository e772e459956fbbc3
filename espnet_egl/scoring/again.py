"""Which utterances that are done have to be done again: their files are not what they were."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from humanfriendly.text import pluralize

from espnet_egl.data.pool import Pool
from espnet_egl.data.states import PASSING
from espnet_egl.types import Skipped


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
            f"{pluralize(len(self.changed), 'clip')} scored again, whose files changed",
            f"{len(self.mended)} that could not be read before",
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
