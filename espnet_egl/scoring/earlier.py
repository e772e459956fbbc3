"""What a new shard of a grown pool may use of the shards before it: nothing is scored twice.

Their settings, which must be its own; what unfinished ones have of its utterances; and, of clips
that changed their id, place or line but not their audio, the scores that they have.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_egl.errors import DataError
from espnet_egl.scoring.records import OF_FILES, OF_LISTS, OF_SHARD
from espnet_egl.store.files import check_directory, parse_json, read_manifest, write_manifest
from espnet_egl.store.journal import JOURNAL, Journal, read_entries
from espnet_egl.types import Utterance

# Of an entry whose scores are those of another, or of before: whose.
AS = "as"


@dataclass
class Earlier:
    """Old shards, as the plan of the new ones names them.

    Attributes:
        like: Finished ones, one of which tells for all.
        unfinished: Those whose utterances are the new shards' now.
        audio: Hash of the audio -> utterance and shard, of clips that changed or are gone.
    """

    like: list[Path] = field(default_factory=list)
    unfinished: list[Path] = field(default_factory=list)
    audio: dict[str, tuple[str, Path]] = field(default_factory=dict)
    _entries: dict[Path, dict[str, dict[str, Any]]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path) -> Earlier:
        """Read what was planned.

        Raises:
            DataError: It is missing or damaged.
        """
        try:
            found = parse_json(Path(path).read_text(encoding="utf-8"))
            audio = {key: (str(uid), Path(shard)) for key, (uid, shard) in found["audio"].items()}
            like, unfinished = ([Path(p) for p in found[n]] for n in ("like", "unfinished"))
            return cls(like, unfinished, audio)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
            raise DataError(f"{path}: cannot be read ({e}); run stage 20 again") from e

    def setting(self, name: str) -> Any:
        """What the shards before were made with; None where there are none."""
        return next((read_manifest(shard).get(name) for shard in self._shards()), None)

    def _shards(self) -> list[Path]:
        return [p for p in [*self.like, *self.unfinished] if (p / "manifest.json").exists()]

    def check(self, settings: Mapping[str, Any], advice: str) -> None:
        """See that the shards before were made with the same settings; the lists alone may differ.

        Raises:
            ManifestError: They were not; the message says in what.
        """
        for shard in self._shards():
            check_like(shard, settings, advice, {*OF_LISTS, OF_SHARD})

    def take_over(self, output_dir: str | Path, keys: Iterable[str]) -> None:
        """Copy what unfinished shards have of a new shard's utterances.

        Whether a file is still the one that was scored, :func:`find_again` tells.

        Args:
            output_dir: The new shard's.
            keys: Its utterances.
        """
        found = [path for p in self.unfinished if (path := p / JOURNAL).exists()]
        found = [path for path in found if path.stat().st_size]
        if not found:
            return
        wanted = set(keys)
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        with contextlib.closing(Journal(Path(output_dir) / JOURNAL)) as journal:
            for path in found:
                for entry in read_entries(path):
                    if entry["uid"] in wanted and entry.get("file"):
                        journal.append(entry)

    def find(self, utterance: Utterance) -> dict[str, Any] | None:
        """The journal's entry of a clip with the same audio, under this one's id, if there is one.

        Raises:
            DataError: The journal that should have it has not.
        """
        if not self.audio or (found := self.audio.get(utterance.audio_hash)) is None:
            return None
        uid, shard = found
        if shard not in self._entries:
            wanted = {uid for uid, place in self.audio.values() if place == shard}
            entries = {e["uid"]: e for e in read_entries(shard / JOURNAL) if e["uid"] in wanted}
            self._entries[shard] = entries
        entry = self._entries[shard].get(uid, {})
        if "row" not in entry:
            raise DataError(f"{shard / JOURNAL} lacks '{uid}', whose score is there: it is damaged")
        row = [utterance.uid, *entry["row"][1:]]
        return {**entry, "uid": utterance.uid, "file": utterance.file, "row": row, AS: uid}


def check_like(
    shard: str | Path, settings: Mapping[str, Any], advice: str, but: Collection[str] = OF_LISTS
) -> None:
    """See that a shard was made with settings, whatever list of the pool it is of.

    Raises:
        ManifestError: It was not; the message says in what.
    """
    if (Path(shard) / "manifest.json").exists():
        before = read_manifest(shard)
        kept = {name: before.get(name) for name in but}
        check_directory(shard, {**settings, **kept}, advice)


def of_other_list(shard: str | Path, settings: Mapping[str, Any]) -> bool:
    """Whether a finished shard is of another list of the pool than the settings."""
    before = read_manifest(shard)
    return any(before.get(name) != settings.get(name) for name in OF_LISTS - OF_FILES)


def claim_shard(shard: str | Path, settings: dict[str, Any], advice: str) -> None:
    """Write down what a shard is made with; one that goes on with files that changed, anew.

    Raises:
        ManifestError: It holds results made with other settings; the message names them.
    """
    check_like(shard, settings, advice, OF_FILES)
    write_manifest(shard, settings)
