"""Recordings that are to be cut, split among shards; the shards of another list are put aside."""

from __future__ import annotations

from itertools import count, pairwise
from pathlib import Path

from espnet_egl.data.kaldi import read_pool_table
from espnet_egl.data.shards import balanced_cuts, lengths_of
from espnet_egl.store.files import (
    file_hash,
    hold,
    is_finished,
    lock,
    write_checksums,
    write_lines,
)

_SPLIT = "split"


def split_recordings(key_file: Path, nj: int, output_dir: Path) -> int:
    """Write ``keys.1.scp`` ... ``keys.N.scp``, with about as much audio each.

    A directory that was split before keeps its split, so that a run that was cut short finds its
    shards again whatever ``nj`` says now.

    Args:
        key_file: A wav.scp or segments of what is to be cut.
        nj: The largest number of shards.
        output_dir: Where the files go; see :func:`put_aside` first.

    Returns:
        The number of shards.

    Raises:
        DataError: Another process splits it at this moment.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    with lock(output_dir / "lock"):
        split = output_dir / _SPLIT
        if split.exists():
            nj = int(split.read_text(encoding="utf-8").split("\n")[0])
            if is_finished(output_dir):
                return nj
        table = read_pool_table(key_file).good
        keys = sorted(table)
        nj = max(1, min(nj, len(keys)))
        names = [f"keys.{job}.scp" for job in range(1, nj + 1)]
        cuts = [0, *balanced_cuts(lengths_of(key_file, keys, table), nj), len(keys)]
        for name, (start, end) in zip(names, pairwise(cuts), strict=True):
            write_lines(output_dir / name, (f"{uid} {table[uid]}" for uid in keys[start:end]))
        write_checksums(output_dir, names)
        write_lines(split, [str(nj), file_hash(key_file)])
    return nj


def put_aside(directory: Path, key_file: Path) -> list[Path]:
    """Move a split of another list out of the way, to ``logdir.1``.

    Args:
        directory: What :func:`split_recordings` made.
        key_file: As it is now.

    Returns:
        What was moved now and before.

    Raises:
        DataError: A process works there at this moment.
    """
    split, wanted = directory / _SPLIT, file_hash(key_file)
    if split.exists() and split.read_text(encoding="utf-8").split("\n")[1:] != [wanted, ""]:
        for journal in directory.glob("output.*/*.jsonl"):
            with journal.open("ab") as f:
                hold(f, journal)
        numbers = (directory.with_name(f"{directory.name}.{n}") for n in count(1))
        directory.rename(next(path for path in numbers if not path.exists()))
    return sorted(directory.parent.glob(f"{directory.name}.*"))
