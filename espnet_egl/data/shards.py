"""Stage 20's preparation: which utterances are scored, and which process scores them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from espnet_egl.data.kaldi import read_table
from espnet_egl.errors import DataError, ManifestError
from espnet_egl.files import file_hash, write_lines
from espnet_egl.tables import SKIPPED_COLUMNS, write_rows


def set_aside(
    pool: dict[str, str], exclude_scps: Sequence[str | Path]
) -> tuple[list[str], list[tuple[str, str, str]]]:
    """Split the pool into what is to be scored and what is already transcribed.

    Args:
        pool: Utterance id -> audio.
        exclude_scps: wav.scp of the training, validation and test sets.

    Returns:
        Sorted ids, and (id, reason, detail) of those that share their id or their audio
        with another set.
    """
    owners: dict[str, str] = {}
    for path in exclude_scps:
        for uid, audio in read_table(path).items():
            owners.setdefault(f"id {uid}", str(path))
            owners.setdefault(f"audio {audio}", str(path))
    keys, aside = [], []
    for uid in sorted(pool):
        owner = owners.get(f"id {uid}") or owners.get(f"audio {pool[uid]}")
        if owner is None:
            keys.append(uid)
        else:
            aside.append((uid, "already_transcribed", f"also in {owner}"))
    return keys, aside


def split_keys(
    key_file: str | Path, exclude_scps: Sequence[str | Path], nj: int, output_dir: str | Path
) -> int:
    """Write ``keys.1.scp`` ... ``keys.N.scp`` and ``skipped.tsv``.

    A directory that was split before keeps its split, so that a run that was cut short
    finds its shards again whatever ``nj`` says now.

    Args:
        key_file: The pool's wav.scp, segments or feats.scp.
        exclude_scps: See :func:`set_aside`.
        nj: The largest number of shards.
        output_dir: Where the files go.

    Returns:
        The number of shards.

    Raises:
        DataError: The pool is empty, or nothing of it is left to score.
        ManifestError: The directory was split for another pool.
    """
    output_dir = Path(output_dir)
    identity = [file_hash(key_file), *(file_hash(p) for p in exclude_scps)]
    split = output_dir / "split"
    if split.exists():
        previous = split.read_text(encoding="utf-8").split("\n")
        if previous[1 : len(identity) + 1] != identity or previous[len(identity) + 1 :] != [""]:
            raise ManifestError(
                f"{output_dir} was made for another pool, or the training data changed since; "
                "choose another --al_tag or --al_round, or remove the directory"
            )
        return int(previous[0])
    pool = read_table(key_file)
    if not pool:
        raise DataError(f"{key_file}: the pool is empty")
    keys, aside = set_aside(pool, exclude_scps)
    if not keys:
        raise DataError(f"{key_file}: every utterance of the pool is transcribed already")
    nj = max(1, min(nj, len(keys)))
    write_rows(output_dir / "skipped.tsv", SKIPPED_COLUMNS, aside)
    for job in range(nj):
        part = keys[job * len(keys) // nj : (job + 1) * len(keys) // nj]
        write_lines(output_dir / f"keys.{job + 1}.scp", (f"{uid} {pool[uid]}" for uid in part))
    write_lines(split, [str(nj), *identity])
    return nj
