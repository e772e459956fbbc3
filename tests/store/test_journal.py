"""A line that is not what was written is noticed, and its utterance scored again."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_egl.errors import DataError, StorageError
from espnet_egl.store.journal import Journal, from_line, to_line

ENTRY = {"uid": "a", "row": ["a", "0.5", "1.25"], "nbest": [["-1", 'ä , "crc": "0"']]}


def write(path: Path, uids: str) -> list[str]:
    journal = Journal(path)
    for uid in uids:
        journal.append({"uid": uid, "row": [uid, "1.0"]})
    journal.close()
    return path.read_text().splitlines(keepends=True)


def uids_in(path: Path) -> list[str]:
    journal = Journal(path)
    try:
        return [entry["uid"] for entry in journal.entries()]
    finally:
        journal.close()


def test_a_line_is_json_and_comes_back() -> None:
    assert from_line(to_line(ENTRY)) == ENTRY


@given(place=st.integers(0, len(to_line(ENTRY)) - 1), character=st.characters(codec="utf-8"))
def test_no_changed_character_goes_unnoticed(place: int, character: str) -> None:
    line = to_line(ENTRY)
    changed = line[:place] + character + line[place + 1 :]
    assert changed == line or from_line(changed) is None


DAMAGES: list[Any] = ["1.0", "{}", "\0" * 40, "not json", '{"uid": "b"}', "[1]"]
# At the end half a surrogate pair: JSON, but nothing that can be written.
DAMAGES += [pytest.param("[" * 100_000, id="deep"), '{"uid": "\\ud800", "crc": "0"}']


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_line_is_scored_again_and_said(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "journal.jsonl"
    lines = write(path, "abcd")
    lines[1] = lines[1].replace("1.0", "1.5") if damage == "1.0" else damage + "\n"
    path.write_text("".join(lines))
    with caplog.at_level(logging.WARNING):
        assert uids_in(path) == ["a", "c", "d"]
    assert f"{path}:2: damaged" in caplog.text
    write(path, "abcd")
    assert uids_in(path) == ["a", "c", "d", "b"]


def test_two_jobs_that_wrote_the_same_are_one(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    lines = write(path, "ab")
    path.write_text("".join([*lines, *lines]))
    assert uids_in(path) == ["a", "b"]


def test_two_jobs_that_wrote_otherwise_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    lines = write(path, "ab")
    other = to_line({"uid": "a", "row": ["a", "1.000001"]}) + "\n"
    path.write_text("".join([*lines, other]))
    with pytest.raises(DataError, match=r"journal.jsonl:3: 'a' came out otherwise in line 1"):
        Journal(path)


def test_a_full_disk_keeps_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, "ab")
    journal = Journal(path)
    with monkeypatch.context() as patch, Path("/dev/full").open("ab", buffering=0) as full:
        patch.setattr(journal, "_file", full)
        with pytest.raises(StorageError, match=r"journal.jsonl cannot be written: No space left"):
            journal.append({"uid": "c"})
    assert "c" not in journal.done
    journal.close()
    assert uids_in(path) == ["a", "b"]
