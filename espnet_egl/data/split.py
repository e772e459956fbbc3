"""What stage 20 planned for a pool, list after list: its shards, and which of them count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from espnet_egl.errors import DataError, ManifestError
from espnet_egl.store.files import parse_json, verify_checksums

# What was planned; clips of shards that are not in the pool any more.
SPLIT, GONE = "split", "gone.tsv"
# Of the manifest of clips: the pool that they were cut from.
CUT_FROM = "cut_from"


@dataclass(frozen=True)
class Arrival:
    """A list of the pool, and what it had that the lists before did not.

    Attributes:
        when: In UTC.
        known: Clips that are in shards already, and the same.
        new: Clips that are not.
        changed: Clips with another line, or another file.
        gone: Clips that are in shards, and not in the list.
        list_sha256: Of the key file, and of wav.scp behind segments.
        excluded_sha256: Of the tables of the transcribed sets.
        first: The first of its shards.
        last: The last of them; below ``first`` where it has none.
    """

    when: str
    known: int
    new: int
    changed: int
    gone: int
    list_sha256: str
    excluded_sha256: str
    first: int
    last: int

    def describe(self) -> str:
        """In a line, for a person."""
        names = ("known", "new", "changed", "gone")
        return ", ".join(f"{getattr(self, name):,} {name}" for name in names)

    def is_of(self, other: Arrival) -> bool:
        """Whether both are of the same list."""
        return (self.list_sha256, self.excluded_sha256) == (
            other.list_sha256,
            other.excluded_sha256,
        )


@dataclass(frozen=True)
class Split:
    """What a directory holds.

    Attributes:
        pool: See :func:`pool_name`.
        live: The shards that count.
        files: Name -> SHA-256 of what they were given.
        arrivals: In their order.
    """

    pool: str
    live: list[int] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    arrivals: list[Arrival] = field(default_factory=list)

    @property
    def last(self) -> int:
        """The last shard there ever was."""
        return max((arrival.last for arrival in self.arrivals), default=0)


def names_of(number: int) -> tuple[str, str]:
    """The files that a shard is given: its keys, and the states of its clips."""
    return f"keys.{number}.scp", f"states.{number}.tsv"


def read_split(directory: str | Path) -> Split | None:
    """What :func:`plan_shards` planned; None before it did.

    Raises:
        ManifestError: It is not what is written there now.
    """
    path = Path(directory) / SPLIT
    if not path.exists():
        return None
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
        arrivals = [Arrival(**arrival) for arrival in found["arrivals"]]
        return Split(str(found["pool"]), list(map(int, found["live"])), found["files"], arrivals)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise ManifestError(
            f"{path}: not what this version writes ({e}): of an earlier one, or damaged. Remove "
            f"{Path(directory)} and score again"
        ) from e


def pool_name(key_file: str | Path) -> str:
    """What a pool is known by: its key file, and the channel that was chosen of its recordings.

    Clips go by what they were cut from, so that a pool stays the same when a recording comes that
    has to be cut.
    """
    manifest = Path(key_file).with_name("manifest.json")
    try:
        found = parse_json(manifest.read_text(encoding="utf-8")) if manifest.exists() else {}
    except (OSError, ValueError):
        found = {}
    if not isinstance(found, Mapping):
        return str(key_file)
    channel = found.get("channel")
    name = str(key_file) if channel is None else f"{key_file}, channel {channel}"
    return str(found.get(CUT_FROM, name))


def check_pool(directory: str | Path, there: str, now: str, advice: str) -> None:
    """See that what a directory was made of is the pool that it is asked of.

    Raises:
        ManifestError: It is another one.
    """
    if there != now:
        raise ManifestError(
            f"{directory} was made for another pool: {there} there, {now} now. {advice}"
        )


def check_split(directory: str | Path, nj: int | None = None) -> list[int]:
    """See that what :func:`plan_shards` made is all there, so that no utterance is lost unseen.

    Args:
        directory: Its ``output_dir``.
        nj: The shards that are about to be joined, 1..nj; None: those that were planned.

    Returns:
        Their numbers.

    Raises:
        DataError: A file is damaged or missing, or there are more shards than that.
    """
    directory = Path(directory)
    verify_checksums(directory)
    split = read_split(directory)
    live = list(range(1, (nj or 0) + 1)) if split is None else split.live
    if nj is not None and live != list(range(1, nj + 1)):
        raise DataError(f"{directory} has other shards than 1 to --nj {nj}: leave that option out")
    return live
