"""A pilot's answer, from the errors of four recognisers on one test set."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from espnet_egl.bin import al_pilot, al_report
from espnet_egl.errors import DataError
from espnet_egl.loop.pilot import Figures, Part, Pilot, measure, tell
from espnet_egl.report.language import read_language

COUNT = 40
REFERENCES = {f"u{i:02}": "one two three four five" for i in range(COUNT)}


def recognised(errors: int, every: int = 1) -> dict[str, str]:
    """So many words wrong in every ``every``-th utterance."""
    words = REFERENCES["u00"].split()
    wrong = " ".join(["x"] * errors + words[errors:])
    return {u: wrong if i % every == 0 else REFERENCES[u] for i, u in enumerate(REFERENCES)}


def pilot(chosen: dict[str, str], drawn: dict[str, str], everything: dict[str, str]) -> Pilot:
    return Pilot(
        references=REFERENCES,
        before=recognised(4),
        parts={
            "all": Part(300, 600.0, everything),
            "chosen": Part(150, 290.0, chosen),
            "random": Part(150, 310.0, drawn),
        },
        method="egl",
        drawn={"p": "one two", "q": ""},
        drawn_before={"p": "one", "q": ""},
        cost=120.0,
    )


def test_what_is_plain_is_said_plainly() -> None:
    lines = tell(measure(pilot(recognised(2), recognised(3), recognised(1))))
    assert lines[0] == (
        "Labelled: 300 clips, 10.0 minutes; of these 150 clips, 4.8 minutes chosen by egl, "
        "150 clips, 5.2 minutes drawn at random."
    )
    # All utterances alike: resampling them changes nothing. 4 of 5 words, then 1 of 5.
    assert (
        "WER on test was 80.0 % (80.0 to 80.0) and is 20.0 % (20.0 to 20.0): -60.0 points"
        in lines[1]
    )
    assert "Labelling pays here." in lines[1]
    assert lines[2] == "A point of WER cost 2."
    assert "40.0 %, on the random half 60.0 %: -20.0 points" in lines[3]
    assert "Choosing pays here." in lines[3]
    # Against the mean of the halves, 50 %.
    assert "-30.0 points (-30.0 to -30.0). More labels keep helping." in lines[4]
    assert "seed model's WER is 50.0 % (50.0 to 50.0), by the random half" in lines[5]


def test_what_cannot_be_told_is_not_told() -> None:
    # One utterance of forty differs: resampling often leaves it out.
    lines = tell(measure(pilot(recognised(2, every=40), recognised(0), recognised(4))))
    assert "So few clips cannot tell." in lines[2]
    assert "cost" not in "".join(lines)


def test_halves_of_which_one_is_hardly_back_are_not_compared() -> None:
    figures = measure(pilot(recognised(2), recognised(3), recognised(1)))
    partly = {"all": 160, "chosen": 150, "random": 10}
    # As long, of fewer clips, or as many, of less audio: a budget of one cannot make both alike.
    for unlike in ({"clips": partly}, {"seconds": partly}):
        assert "Choosing pays here." in tell(replace(figures, **unlike))[3]
    said = tell(replace(figures, clips=partly, seconds=partly))[3]
    assert "One half is much larger than the other" in said
    assert "Choosing" not in said


def test_annotators_time_is_told_where_it_is_known() -> None:
    figures = measure(pilot(recognised(2), recognised(3), recognised(1)))
    worked = replace(figures, worked=7200.0)
    assert tell(worked)[3] == "Annotators worked 2.0 hours. That is 2.0 minutes for a point of WER."
    lost = replace(worked, gain=(1.0, 0.5, 1.5))
    assert tell(lost)[2] == "Annotators worked 2.0 hours."


def test_the_figures_are_told_in_another_language_of_a_file(tmp_path: Path) -> None:
    figures = measure(pilot(recognised(2), recognised(3), recognised(1)))
    figures.write(tmp_path / "pilot.json")
    read = Figures.read(tmp_path / "pilot.json")
    assert tell(read) == tell(figures)
    lines = tell(read, read_language("ja"))
    assert lines[1].startswith("test の WER は 80.0 %")
    assert "選ぶことに効果があります" in lines[3]
    for content in ("", "# The pilot", "[]", "{}", (tmp_path / "pilot.json").read_text()[:-40]):
        (tmp_path / "wrong").write_text(content)
        with pytest.raises(DataError, match="not the figures of al_pilot"):
            Figures.read(tmp_path / "wrong")
    found = json.loads((tmp_path / "pilot.json").read_text()) | {"gain": [1, 2]}
    (tmp_path / "wrong").write_text(json.dumps(found))
    with pytest.raises(DataError, match="not the figures of al_pilot"):
        Figures.read(tmp_path / "wrong")


def test_self_training_has_a_line_of_its_own(tmp_path: Path) -> None:
    whole = pilot(recognised(2), recognised(3), recognised(1))
    without = tell(measure(whole))
    lines = tell(measure(replace(whole, alone=Part(700, 1200.0, recognised(0)))))
    assert [line for line in lines if line not in without] == [
        "Trained by its own hypotheses on 700 clips, 20.0 minutes of the rest of the pool, too, it "
        "is 0.0 %: -20.0 points (-20.0 to -20.0). Self-training pays here."
    ]
    assert lines[0] == without[0]
    figures = measure(replace(whole, alone=Part(700, 1200.0, recognised(2))))
    figures.write(tmp_path / "pilot.json")
    assert "Self-training made it worse." in tell(Figures.read(tmp_path / "pilot.json"))[5]
    # What earlier versions wrote is read.
    found = json.loads((tmp_path / "pilot.json").read_text())
    kept = {name: value for name, value in found.items() if not name.startswith("alone")}
    (tmp_path / "pilot.json").write_text(json.dumps(kept))
    assert tell(Figures.read(tmp_path / "pilot.json")) == without


def test_choosing_may_be_worse() -> None:
    figures = measure(pilot(recognised(3), recognised(2), recognised(1)))
    assert "Choosing is worse" in tell(figures)[3]


def test_the_command_joins_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def text(name: str, rows: dict[str, str]) -> str:
        (tmp_path / name).write_text("".join(f"{u} {t}\n" for u, t in rows.items()))
        return str(tmp_path / name)

    text("text", {"a": "one", "b": "two"})
    made_with = {"method": "egl", "price_per_hour": 60, "price_per_clip": 1}
    (tmp_path / "manifest.json").write_text(json.dumps(made_with))
    (tmp_path / "selection.tsv").write_text("utterance\tbest_hypothesis\na\tone\nb\tto\n")
    returned = tmp_path / "returned.tsv"
    head = "utterance\tstate\tseconds\treason\na\tlabelled\t1800\tegl rank 1 of 2\n"
    returned.write_text(head + "b\tlabelled\t1800\trandom\n")
    cmd = ["--select_dir", str(tmp_path), "--labelled_dir", str(tmp_path)]
    cmd += ["--reference", text("ref", REFERENCES), "--before", text("before", recognised(4))]
    for part, errors in (("all", 1), ("chosen", 2), ("random", 3)):
        cmd += [f"--{part}", text(part, recognised(errors))]
    out = tmp_path / "pilot.md"
    al_pilot.main([*cmd, "--output_file", str(out)])
    # 60 for the hour and 1 a clip, 62 in all, for 60 points.
    assert "A point of WER cost 1.03." in out.read_text()
    # The clip that was drawn was taken for another word.
    out = capsys.readouterr().out
    assert "seed model's WER is 100.0 %" in out
    assert "Annotators worked" not in out
    table = "utterance\tstate\tseconds\tconfidence\texpected_wer\ttext\n"
    taken = table + "c\ttaken\t90\t1\t0.1\tx\nd\tnot_sure_enough\t90\t0\t1\tx\n"
    (tmp_path / "self_training.tsv").write_text(taken)
    alone = ["--self", text("self", recognised(0)), "--self_dir", str(tmp_path)]
    al_pilot.main([*cmd, *alone, "--output_file", str(tmp_path / "pilot.md")])
    assert "on 1 clip, 90 s of the rest of the pool, too, it is 0.0 %" in capsys.readouterr().out
    figures = tmp_path / "pilot.json"
    curve = Path(__file__).parents[2] / "docs" / "results" / "fsdd" / "curve.tsv"
    report = ["--output_dir", str(tmp_path / "report"), "--curve_file", str(curve)]
    al_report.main([*report, "--pilot_file", str(figures), "--report_lang", "ja"])
    assert (
        "WER 1 ポイントの改善にかかった費用は 1.03 です。"
        in (tmp_path / "report/report.md").read_text()
    )

    # What is measured stands in place of the selection's prices.
    rows = head.splitlines()[1] + "\t{}\t\nb\tlabelled\t1800\trandom\t{}\t\n"
    timed = "utterance\tstate\tseconds\treason\tannotator_seconds\tdetail\n"
    returned.write_text(timed + rows.format("1800", "5400"))
    al_pilot.main([*cmd, "--price_per_annotator_hour", "300"])
    out = capsys.readouterr().out
    # 2 hours at 300, for 60 points.
    assert "A point of WER cost 10.\nAnnotators worked 2.0 hours. That is 2.0 minutes" in out
    returned.write_text(timed + rows.format("1800", ""))
    with pytest.raises(SystemExit):
        al_pilot.main([*cmd, "--price_per_annotator_hour", "300"])
    assert "does not tell how long annotators worked on 'b'" in capsys.readouterr().err
    returned.write_text(head)
    with pytest.raises(SystemExit):
        al_pilot.main(cmd)
    assert "a pilot needs both chosen and random clips" in capsys.readouterr().err
