"""Points of the learning curve."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_egl.bin import al_curve
from espnet_egl.errors import DataError
from espnet_egl.loop.curve import (
    CURVE_COLUMNS,
    Cleaning,
    error_rates,
    read_curve,
    read_results,
)


def test_error_rates_by_hand() -> None:
    # One of five words substituted, one deleted, none inserted: 40 %.
    rates = error_rates(
        {"a": "one two three", "b": "four five"}, {"a": "one too three", "b": "five"}
    )
    assert rates.wer == pytest.approx(40.0)
    # "two" -> "too": 1; "four " deleted: 5; of 13 + 9 characters.
    assert rates.cer == pytest.approx(100 * 6 / 22)
    # Resampled utterances: both are a (1 of 3) at worst low, both b (1 of 2) high.
    assert rates.wer_lo == pytest.approx(100 / 3)
    assert rates.wer_hi == pytest.approx(50.0)


def test_what_was_not_recognised_counts_as_deleted() -> None:
    assert error_rates({"a": "one two", "b": "one two"}, {"a": "one two"}).wer == 50.0


def test_the_interval_shrinks_with_more_utterances() -> None:
    def width(count: int) -> float:
        references = {f"u{i:04}": "one two three four" for i in range(count)}
        hypotheses = {
            uid: "one two three" if uid[-1] in "12" else t for uid, t in references.items()
        }
        rates = error_rates(references, hypotheses)
        assert rates.wer_lo < rates.wer < rates.wer_hi
        return rates.wer_hi - rates.wer_lo

    # Four times the utterances, half the width.
    assert width(400) == pytest.approx(width(100) / 2, rel=0.15)


def test_hypotheses_of_another_test_set_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ref").write_text("a one\n")
    (tmp_path / "hyp").write_text("b one\n")
    with pytest.raises(DataError, match=r"'b' is not in .*ref"):
        read_results(tmp_path / "ref", tmp_path / "hyp")
    with pytest.raises(DataError, match="no words"):
        error_rates({"a": ""}, {})


def test_a_point_is_added_once(tmp_path: Path) -> None:
    returned = "utterance\tstate\tseconds\treason\nx\tlabelled\t1800\tegl rank 1 of 9\n"
    # What annotators listened to was paid for, whatever they heard; what is out was not.
    returned += "y\tnot_speech\t1800\trandom\nz\tout\t1800\tegl rank 2 of 9\n"
    for name, text in (("ref", "a one two\n"), ("hyp", "a one\n"), ("returned.tsv", returned)):
        (tmp_path / name).write_text(text)
    made_with = {"method": "egl", "budget": "20%", "price_per_hour": 60, "price_per_clip": 0.5}
    (tmp_path / "manifest.json").write_text(json.dumps(made_with))
    curve = tmp_path / "curve.tsv"
    result = f"test,{tmp_path / 'ref'},{tmp_path / 'hyp'}"
    seed = ["--result", result, "--curve_file", str(curve), "--corpus", "c"]
    cmd = [*seed, "--labelled_dir", str(tmp_path), "--select_dir", str(tmp_path), "--round", "1"]
    cmd += ["--train_seconds", "12"]
    for _ in range(2):
        al_curve.main([*seed, "--name", "nobody", "--budget", "9h"])
        al_curve.main(cmd)
        al_curve.main([*cmd, "--part", "random", "--price_per_clip", "2"])
    assert curve.read_text().splitlines() == [
        "\t".join(CURVE_COLUMNS),
        "c\t\t0\t0\t\ttest\t0\t0.000000\t0.00\t57.14\t50.00\t50.00\t50.00\t0",
        "c\tegl\t0\t1\t20%\ttest\t2\t1.000000\t61.00\t57.14\t50.00\t50.00\t50.00\t12",
        "c\tegl:random\t0\t1\t20%\ttest\t1\t0.500000\t32.00\t57.14\t50.00\t50.00\t50.00\t12",
    ]


def test_annotators_time_is_priced_where_it_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["x\tlabelled\t1\tegl\t1800", "y\tnot_speech\t1\trandom\t900", "z\tout\t1\tegl\t900"]
    head = "utterance\tstate\tseconds\treason\tannotator_seconds"
    returned = tmp_path / "returned.tsv"
    returned.write_text("\n".join([head, *rows]) + "\n")
    for name in ("ref", "hyp"):
        (tmp_path / name).write_text("a one\n")
    made_with = {"method": "egl", "budget": "3utt", "price_per_hour": 999, "price_per_clip": 9}
    (tmp_path / "manifest.json").write_text(json.dumps(made_with))
    cmd = ["--result", f"test,{tmp_path / 'ref'},{tmp_path / 'hyp'}"]
    cmd += ["--curve_file", str(tmp_path / "curve.tsv"), "--price_per_annotator_hour", "20"]
    cmd += ["--select_dir", str(tmp_path), "--labelled_dir", str(tmp_path)]
    # The selection's prices were an estimate of it; time spent on what is still out is paid for.
    for options, cost in (((), "20.00"), (("--part", "random"), "5.00")):
        al_curve.main([*cmd, *options])
        assert read_curve(tmp_path / "curve.tsv")[-1].cost == cost
    al_curve.main([*cmd, "--price_per_clip", "2"])
    assert read_curve(tmp_path / "curve.tsv")[0].cost == "24.00"
    returned.write_text("\n".join([head, *rows[:1], "y\tnot_speech\t1\trandom\t"]) + "\n")
    with pytest.raises(SystemExit):
        al_curve.main(cmd)
    assert "does not tell how long annotators worked on 'y'" in capsys.readouterr().err


ADDER = """
import sys
from espnet_egl.loop.curve import CURVE_COLUMNS, Point, add_points
for number in range(20):
    cells = ["c", sys.argv[2], str(number)] + ["1"] * (len(CURVE_COLUMNS) - 3)
    add_points(sys.argv[1], [Point(*cells)])
"""


def test_rounds_that_end_together_lose_no_point(tmp_path: Path) -> None:
    path = str(tmp_path / "curve.tsv")
    runs = [subprocess.Popen([sys.executable, "-c", ADDER, path, m]) for m in ("egl", "random")]
    assert [run.wait() for run in runs] == [0, 0]
    assert len(read_curve(path)) == 40


@pytest.mark.parametrize("text", ["", "x\ty\n", "\t".join(CURVE_COLUMNS) + "\nx\n"])
def test_a_broken_curve_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "curve.tsv"
    path.write_text(text)
    with pytest.raises(DataError, match=r"curve\.tsv:[12]: "):
        read_curve(path)


def test_an_interval_over_speakers(tmp_path: Path) -> None:
    # One speaker is always understood, the other never: utterances hide it, speakers do not.
    uids = [f"u{i:02}" for i in range(40)]
    tables = {
        "text": dict.fromkeys(uids, "one"),
        "utt2spk": {uid: "x" if i < 20 else "y" for i, uid in enumerate(uids)},
        "hyp": {uid: "one" if i < 20 else "two" for i, uid in enumerate(uids)},
    }
    for name, table in tables.items():
        (tmp_path / name).write_text("".join(f"{u} {v}\n" for u, v in table.items()))
    by_utterance = read_results(tmp_path / "text", tmp_path / "hyp")
    by_speaker = read_results(tmp_path / "text", tmp_path / "hyp", by_speaker=True)
    assert by_utterance.wer == by_speaker.wer == 50.0
    assert by_utterance.wer_lo > 30
    assert (by_speaker.wer_lo, by_speaker.wer_hi) == (0.0, 100.0)


def test_texts_are_scored_as_espnet_scores_them(tmp_path: Path) -> None:
    symbols = tmp_path / "nlsyms"
    symbols.write_text("<noise>\n")
    ref, hyp = tmp_path / "ref", tmp_path / "hyp"
    ref.write_text("a hello <noise> world\n")
    hyp.write_text("a hello world\n")
    assert read_results(ref, hyp).wer == pytest.approx(100 / 3)
    assert read_results(ref, hyp, cleaning=Cleaning(symbols=str(symbols))).wer == 0.0
    ref.write_text("a hello world\n")
    hyp.write_text("a HELLO WORLD\n")
    assert read_results(ref, hyp).wer == 100.0
    # ESPnet's cleaner of Korean writes Latin letters, large or small, in Hangul.
    name = "korean_cleaner"
    assert read_results(ref, hyp, cleaning=Cleaning(name, name)).wer == 0.0
    assert read_results(ref, hyp, cleaning=Cleaning(name)).wer == 100.0


def test_a_tag_tells_points_of_one_method_apart(tmp_path: Path) -> None:
    head = "utterance\tstate\tseconds\treason\n"
    for name, text in (("ref", "a one\n"), ("hyp", "a one\n"), ("returned.tsv", head)):
        (tmp_path / name).write_text(text)
    (tmp_path / "manifest.json").write_text(json.dumps({"method": "egl", "budget": "20%"}))
    curve = tmp_path / "curve.tsv"
    cmd = ["--result", f"test,{tmp_path / 'ref'},{tmp_path / 'hyp'}", "--curve_file", str(curve)]
    cmd += ["--select_dir", str(tmp_path), "--round", "1"]
    al_curve.main(cmd)
    al_curve.main([*cmd, "--tag", "_diverse"])
    al_curve.main([*cmd, "--tag", "_diverse", "--name", "mine"])
    assert [point.method for point in read_curve(curve)] == ["egl", "egl_diverse", "mine"]
