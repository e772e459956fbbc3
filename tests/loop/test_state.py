"""Where the rounds stand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from espnet_egl.bin import al_state
from espnet_egl.loop.curve import CURVE_COLUMNS
from espnet_egl.loop.self_training import COLUMNS


def state(directory: Path) -> dict:
    out = directory / "state.yaml"
    al_state.main(["--al_dir", str(directory), "--output_file", str(out)])
    return yaml.safe_load(out.read_text())


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("name", ["", "none"])
def test_a_directory_without_rounds_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as e:
        state(tmp_path / name)
    assert e.value.code == 1
    assert f"{tmp_path / name}: no round (r1, r2, ...) is there" in capsys.readouterr().err


def test_a_round_from_nothing_to_its_point(tmp_path: Path) -> None:
    (tmp_path / "r10").mkdir()
    (tmp_path / "r2").mkdir()
    (tmp_path / "rubbish").mkdir()
    assert list(state(tmp_path)) == ["r2", "r10"]
    one = tmp_path / "r2"
    assert state(tmp_path)["r2"]["next"].startswith("stage 20")
    write(one / "score" / "scores.tsv", "utterance\na\nb\n")
    write(one / "score" / "skipped.tsv", "utterance\nc\n")
    found = state(tmp_path)["r2"]
    assert found["scored"] == {"utterances": 2, "skipped": 1}
    assert found["next"].startswith("stage 21")
    write(one / "select" / "manifest.json", json.dumps({"method": "egl", "budget": "2utt"}))
    write(one / "select" / "selection.tsv", "utterance\tseconds\na\t2.5\nb\t1\n")
    found = state(tmp_path)["r2"]
    assert found["select"] == {"method": "egl", "budget": "2utt", "clips": 2, "audio": "3.5 s"}
    assert found["next"].startswith("stage 22")
    write(one / "annotate" / "skipped.tsv", "utterance\treason\tdetail\n")
    assert state(tmp_path)["r2"]["next"].startswith("stage 22")
    write(one / "annotate" / "transcribe.tsv", "utterance\ttranscript\na\t\nb\t\n")
    found = state(tmp_path)["r2"]
    assert found["select"]["handed over"] == str(one / "annotate")
    assert found["next"] == "people transcribe; then stage 23 takes it back"
    write(one / "labelled" / "returned.tsv", "utterance\tstate\na\tlabelled\nb\tout\n")
    write(one / "labelled" / "text", "a one\n")
    found = state(tmp_path)["r2"]
    assert found["select"]["returned"] == {"labelled": 1, "out": 1}
    assert found["next"].startswith("stage 24")
    write(one / "asr" / "train_seconds", "12\n")
    found = state(tmp_path)["r2"]
    assert found["select"]["model"] == str(one / "asr")
    assert found["next"].startswith("stage 25")
    row = ["c", "egl", "0", "2", "2utt", "test", "1", "0.0007", "0", "5", "9.5", "9", "10", "12"]
    write(tmp_path / "curve.tsv", "\t".join(CURVE_COLUMNS) + "\n" + "\t".join(row) + "\n")
    found = state(tmp_path)["r2"]
    assert found["measured"] == ["egl, 1 clip, 0.0007 h: WER 9.5 % on test"]
    assert found["next"].startswith("the next round")


def selected(path: Path, tag: str = "") -> None:
    write(path / f"select{tag}" / "manifest.json", json.dumps({"method": "egl", "budget": "1utt"}))
    write(path / f"select{tag}" / "selection.tsv", "utterance\tseconds\na\t2.5\n")


def test_a_round_without_speech_is_back(tmp_path: Path) -> None:
    one = tmp_path / "r1"
    selected(one)
    write(one / "annotate" / "transcribe.tsv", "utterance\ttranscript\na\t\n")
    write(one / "labelled" / "returned.tsv", "utterance\tstate\na\tnot_speech\n")
    found = state(tmp_path)["r1"]
    assert found["select"]["returned"] == {"not_speech": 1}
    assert found["next"].startswith("stage 24")
    # Cut short: text is written after it.
    write(one / "labelled" / "returned.tsv", "utterance\tstate\na\tlabelled\n")
    assert state(tmp_path)["r1"]["next"].startswith("people transcribe")


def test_what_was_moved_aside_is_no_part_of_a_round(tmp_path: Path) -> None:
    one = tmp_path / "r1"
    row = "a\ttaken\t1.0\t0.9\t0.1\tone\n"
    for tag in ("", "_b"):
        selected(one, tag)
        for name in (f"self{tag}", f"self2{tag}", f"self{tag}.1"):
            write(one / name / "self_training.tsv", "\t".join(COLUMNS) + "\n" + row)
    found = state(tmp_path)["r1"]
    said = dict.fromkeys(("self", "self2"), "1 clip by the model itself")
    assert {k: v for k, v in found["select"].items() if k.startswith("self")} == said
    assert {k for k in found["select_b"] if k.startswith("self")} == {"self_b", "self2_b"}


def test_one_selection_is_measured_and_the_other_waits(tmp_path: Path) -> None:
    one = tmp_path / "r1"
    selected(one)
    write(one / "asr" / "train_seconds", "12\n")
    row = ["c", "egl", "0", "1", "1utt", "test", "1", "0.0007", "0", "5", "9.5", "9", "10", "12"]
    write(tmp_path / "curve.tsv", "\t".join(CURVE_COLUMNS) + "\n" + "\t".join(row) + "\n")
    assert state(tmp_path)["r1"]["next"].startswith("the next round")
    selected(one, "_other")
    assert state(tmp_path)["r1"]["next"].startswith("stage 22")
    write(one / "annotate_other" / "transcribe.tsv", "utterance\ttranscript\na\t\n")
    assert state(tmp_path)["r1"]["next"].startswith("people transcribe")
    write(one / "labelled_other" / "returned.tsv", "utterance\tstate\na\tnot_speech\n")
    assert state(tmp_path)["r1"]["next"].startswith("the next round")
