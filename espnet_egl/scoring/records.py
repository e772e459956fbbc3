"""What a run came to, beside its tables: ``run.json`` for machines, ``manifest.json``."""

from __future__ import annotations

import json
import resource
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from humanfriendly.text import pluralize

from espnet_egl.errors import DataError, ManifestError
from espnet_egl.store.files import parse_json, read_manifest, write_lines
from espnet_egl.store.tables import duration

RUN = "run.json"
AGAIN, OVERHEARD = "done_again", "speech_in_other_channels"
KNOWN = "known_by_audio"
# Of a shard's manifest: what tells shards of one pool apart.
OF_SHARD = "key_file_sha256"
# Likewise what a list's files tell: other files, under the same names, and the list is the same.
OF_FILES = frozenset({"utt2dur_sha256", "utt2speech_sha256"})
# Likewise what may differ from one list of it to the next.
OF_LISTS = frozenset({"data_path_and_name_and_type", "data_sha256", "segments_sha256", *OF_FILES})


@dataclass
class Summary:
    """What a shard came to, or all of them.

    Attributes:
        scored: Number of scored utterances.
        skipped: Reason -> number of utterances.
        seconds: Audio scored, in seconds.
        elapsed: Wall time, in seconds; of a shard that went on, of the last run alone. Of
            several shards, their sum.
        run_seconds: Audio scored in that time.
        peak_gib: The most memory a process used; on a GPU not its memory.
        again: Utterances that were done before and are done again, as their files changed or can
            be read now; of the last run.
        overheard: Scored utterances of which another channel holds speech, and is not read.
        known: Utterances that keep scores: of other ids or places, but of audio that was scored.
    """

    scored: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    elapsed: float = 0.0
    run_seconds: float = 0.0
    peak_gib: float = 0.0
    again: int = 0
    overheard: int = 0
    known: int = 0

    @property
    def seconds_per_audio_second(self) -> float | None:
        """What a second of audio costs; None where nothing was scored."""
        return self.elapsed / self.run_seconds if self.run_seconds else None

    def write(self, directory: str | Path, **more: Any) -> None:
        """Leave ``run.json``."""
        rate = self.seconds_per_audio_second
        content = {
            "scored": self.scored,
            "skipped": dict(sorted(self.skipped.items())),
            "audio_seconds": round(self.seconds, 3),
            "elapsed_seconds": round(self.elapsed, 3),
            "audio_seconds_in_this_time": round(self.run_seconds, 3),
            "seconds_per_audio_second": None if rate is None else round(rate, 5),
            "peak_memory_gib": round(self.peak_gib, 3),
            AGAIN: self.again,
            OVERHEARD: self.overheard,
            KNOWN: self.known,
            **more,
        }
        write_lines(Path(directory) / RUN, [json.dumps(content, indent=2, ensure_ascii=False)])

    def add_times(self, directories: Iterable[Path]) -> None:
        """Take times and memory of shards, as far as they are written down.

        Raises:
            DataError: A ``run.json`` is damaged.
        """
        for path in (directory / RUN for directory in directories):
            if not path.exists():
                continue
            try:
                found = parse_json(path.read_text(encoding="utf-8"))
                self.elapsed += found["elapsed_seconds"]
                self.run_seconds += found["audio_seconds_in_this_time"]
                self.peak_gib = max(self.peak_gib, found["peak_memory_gib"])
                self.again += found.get(AGAIN, 0)
                self.overheard += found.get(OVERHEARD, 0)
                self.known += found.get(KNOWN, 0)
            except (ValueError, KeyError, TypeError) as e:
                raise DataError(f"{path}: not what al_score writes ({e}); remove it") from e

    def describe(self) -> str:
        """In a line, for a person."""
        listed = ", ".join(f"{n} {reason}" for reason, n in sorted(self.skipped.items()))
        rate = self.seconds_per_audio_second
        parts = [
            f"{pluralize(self.scored, 'utterance')} scored, {duration(self.seconds)} of audio",
            f"{sum(self.skipped.values())} skipped" + (f" ({listed})" if listed else ""),
        ]
        if rate is not None:
            parts.append(f"{rate:.3g} s of work per second of audio")
        if self.again:
            parts.append(f"{self.again} of them again, whose files changed or can be read now")
        if self.known:
            parts.append(
                f"{self.known} of them not anew: their ids or places changed, not their audio (the "
                "logs name them)"
            )
        if self.overheard:
            parts.append(
                f"{self.overheard} of them with speech in a channel that was not read (the logs "
                "name them, and the channel 'each' reads all)"
            )
        if self.peak_gib:
            parts.append(f"at most {self.peak_gib:.2f} GiB of memory a process")
        return ", ".join(parts)


def nothing_again(directory: Path) -> None:
    """Note that a shard, run once more, had nothing to do.

    Raises:
        DataError: Its ``run.json`` is damaged.
    """
    path = directory / RUN
    try:
        found = parse_json(path.read_text(encoding="utf-8")) if path.exists() else {}
        if found.get(AGAIN):
            write_lines(path, [json.dumps({**found, AGAIN: 0}, indent=2, ensure_ascii=False)])
    except (ValueError, AttributeError) as e:
        raise DataError(f"{path}: not what al_score writes ({e}); remove it") from e


def peak_memory() -> float:
    """The most memory this process has used, in GiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def join_manifests(shards: Sequence[Path]) -> dict[str, Any]:
    """What all shards were made with, which has to be the same; of the pool's list, the last one.

    Raises:
        DataError: A shard's manifest is missing or damaged.
        ManifestError: They differ; the message says in what.
    """
    manifests = [read_manifest(shard) for shard in shards]
    keys = [manifest.pop(OF_SHARD, None) for manifest in manifests]
    for shard, manifest in zip(shards, manifests, strict=True):
        names = {*manifests[0], *manifest} - OF_LISTS
        differing = sorted(n for n in names if manifests[0].get(n) != manifest.get(n))
        if differing:
            name = differing[0]
            raise ManifestError(
                f"{shard} was made otherwise than {shards[0]}: {name} is {manifest.get(name)!r} "
                f"there, {manifests[0].get(name)!r} here; remove {shards[0].parent}, score again"
            )
    return {**manifests[-1], "shards": keys}
