"""What was asked is asked once, whatever pool, model or team asks."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ledger import hand_over, select
from test_ledger import pool as pool  # a fixture

from espnet_egl.bin import al_export
from espnet_egl.errors import DataError
from espnet_egl.loop.ledger import claim, record
from espnet_egl.loop.shared_ledger import HEADER, Line, SharedLedger, from_text, writing
from espnet_egl.store.tables import read_rows

ONE = Line("/al", "r1/select", "a", "hash", 1.5, "out")


def add(path: Path, *lines: Line) -> None:
    with writing(path) as (ledger, file):
        ledger.add(lines, file)


def states(path: Path) -> dict[str, str]:
    return {line.uid: line.state for line in SharedLedger(path).lines.values()}


def test_the_last_line_of_a_clip_counts_and_nothing_is_written_twice(tmp_path: Path) -> None:
    path = tmp_path / "there" / "ledger.tsv"
    two = replace(ONE, uid="b", audio_hash="")
    add(path, ONE, two)
    add(path, ONE, replace(ONE, state="cannot_understand"))
    add(path, replace(two, state="withdrawn"))
    # Handed over once more: what came back is back, what was withdrawn is out again.
    before = path.read_bytes()
    add(path, ONE)
    assert path.read_bytes() == before
    ledger = SharedLedger(path)
    assert states(path) == {"a": "cannot_understand", "b": "withdrawn"}
    assert [line.uid for line in ledger.asked()] == ["a"]
    add(path, two, replace(ONE, uid="c", state="withdrawn"))
    assert states(path) == {"a": "cannot_understand", "b": "out"}
    lines = path.read_text().splitlines()
    assert lines[0] == HEADER
    assert len(lines) == 6
    assert lines[1].split("\t")[1:7] == ["/al", "r1/select", "a", "hash", "1.500", "out"]
    # Another selection that asks on purpose has lines of its own.
    add(path, replace(ONE, place="r2/select"))
    assert len(SharedLedger(path).of("/al", "r2/select")) == 1


def test_a_line_that_was_cut_short_never_was(tmp_path: Path) -> None:
    path = tmp_path / "ledger.tsv"
    add(path, ONE)
    whole = path.read_bytes()
    # Wherever the kill falls: in the header, in the line, before its end.
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert SharedLedger(path).lines == {}
        add(path, ONE)
        assert list(states(path)) == ["a"]
        assert path.read_bytes().count(b"\n") == 2


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_is_refused_by_its_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.tsv"
    add(path, *(replace(ONE, uid=f"u{i}") for i in range(3)))
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 2))
    other = data.draw(st.integers(0, 255).filter(lambda b: b != content[place]))
    content[place] = other
    path.write_bytes(content)
    number = bytes(content[:place]).count(b"\n") + 1
    with pytest.raises(DataError, match=rf"ledger\.tsv:{number}: (damaged|not a ledger)"):
        SharedLedger(path)


def test_lines_that_scoring_never_writes_are_none(tmp_path: Path) -> None:
    text = replace(ONE, when="now").to_text()
    assert from_text(text) == replace(ONE, when="now")
    for bad in (text.replace("out", "lost"), text.replace("1.500", "nan"), "", text + "\t"):
        assert from_text(bad) is None
    (tmp_path / "other.tsv").write_text("utterance\tstate\na\tout\n")
    with pytest.raises(DataError, match=r"other\.tsv:1: not a ledger"):
        SharedLedger(tmp_path / "other.tsv")


def add_many(path: Path, name: str) -> None:
    for i in range(20):
        add(path, replace(ONE, al_dir=name, uid=f"u{i}"))


def test_two_who_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.tsv"
    names = ["/one", "/two", "/three"]
    writers = [
        multiprocessing.get_context("fork").Process(target=add_many, args=(path, n)) for n in names
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(SharedLedger(path).lines) == 60
    assert path.read_text().count(HEADER) == 1


def give_hashes(pool: Path, hashes: str) -> None:
    """The clips' audio, a letter each."""
    path = pool.parent / "al" / "r1" / "score" / "scores.tsv"
    header, *rows = path.read_text().splitlines()
    lines = [f"{row}\t{h}" for row, h in zip(rows, hashes, strict=True)]
    path.write_text("\n".join([f"{header}\taudio_hash", *lines]) + "\n")


def test_another_directorys_clips_are_not_selected_by_id_or_by_audio(
    pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    give_hashes(pool, "12345678")
    path = pool.parent / "ledger.tsv"
    add(
        path,
        replace(ONE, uid="a", audio_hash="", state="cannot_understand"),
        replace(ONE, uid="x", audio_hash="2", state="labelled"),
        replace(ONE, uid="c", audio_hash="3", state="out"),
    )
    record_of_d = replace(ONE, uid="d", audio_hash="4")
    add(path, record_of_d)
    add(path, replace(record_of_d, state="withdrawn"))
    assert select(pool, "", "--budget", "1h", "--ledger", str(path)) == ["d", "e"]
    said = capsys.readouterr().out
    assert "Handed over by /al/r1/select, and not asked again: 3 of these." in said
    filtered = read_rows(pool.parent / "al" / "r1" / "select" / "filtered.tsv")
    assert [(row["utterance"], row["detail"]) for row in filtered] == [
        ("a", "/al/r1/select"),
        ("b", "/al/r1/select, the same audio as x"),
        ("c", "/al/r1/select"),
    ]
    # The same again is the same, whatever was asked since.
    before = (pool.parent / "al" / "r1" / "select" / "filtered.tsv").read_bytes()
    add(path, replace(ONE, uid="e", audio_hash="5"))
    assert select(pool, "", "--budget", "1h", "--ledger", str(path)) == ["d", "e"]
    assert (pool.parent / "al" / "r1" / "select" / "filtered.tsv").read_bytes() == before
    again = ("--ledger", str(path), "--ask_again", "true")
    assert select(pool, "_b", "--budget", "1h", *again) == ["a", "b"]


def test_audio_that_was_asked_under_another_id_is_not_asked_again(pool: Path) -> None:
    """In the same directory, after the pool's ids changed."""
    give_hashes(pool, "12345678")
    assert select(pool, "", "--budget", "1h") == ["a", "b"]
    hand_over(pool, "")
    scores = pool.parent / "al" / "r1" / "score" / "scores.tsv"
    scores.write_text(scores.read_text().replace("\na\t", "\na2\t"))
    for name in ("wav.scp", "utt2spk"):
        (pool / name).write_text((pool / name).read_text().replace("a ", "a2 ", 1))
    assert select(pool, "_b", "--budget", "1h") == ["c", "d"]
    filtered = read_rows(pool.parent / "al" / "r1" / "select_b" / "filtered.tsv")
    assert filtered[0]["detail"] == "r1/select, the same audio as a"


def test_who_claims_first_has_them(pool: Path) -> None:
    """Two teams selected the same before either handed over."""
    give_hashes(pool, "12345678")
    path = pool.parent / "ledger.tsv"
    select(pool, "", "--budget", "1h")
    select(pool, "_again", "--budget", "1h", "--ask_again", "true")
    select_dir = pool.parent / "al" / "r1" / "select"
    add(path, replace(ONE, uid="z", audio_hash="2"))
    with pytest.raises(DataError, match=r"1 of the clips of .*'z', were handed over by /al/r1/sel"):
        claim(path, select_dir, ["a", "b"])
    assert states(path) == {"z": "out"}
    claim(path, select_dir.with_name("select_again"), ["a", "b"])
    # What cannot be handed over is not claimed; the same hand-over again changes nothing.
    other = pool.parent / "other.tsv"
    claim(other, select_dir, ["a"])
    before = other.read_bytes()
    claim(other, select_dir, ["a"])
    assert other.read_bytes() == before
    record(other, select_dir, {"a": "not_speech", "b": "out"})
    assert states(other) == {"a": "not_speech", "b": "out"}
    name = str((pool.parent / "al").resolve())
    assert {line.asker for line in SharedLedger(other).asked()} == {(name, "r1/select")}


def test_what_is_not_in_the_annotators_file_is_withdrawn(pool: Path) -> None:
    """A file that was there before is not written over: what it lacks is asked of nobody."""
    path, annotate = pool.parent / "ledger.tsv", pool.parent / "al" / "r1" / "annotate"
    select(pool, "", "--budget", "1h", "--ledger", str(path))
    words = ["--select_dir", str(annotate.with_name("select")), "--output_dir", str(annotate)]
    words += ["--audio", "none", "--ledger", str(path)]
    al_export.main(words)
    assert states(path) == {"a": "out", "b": "out"}
    table = annotate / "transcribe.tsv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(line for line in lines if "\tb\t" not in line and line[:2] != "b\t"))
    al_export.main(words)
    assert states(path) == {"a": "out", "b": "withdrawn"}
    table.unlink()
    al_export.main(words)
    assert states(path) == {"a": "out", "b": "out"}
