"""Transcripts that come back: checked, partial, never overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_egl.bin import al_import
from espnet_egl.data.kaldi import read_table
from espnet_egl.errors import DataError
from espnet_egl.exchange import Answer, Task
from espnet_egl.exchange.kaldi_text import KaldiText
from espnet_egl.exchange.tsv import TSV, ReturnedTSV
from espnet_egl.loop import returns

HEADER = "utterance\ttranscript\tmark\n"


def selection(tmp_path: Path, uids: str = "abc") -> Path:
    directory = tmp_path / "select"
    directory.mkdir(exist_ok=True)
    for name, value in (("wav.scp", "/x.wav"), ("utt2spk", "s"), ("utt2dur", "1.5")):
        (directory / name).write_text("".join(f"{uid} {value}\n" for uid in uids))
    rows = (f"{uid}\t{'random' if uid == 'b' else 'egl rank 1 of 9'}\n" for uid in uids)
    (directory / "selection.tsv").write_text("utterance\treason\n" + "".join(rows))
    return directory


def run(tmp_path: Path, text: str, *options: str) -> None:
    path = tmp_path / "back"
    path.write_text(text, encoding="utf-8")
    cmd = ["--select_dir", str(selection(tmp_path)), "--return_file", str(path)]
    al_import.main([*cmd, "--output_dir", str(tmp_path / "labelled"), *options])


def test_what_was_exported_comes_back_whatever_it_holds(tmp_path: Path) -> None:
    drafts = ['"one two', "=1+1", 'say "b"', ""]
    tasks = [Task(f"u{i}", "/a.wav", 0.0, None, 1.0, (d,)) for i, d in enumerate(drafts)]
    path = TSV().export(tasks, tmp_path)
    answers = ReturnedTSV().read(path)
    assert [a.uid for a in answers] == ["u0", "u1", "u2", "u3"]
    assert all(a.transcript == a.mark == "" for a in answers)


def test_a_spreadsheets_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(
        b"\xef\xbb\xbfutterance\tnotes\ttranscript\tmark\r\n"
        b'a\t\t"say ""b"""\t\r\nb\tx\t\tNot speech\r\n\t\t\t\r\n'
    )
    a, b = ReturnedTSV().read(path)
    assert (a.uid, a.transcript, a.mark) == ("a", 'say "b"', "")
    assert (b.uid, b.transcript, b.mark, b.where) == ("b", "", "not_speech", f"{path}:3")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"utterance\tdraft\na\tx\n", ":1: column transcript is missing"),
        (HEADER.encode() + b"a\t\tsilly\n", ":2: mark 'silly' is none of not_speech"),
        (HEADER.encode() + b"a\tone\tnot_speech\n", ":2: 'a' has a transcript and a mark"),
        (HEADER.encode() + b"a\t\xff\t\n", "not UTF-8"),
        (b"", ":1: column transcript is missing"),
        (HEADER.encode() + b'a\t"one\t\nb\ttwo\t\n', "a quote is not closed"),
        (HEADER.encode() + b'a\t"one\t\nb\ttwo"\t\n', ":3: transcript of 'a' goes over a tab"),
        (HEADER.encode() + b'a\t"hi" he said\t\n', "a quote is not closed"),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        ReturnedTSV().read(path)


def test_kaldi_text_names_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("b two\na\n")
    assert KaldiText().read(path) == [
        Answer("b", "two", "", f"{path}:1"),
        Answer("a", "", "", f"{path}:2"),
    ]


def test_answers_are_sorted_into_states() -> None:
    answers = [
        Answer("a", "one", "", "f:2"),
        Answer("a", "one", "", "g:2"),
        Answer("b", "", "not_speech", "f:3"),
        Answer("c", "", "", "f:4"),
    ]
    found = returns.check(answers, ["a", "b", "c", "d"], lambda text: ["o"])
    assert found.labelled == {"a": "one"}
    assert found.marked == {"b": "not_speech"}
    assert found.out == ["c", "d"]
    assert found.unknown_tokens == {"a": ["o"]}


def test_the_time_that_annotators_worked_is_kept() -> None:
    answers = [
        Answer("a", "one", "", "f:2", 2.0),
        Answer("a", "one", "", "g:2", 3.5),
        Answer("b", "", "", "f:3", 4.0),
        Answer("c", "", "not_speech", "f:4"),
    ]
    found = returns.check(answers, ["a", "b", "c"])
    assert found.worked == {"a": 3.5, "b": 4.0}
    assert found.out == ["b"]
    durations = dict.fromkeys("abc", 1.0)
    assert "Annotators worked 7.5 s on 2 clips." in returns.describe(found, durations)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer("x", "one", "", "f:9"), "f:9: 'x' was not handed over"),
        (Answer("a", "two", "", "f:9"), "f:9: 'a' came back already, as 'one' .f:2."),
        (Answer("a", "", "not_speech", "f:9"), "f:9: 'a' came back already"),
    ],
)
def test_contradictions_are_refused(answer: Answer, message: str) -> None:
    with pytest.raises(DataError, match=message):
        returns.check([Answer("a", "one", "", "f:2"), answer], ["a"])


def test_two_forms_of_one_text_are_no_contradiction() -> None:
    composed, decomposed = Answer("a", "caf\u00e9", "", "f:2"), Answer("a", "cafe\u0301", "", "g:2")
    assert returns.check([composed, decomposed], ["a"]).labelled == {"a": "caf\u00e9"}
    # So it is with ids, which go through names of files.
    found = returns.check([Answer("cafe\u0301", "one", "", "f:2")], ["caf\u00e9"])
    assert found.labelled == {"caf\u00e9": "one"}
    with pytest.raises(DataError, match=r"keep one of them \(they differ in U\+0065 .* U\+0435 "):
        returns.check([Answer("a", "one", "", "f"), Answer("a", "on\u0435", "", "g")], ["a"])


@pytest.mark.parametrize("known", ["caf\u00e9", "cafe\u0301"])
def test_a_transcript_is_spelled_as_the_model_spells(known: str) -> None:
    for text in ("caf\u00e9", "cafe\u0301"):
        answers = [Answer("a", text, "", "f:2")]
        found = returns.check(answers, ["a"], lambda t: sorted(set(t) - set(known)))
        assert (found.labelled, found.unknown_tokens) == ({"a": known}, {})


def test_a_form_that_changed_is_no_other_transcript(tmp_path: Path) -> None:
    run(tmp_path, HEADER + "a\tcaf\u00e9\t\n")
    run(tmp_path, HEADER + "a\tcafe\u0301\t\nc\tone\t\n")
    assert read_table(tmp_path / "labelled" / "text") == {"a": "caf\u00e9", "c": "one"}


def test_a_part_comes_back_then_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("<blank>\n<unk>\n<space>\no\nn\ne\n<sos/eos>\n")
    run(tmp_path, HEADER + "a\tone\t\nb\t\tnot speech\nc\t\t\n", "--token_list", str(tokens))
    printed = capsys.readouterr().out
    assert "Transcribed: 1 clip, 1.5 s." in printed
    assert "Marked not_speech, which are not trained on: 1 clip, 1.5 s." in printed
    assert "Still out: 1 clip, 1.5 s, e.g. c." in printed
    labelled = tmp_path / "labelled"
    assert read_table(labelled / "text") == {"a": "one"}
    assert list(read_table(labelled / "wav.scp")) == ["a"]
    rest = HEADER + "a\tone\t\nb\t\tnot speech\nc\tzone\t\n"
    run(tmp_path, rest, "--token_list", str(tokens))
    assert (
        "Tokens that the model does not know: z, in 1 transcript, which" in capsys.readouterr().out
    )
    assert read_table(labelled / "text") == {"a": "one", "c": "zone"}
    rows = (labelled / "returned.tsv").read_text().splitlines()
    assert rows == [
        "utterance\tstate\tseconds\treason\tannotator_seconds\tdetail",
        "a\tlabelled\t1.500\tegl rank 1 of 9\t\t",
        "b\tnot_speech\t1.500\trandom\t\t",
        "c\tlabelled\t1.500\tegl rank 1 of 9\t\ttokens unknown to the model: z",
    ]
    assert returns.read_handled(labelled) == {"a": 1.5, "b": 1.5, "c": 1.5}
    assert list(returns.read_handled(labelled, "chosen")) == ["a", "c"]
    assert list(returns.read_handled(labelled, "random")) == ["b"]


@pytest.mark.parametrize("text", ["a\tother\t\n", "b\tone\t\n"])
def test_what_came_back_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    run(tmp_path, HEADER + "a\tone\t\n")
    before = (tmp_path / "labelled" / "text").read_bytes()
    with pytest.raises(SystemExit):
        run(tmp_path, HEADER + text)
    assert "'a' came back as 'one' earlier" in capsys.readouterr().err
    assert (tmp_path / "labelled" / "text").read_bytes() == before


def test_nothing_filled_in_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path, HEADER + "a\t\t\n")
    assert "no clip has a transcript yet" in capsys.readouterr().err


def test_while_people_work_the_one_command_waits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, HEADER + "a\t\t\n", "--wait", "true")
    assert f"Fill in {tmp_path / 'back'} and run the same" in capsys.readouterr().out
    assert not (tmp_path / "labelled").exists()


def test_marks_are_told_before_the_first_transcript(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, HEADER + "a\t\tnot speech\n", "--wait", "true")
    printed = capsys.readouterr().out
    assert "Marked not_speech, which are not trained on: 1 clip, 1.5 s." in printed
    assert "Still out: 2 clips, 3 s, e.g. b, c." in printed
    assert "Nothing is transcribed yet." in printed


def test_known_transcripts_stand_for_annotators(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = tmp_path / "truth"
    truth.write_text("a one\nb\nhidden secret\n")
    cmd = ["--output_dir", str(tmp_path / "labelled"), "--truth", str(truth)]
    al_import.main(["--select_dir", str(selection(tmp_path, "ab")), *cmd])
    assert read_table(tmp_path / "labelled" / "text") == {"a": "one"}
    assert returns.read_handled(tmp_path / "labelled") == {"a": 1.5, "b": 1.5}
    for path in (tmp_path / "labelled").iterdir():
        assert "secret" not in path.read_text()
    with pytest.raises(SystemExit):
        al_import.main(["--select_dir", str(selection(tmp_path, "abc")), *cmd])
    assert f"{truth} lacks 'c', which was selected" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        al_import.main(["--select_dir", str(tmp_path / "select"), *cmd[:2]])
    assert "give either --return_file, --annotate_dir or --truth" in capsys.readouterr().err


@pytest.mark.parametrize("later", ["a\tone\t\n", "a\tone\t\nb\ttwo\t\n"])
def test_a_mark_that_came_back_is_not_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], later: str
) -> None:
    run(tmp_path, HEADER + "a\tone\t\nb\t\tnot speech\n")
    before = (tmp_path / "labelled" / "returned.tsv").read_bytes()
    with pytest.raises(SystemExit):
        run(tmp_path, HEADER + later)
    assert "'b' came back as 'not_speech' earlier, and does not now" in capsys.readouterr().err
    assert (tmp_path / "labelled" / "returned.tsv").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"utterance\tstate\na\tlabelled\n", ":1: column reason is missing"),
        (b"utterance\tstate\tseconds\treason\na\tlabelled\n", ":2: not 4 cells"),
        (b"utterance\tstate\n\xff\n", "not UTF-8"),
    ],
)
def test_a_damaged_list_of_returns_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "returned.tsv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        returns.read_handled(tmp_path)


@pytest.mark.parametrize("wait", ["true", "false"])
def test_a_round_without_speech_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wait: str
) -> None:
    marks = HEADER + "a\t\tnot speech\nb\t\tnot speech\nc\t\t"
    run(tmp_path, f"{marks}cannot understand\n", "--wait", wait)
    printed = capsys.readouterr().out
    assert "Everything came back without speech" in printed
    assert "Marked not_speech, which are not trained on: 2 clips" in printed
    labelled = tmp_path / "labelled"
    assert [path.name for path in labelled.iterdir()] == ["returned.tsv"]
    assert returns.read_handled(labelled) == {"a": 1.5, "b": 1.5, "c": 1.5}
    with pytest.raises(SystemExit):
        run(tmp_path, f"{marks}not speech\n")
    assert "'c' came back as 'cannot_understand' earlier" in capsys.readouterr().err
