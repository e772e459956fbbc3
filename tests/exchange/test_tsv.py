"""The annotators' table, and the tasks it is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_egl.errors import DataError
from espnet_egl.exchange import Task
from espnet_egl.exchange.tasks import read_tasks
from espnet_egl.exchange.tsv import TSV, ReturnedTSV

HEADER = "utterance\taudio\tstart\tend\tseconds\tdraft\ttranscript\tmark"


def test_rows_are_safe_for_tables_and_spreadsheets(tmp_path: Path) -> None:
    tasks = [
        Task("b", "/a/b.wav", 0.0, None, 1.5, ("one\ttwo\nthree", "one")),
        Task("a", "/a/r.wav", 1.0, 2.25, 1.25, ("=HYPERLINK(1)",)),
        Task("c", "sox c.sph -t wav - |", 0.0, None, 2.0, ()),
    ]
    path = TSV().export(tasks, tmp_path)
    assert path.read_text().splitlines() == [
        HEADER,
        "b\t/a/b.wav\t\t\t1.500\tone two three\t\t",
        "a\t/a/r.wav\t1.000\t2.250\t1.250\t =HYPERLINK(1)\t\t",
        "c\tsox c.sph -t wav - |\t\t\t2.000\t\t\t",
    ]


def test_transcripts_that_were_filled_in_are_not_overwritten(tmp_path: Path) -> None:
    tasks = [Task("a", "/a.wav", 0.0, None, 1.0, ("x",))]
    path = TSV().export(tasks, tmp_path)
    assert TSV().export(tasks, tmp_path) == path
    filled = path.read_text().replace("\tx\t", "\tx\tthe transcript")
    path.write_text(filled)
    TSV().export(tasks, tmp_path)
    with pytest.raises(DataError, match="is not in this selection; move the file away"):
        TSV().export(tasks[1:], tmp_path)
    assert path.read_text() == filled


def make_selection(directory: Path) -> Path:
    (directory / "selection.tsv").write_text(
        "rank\tutterance\tscore\tseconds\tconfidence\treason\tbest_hypothesis\n"
        "1\tb\t2\t1.0\t0.5\tegl rank 1 of 2\tsay b\n"
        "2\ta\t1\t0.5\t0.5\tegl rank 2 of 2\tsay a\n"
    )
    (directory / "wav.scp").write_text("r1 relative.wav\n")
    (directory / "segments").write_text("a r1 0.0 0.5\nb r1 1.0 2.0\n")
    return directory


def test_tasks_come_in_the_order_of_rank_with_their_drafts(tmp_path: Path) -> None:
    make_selection(tmp_path)
    nbest = tmp_path / "nbest.tsv"
    nbest.write_text(
        'utterance\trank\tlog_prob\ttext\nb\t1\t-1\tsay b\nb\t2\t-2\tsay "d\nz\t1\t-1\tz\n'
    )
    first, second = read_tasks(tmp_path, nbest)
    assert (first.uid, first.start, first.end, first.drafts) == ("b", 1.0, 2.0, ("say b", 'say "d'))
    assert first.audio == str(Path("relative.wav").absolute())
    # The list is of another scoring, and lacks it.
    assert (second.uid, second.drafts, second.probabilities) == ("a", ("say a",), ())
    assert [t.drafts for t in read_tasks(tmp_path)] == [("say b",), ("say a",)]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"selection\.tsv: no such file"):
        read_tasks(tmp_path)
    make_selection(tmp_path)
    (tmp_path / "wav.scp").write_text("other x.wav\n")
    with pytest.raises(DataError, match="lacks 'r1'"):
        read_tasks(tmp_path)
    (tmp_path / "wav.scp").unlink()
    with pytest.raises(DataError, match=r"neither wav\.scp nor feats\.scp"):
        read_tasks(tmp_path)


def test_no_cell_is_a_formula_and_a_spreadsheets_copy_is_kept(tmp_path: Path) -> None:
    task = Task("=1+1", "@cmd.wav", 0.0, None, 1.0, ("+draft",))
    path = TSV().export([task], tmp_path)
    (row,) = path.read_text().splitlines()[1:]
    assert row.split("\t") == [" =1+1", " @cmd.wav", "", "", "1.000", " +draft", "", ""]
    path.write_bytes(path.read_text().encode("utf-16"))
    assert [a.uid for a in ReturnedTSV().read(path)] == ["=1+1"]
    path.write_bytes(path.read_text("utf-16").replace("draft", "dráft").encode("cp1252"))
    with pytest.raises(DataError, match="save it as UTF-8"):
        TSV().export([task], tmp_path)
