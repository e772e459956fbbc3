"""Shards are joined in the order of their utterances, whatever lies in which."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from espnet_egl.errors import DataError
from espnet_egl.scoring.merge import merge_shards
from espnet_egl.scoring.records import Summary
from espnet_egl.scoring.shard import TABLES as OF_SHARD
from espnet_egl.store import embeddings
from espnet_egl.store.files import CHECKSUMS, write_checksums
from espnet_egl.store.tables import (
    BASE_COLUMNS,
    NBEST_COLUMNS,
    SKIPPED_COLUMNS,
    read_nbest,
    read_rows,
    write_rows,
    write_words,
)

TABLES = ("scores.tsv", "nbest.tsv", "skipped.tsv", "words.ctm", "utt2confidence")


def write_shard(directory: Path, uids: Sequence[str]) -> None:
    """As al_score leaves it: rows in the order they were scored. The last is skipped."""
    *scored, skipped = uids
    base = [[u, f"{len(u)}.250", "9", "2", "0.5", f"0.{u[1:]}", f"hear {u}"] for u in scored]
    write_rows(directory / "scores.tsv", [*BASE_COLUMNS, "score_egl"], [[*b, "3"] for b in base])
    nbest = ([u, str(rank), "-1", f"{rank} {u}"] for u in scored for rank in range(1, 12))
    write_rows(directory / "nbest.tsv", NBEST_COLUMNS, nbest)
    write_rows(directory / "skipped.tsv", SKIPPED_COLUMNS, [[skipped, "too_short", "2 frames"]])
    words = ([u, "1", start, "0.100", word, "0.5"] for u in scored for start, word in ("0b", "1a"))
    write_words(directory / "words.ctm", words)
    points = (np.full(3, int(u[1:]), embeddings.DTYPE) for u in scored)
    embeddings.write(directory / embeddings.NAME, points, len(scored))
    write_checksums(directory, OF_SHARD)
    Summary(len(scored)).write(directory)


def write_shards(home: Path, shards: Sequence[Sequence[str]]) -> list[Path]:
    directories = [home / f"output.{job}" for job in range(len(shards))]
    for directory, uids in zip(directories, shards, strict=True):
        write_shard(directory, uids)
    return directories


def merge(home: Path, shards: Sequence[Sequence[str]]) -> Path:
    directories = write_shards(home, shards)
    keys = {uid for uids in shards for uid in uids}
    summary = merge_shards(directories, home / "out", keys)
    assert summary.scored == len(keys) - len(shards)
    assert summary.skipped == {"too_short": len(shards)}
    return home / "out"


@pytest.mark.parametrize(
    "shards",
    [
        (["u20", "u10", "u15"], ["u40", "u30", "u45"], ["u60", "u50", "u55"]),
        (["u60", "u50", "u55"], ["u20", "u10", "u15"], ["u40", "u30", "u45"]),
        (["u60", "u10", "u55"], ["u20", "u30", "u15"], ["u40", "u50", "u45"]),
        (["u30", "u10", "u15"], ["u50", "u60", "u55"], ["u40", "u20", "u45"]),
    ],
    ids=["in order", "out of order", "one around others", "overlapping"],
)
def test_whatever_the_shards_the_tables_are_the_same(
    tmp_path: Path, shards: Sequence[Sequence[str]]
) -> None:
    found = merge(tmp_path, shards)
    scored = ["u10", "u20", "u30", "u40", "u50", "u60"]
    assert [row["utterance"] for row in read_rows(found / "scores.tsv")] == scored
    nbest = [(row["utterance"], row["rank"]) for row in read_rows(found / "nbest.tsv")]
    assert nbest == [(uid, str(rank)) for uid in scored for rank in range(1, 12)]
    skipped = [row["utterance"] for row in read_rows(found / "skipped.tsv")]
    assert skipped == ["u15", "u45", "u55"]
    words = [line.split()[:5:4] for line in (found / "words.ctm").read_text().splitlines()]
    assert words == [[uid, word] for uid in scored for word in "ba"]
    confidences = "".join(f"{uid} 0.{uid[1:]}\n" for uid in scored)
    assert (found / "utt2confidence").read_text() == confidences
    assert embeddings.read(found / embeddings.NAME).tolist() == [
        [float(uid[1:])] * 3 for uid in scored
    ]


def test_one_shard_at_a_time_is_in_memory(tmp_path: Path) -> None:
    uids = [f"u{i:05}" for i in range(3000)]
    shards = [uids[i : i + 100] for i in range(0, len(uids), 100)]
    tracemalloc.start()
    try:
        found = merge(tmp_path, shards)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < (found / "nbest.tsv").stat().st_size


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("scores.tsv", b"", "scores.tsv is empty"),
        ("nbest.tsv", b"utterance\ttext\n", "nbest.tsv has other columns"),
        ("skipped.tsv", b"utterance\treason\tdetail\n\xff\n", "skipped.tsv: not UTF-8"),
        ("skipped.tsv", b"utterance\treason\tdetail\n", "1 lost .'u45'."),
        (embeddings.NAME, None, "2 embeddings for 4 rows of scores.tsv"),
    ],
)
def test_shards_that_do_not_go_together_are_named_and_nothing_is_written(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    # Overlapping, so that they are sorted together.
    directories = write_shards(tmp_path, (["u40", "u10", "u15"], ["u20", "u30", "u45"]))
    path = directories[1] / name
    path.unlink() if content is None else path.write_bytes(content)
    write_checksums(directories[1], [n for n in OF_SHARD if (directories[1] / n).exists()])
    refused(directories, tmp_path, message)


def refused(directories: Sequence[Path], home: Path, message: str) -> None:
    keys = {"u10", "u15", "u20", "u30", "u40", "u45"}
    with pytest.raises(DataError, match=message):
        merge_shards(directories, home / "out", keys)
    assert not any((home / "out" / name).exists() for name in TABLES)


@pytest.mark.parametrize("name", OF_SHARD)
def test_a_damaged_table_is_named_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    directories = write_shards(tmp_path, (["u40", "u10", "u15"], ["u20", "u30", "u45"]))
    path = directories[1] / name
    content = path.read_bytes()
    path.write_bytes(content[:-4])
    refused(directories, tmp_path, f"{name} is not what was written there")
    path.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    refused(directories, tmp_path, f"{name} is not what was written there")
    path.unlink()
    refused(directories, tmp_path, f"{name} is not what was written there")
    path.write_bytes(content)
    (directories[0] / CHECKSUMS).unlink()
    refused(directories, tmp_path, "what writes it did not finish")


def test_hypotheses_with_impossible_cells_are_refused(tmp_path: Path) -> None:
    path = merge(tmp_path, (["u20", "u10", "u15"], ["u40", "u30", "u45"])) / "nbest.tsv"
    good = path.read_text()
    for bad in ("u10\t1\t-1", "u10\t1\tinf\tx", "u10\t1\t1000\tx", "u10\tfirst\t-1\tx"):
        path.write_text(f"{good}{bad}\n")
        for wanted in (None, {"u10"}):
            with pytest.raises(DataError, match=r"nbest\.tsv: "):
                read_nbest(path, wanted)
        assert len(read_nbest(path, {"u30"})) == 11


def test_hypotheses_of_some_utterances_are_read_alone(tmp_path: Path) -> None:
    path = merge(tmp_path, (["u20", "u10", "u15"], ["u40", "u30", "u45"])) / "nbest.tsv"
    table = read_nbest(path)
    some = read_nbest(path, {"u30", "u10", "unknown"})
    wanted = table[table["utterance"].isin(["u10", "u30"])].reset_index(drop=True)
    assert len(some) == 22
    assert some.equals(wanted)
    assert read_nbest(path, {"unknown"}).empty
