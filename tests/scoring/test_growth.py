"""Tables that grow arrival by arrival are those that are made at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_egl.data.arrivals import Plan, plan_shards
from espnet_egl.data.kaldi import read_table
from espnet_egl.data.split import check_split
from espnet_egl.errors import DataError
from espnet_egl.scoring.growth import MERGED, TABLES, merge_pool
from espnet_egl.scoring.records import Summary
from espnet_egl.scoring.shard import TABLES as OF_SHARD
from espnet_egl.store import embeddings
from espnet_egl.store.files import lock, write_checksums
from espnet_egl.store.tables import (
    BASE_COLUMNS,
    NBEST_COLUMNS,
    SKIPPED_COLUMNS,
    write_rows,
    write_words,
)

NAMES = (*TABLES, "skipped.tsv")


def write_tables(directory: Path, lines: dict[str, str], order: list[str]) -> None:
    """Of clips whose scores are told by their lines; 9: it cannot be read."""
    good = [uid for uid in order if lines[uid] != "9"]
    base = [[u, "0.250", "9", "2", "0.5", f"0.{lines[u]}", f"hear {u}"] for u in good]
    rows = [[*b, lines[b[0]], f"hash of {b[0]} {lines[b[0]]}"] for b in base]
    write_rows(directory / "scores.tsv", [*BASE_COLUMNS, "score_egl", "audio_hash"], rows)
    nbest = ([u, str(rank), "-1", f"{rank} {lines[u]}"] for u in good for rank in (1, 2, 10))
    write_rows(directory / "nbest.tsv", NBEST_COLUMNS, nbest)
    bad = ([u, "too_short", "2 frames"] for u in order if u not in good)
    write_rows(directory / "skipped.tsv", SKIPPED_COLUMNS, bad)
    words = ([u, "1", at, "0.100", lines[u], "0.5"] for u in good for at in ("0.000", "0.100"))
    write_words(directory / "words.ctm", words)
    points = (np.full(3, int(lines[u]), embeddings.DTYPE) for u in good)
    embeddings.write(directory / embeddings.NAME, points, len(good))


def score(logdir: Path, plan: Plan) -> None:
    """Stands for al_score: longest first, say."""
    for number in plan.jobs:
        output = logdir / f"output.{number}"
        lines = read_table(logdir / f"keys.{number}.scp")
        output.mkdir(exist_ok=True)
        write_tables(output, lines, sorted(lines, reverse=True))
        write_checksums(output, [name for name in OF_SHARD if (output / name).exists()])
        Summary(len(lines)).write(output)


def read(directory: Path) -> dict[str, bytes]:
    return {n: (directory / n).read_bytes() for n in NAMES if (directory / n).exists()}


def grow(home: Path, rows: dict[str, str], nj: int) -> Summary:
    pool = home / "wav.scp"
    pool.write_text("".join(f"{uid} {line}\n" for uid, line in rows.items()))
    logdir = home / "logdir"
    score(logdir, plan_shards(pool, nj, logdir))
    return merge_pool(logdir, check_split(logdir), home / "grown")


LISTS = st.lists(
    st.dictionaries(st.sampled_from("abcdefghé"), st.sampled_from("1239"), min_size=1),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(LISTS, st.data())
def test_however_it_came_the_tables_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, lists: list[dict[str, str]], data: st.DataObject
) -> None:
    home = tmp_path_factory.mktemp("grows")
    for rows in lists:
        summary = grow(home, rows, data.draw(st.integers(1, 3)))
    logdir = home / "logdir"
    merge_pool(logdir, check_split(logdir), home / "from_all_shards")
    (home / "at_once").mkdir()
    write_tables(home / "at_once", rows, sorted(rows))
    sure = "".join(f"{u} 0.{rows[u]}\n" for u in sorted(rows) if rows[u] != "9")
    (home / "at_once" / "utt2confidence").write_text(sure, encoding="utf-8")
    expected = read(home / "at_once")
    assert read(home / "grown") == read(home / "from_all_shards") == expected
    assert summary.scored == sure.count("\n")
    assert summary.scored + summary.skipped.total() == len(rows)


def test_nothing_new_writes_no_table(tmp_path: Path) -> None:
    rows = dict.fromkeys("abc", "1")
    grow(tmp_path, rows, 2)
    before = {n: (tmp_path / "grown" / n).stat().st_mtime_ns for n in TABLES}
    grow(tmp_path, rows, 2)
    assert {n: (tmp_path / "grown" / n).stat().st_mtime_ns for n in TABLES} == before


def test_tables_that_were_cut_short_are_made_of_all_shards(tmp_path: Path) -> None:
    """A kill between two tables, or a hand."""
    grow(tmp_path, dict.fromkeys("abc", "1"), 2)
    grow(tmp_path, dict.fromkeys("abcd", "1"), 2)
    whole = read(tmp_path / "grown")
    logdir, grown = tmp_path / "logdir", tmp_path / "grown"
    for name in TABLES:
        (grown / name).write_bytes(whole[name][:-3])
        merge_pool(logdir, check_split(logdir), grown)
        assert read(grown) == whole
    (grown / MERGED).write_text("{")
    (grown / "scores.tsv").unlink()
    merge_pool(logdir, check_split(logdir), grown)
    assert read(grown) == whole


def test_two_that_join_at_a_time_are_told_apart(tmp_path: Path) -> None:
    grow(tmp_path, {"a": "1"}, 1)
    with lock(tmp_path / "grown" / ".lock"), pytest.raises(DataError, match="another process"):
        grow(tmp_path, {"a": "1", "b": "2"}, 1)
