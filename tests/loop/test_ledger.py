"""Whatever was handed over is not asked again, and a budget for all rounds counts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_egl.bin import al_check, al_select
from espnet_egl.errors import BudgetError, DataError
from espnet_egl.loop.ledger import check_not_asked, left_of, read_asked, summarize, totals
from espnet_egl.selection.budget import Prices
from espnet_egl.store.tables import BASE_COLUMNS, read_rows

# Half an hour each, in the order of their scores.
CLIPS = "abcdefgh"


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    data = tmp_path / "pool"
    data.mkdir()
    (data / "wav.scp").write_text("".join(f"{c} {c}.wav\n" for c in CLIPS))
    (data / "utt2spk").write_text("".join(f"{c} {c}\n" for c in CLIPS))
    values = dict.fromkeys(BASE_COLUMNS, "1") | {"seconds": "1800.000", "confidence": "0.5"}
    lines = ["\t".join([*BASE_COLUMNS, "score_egl"])]
    for place, clip in enumerate(CLIPS):
        row = values | {"utterance": clip, "best_hypothesis": f"word {clip}"}
        lines.append("\t".join([*(row[c] for c in BASE_COLUMNS), str(10 - place)]))
    score = tmp_path / "al" / "r1" / "score"
    score.mkdir(parents=True)
    (score / "scores.tsv").write_text("\n".join(lines) + "\n")
    return data


def select(pool: Path, tag: str, *options: str) -> list[str]:
    al_dir = pool.parent / "al"
    output = al_dir / "r1" / f"select{tag}"
    al_select.main(
        [
            *("--score_file", str(al_dir / "r1/score/scores.tsv"), "--data_dir", str(pool)),
            *("--output_dir", str(output), "--al_dir", str(al_dir), *options),
        ]
    )
    return [row["utterance"] for row in read_rows(output / "selection.tsv")]


def hand_over(pool: Path, tag: str, skipped: str = "") -> None:
    annotate = pool.parent / "al" / "r1" / f"annotate{tag}"
    annotate.mkdir(parents=True)
    rows = "".join(f"{clip}\tunreadable_audio\tgone\n" for clip in skipped)
    (annotate / "skipped.tsv").write_text(f"utterance\treason\tdetail\n{rows}")
    (annotate / "transcribe.tsv").write_text("")


def come_back(pool: Path, tag: str, states: dict[str, str]) -> None:
    labelled = pool.parent / "al" / "r1" / f"labelled{tag}"
    labelled.mkdir()
    rows = "".join(f"{clip}\t{state}\n" for clip, state in states.items())
    (labelled / "returned.tsv").write_text(f"utterance\tstate\n{rows}")


def test_a_second_selection_asks_for_other_clips_and_says_so(
    pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert select(pool, "", "--budget", "1h") == ["a", "b"]
    # What nobody has got yet may be chosen otherwise.
    assert select(pool, "_early", "--budget", "1h") == ["a", "b"]
    hand_over(pool, "")
    capsys.readouterr()
    assert select(pool, "_b", "--budget", "1h") == ["c", "d"]
    said = capsys.readouterr().out
    assert "Handed over by r1/select, and not asked again: 2 of these." in said
    filtered = read_rows(pool.parent / "al" / "r1" / "select_b" / "filtered.tsv")
    assert [tuple(row.values()) for row in filtered] == [
        ("a", "asked_already", "r1/select"),
        ("b", "asked_already", "r1/select"),
    ]
    assert select(pool, "_again", "--budget", "1h", "--ask_again", "true") == ["a", "b"]


def test_a_recording_that_was_cut_anew_is_not_asked_twice(
    pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was appended, say: clips have other ids and times, and the audio was asked."""
    cuts = {"a": "r 0 10", "b": "r 10 20", "c": "s 0 10 0", "d": "s 0 10 1", "e": "r 20 30"}
    cuts |= {"f": "r 30 40", "g": "s 10 20 0", "h": "s 10 20 1"}

    def cut() -> None:
        (pool / "wav.scp").write_text("r r.wav\ns s.wav\n")
        (pool / "segments").write_text("".join(f"{u} {line}\n" for u, line in cuts.items()))

    cut()
    assert select(pool, "", "--budget", "1.5h") == ["a", "b", "c"]
    hand_over(pool, "")
    for old, new in zip("abcd", "ijkl", strict=True):
        cuts[new] = cuts.pop(old)
    # Some of b's; what begins where b ends; c's channel; the other one.
    cuts |= {"i": "r 19.5 21", "j": "r 20 25", "k": "s 5 12 0", "l": "s 5 12 1"}
    cut()
    table = pool.parent / "al" / "r1" / "score" / "scores.tsv"
    lines = table.read_text().splitlines()
    lines[1:5] = [new + line[1:] for new, line in zip("ijkl", lines[1:5], strict=True)]
    table.write_text("\n".join(lines) + "\n")
    (pool / "utt2spk").write_text("".join(f"{u} {u}\n" for u in cuts))
    for _ in range(2):
        capsys.readouterr()
        assert select(pool, "_b", "--budget", "1.5h") == ["j", "l", "e"]
        said = capsys.readouterr().out
        assert "Handed over by r1/select, and not asked again: 2 of these." in said
    filtered = read_rows(pool.parent / "al" / "r1" / "select_b" / "filtered.tsv")
    assert [tuple(row.values()) for row in filtered] == [
        ("i", "asked_already", "r1/select, some of the audio of b"),
        ("k", "asked_already", "r1/select, some of the audio of c"),
    ]
    wanted = ["i", "j", "k"]
    assert select(pool, "_again", "--budget", "1.5h", "--ask_again", "true") == wanted


def test_what_came_back_was_asked_and_what_was_unreadable_was_not(pool: Path) -> None:
    select(pool, "", "--budget", "2h")
    hand_over(pool, "", skipped="b")
    come_back(pool, "", {"a": "labelled", "c": "cannot_understand", "d": "out"})
    asked = read_asked(pool.parent / "al")
    assert [(clip.uid, clip.state) for clip in asked] == [
        ("a", "labelled"),
        ("c", "cannot_understand"),
        ("d", "out"),
    ]
    assert select(pool, "_b", "--budget", "1h") == ["b", "e"]


def test_the_same_command_leaves_the_same_whatever_was_asked_since(pool: Path) -> None:
    assert select(pool, "", "--budget_total", "1h") == ["a", "b"]
    hand_over(pool, "")
    assert select(pool, "_b", "--budget_total", "2h") == ["c", "d"]
    hand_over(pool, "_b")
    before = {p: p.read_bytes() for p in (pool.parent / "al").rglob("*") if p.is_file()}
    assert select(pool, "", "--budget_total", "1h") == ["a", "b"]
    assert select(pool, "_b", "--budget_total", "2h") == ["c", "d"]
    assert before == {p: p.read_bytes() for p in (pool.parent / "al").rglob("*") if p.is_file()}


def test_a_budget_for_all_rounds_is_spent_at_some_time(
    pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    select(pool, "", "--budget", "1h")
    hand_over(pool, "")
    assert select(pool, "_b", "--budget_total", "3utt") == ["c"]
    hand_over(pool, "_b")
    with pytest.raises(SystemExit):
        select(pool, "_c", "--budget_total", "1.5h")
    assert "--budget_total 1.5h is spent, asked so far: 3 clips, 1.5 h" in capsys.readouterr().err


def test_a_selection_whose_clips_went_out_by_another_is_not_handed_over(pool: Path) -> None:
    """Both were made before either was handed over."""
    select(pool, "", "--budget", "1h")
    select(pool, "_b", "--budget", "1.5h")
    select(pool, "_again", "--budget", "1h", "--ask_again", "true")
    select_dir = pool.parent / "al" / "r1" / "select_b"
    check_not_asked(select_dir)
    hand_over(pool, "")
    with pytest.raises(DataError, match=r"2 of the clips of .*'a', were handed over by r1/select"):
        check_not_asked(select_dir)
    check_not_asked(select_dir.with_name("select_again"))
    check_not_asked(select_dir.with_name("select"))  # its own hand-over, again


def test_what_was_answered_was_asked_though_it_cannot_be_read_now(pool: Path) -> None:
    select(pool, "", "--budget", "1h")
    hand_over(pool, "", skipped="ab")
    come_back(pool, "", {"a": "labelled", "b": "out"})
    assert [clip.uid for clip in read_asked(pool.parent / "al")] == ["a"]


def test_money_is_counted_by_its_prices() -> None:
    assert left_of("100EUR", [], Prices(60.0, 0.0)) == "100EUR"
    with pytest.raises(BudgetError, match="give utterances, hours or money"):
        left_of("20%", [], Prices())


def test_a_budget_that_cannot_be_read_is_refused_before_scoring(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        al_check.main(["--select=--budget_total", "--select=ten"])
    assert "budget 'ten'" in capsys.readouterr().err


def test_the_ledger_adds_up(pool: Path) -> None:
    select(pool, "", "--budget", "1h")
    hand_over(pool, "")
    come_back(pool, "", {"a": "labelled", "b": "out"})
    select(pool, "_b", "--budget", "1utt")
    hand_over(pool, "_b")
    one = {"asked": "1 clip, 0.5 h", "back": "0 clips, 0 h", "out": "1 clip, 0.5 h"}
    al_dir = pool.parent / "al"
    assert summarize(totals(al_dir, read_asked(al_dir))) == {
        **{"asked": "3 clips, 1.5 h", "back": "1 clip, 0.5 h", "out": "2 clips, 1 h"},
        "by selection": {
            "r1/select": {"asked": "2 clips, 1 h", "back": "1 clip, 0.5 h", "out": "1 clip, 0.5 h"},
            "r1/select_b": one,
        },
    }
