"""From scores to calibrated files, by the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_calibration import write_scores
from test_stages import run_stage_20, score_command

from espnet_egl.bin import al_calibrate, al_merge, al_score
from espnet_egl.data.kaldi import read_table
from espnet_egl.store.tables import read_words


def test_from_scores_to_calibrated_files(
    model_files: Any, pool_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    score_dir = tmp_path / "score"
    run_stage_20(model_files("hybrid_rnn"), pool_dir, score_dir, 2, "--methods", "confidence")
    words = read_words(score_dir / "words.ctm")
    whole = read_table(score_dir / "utt2confidence")
    assert len(whole) == 6
    rows = (line.split("\t") for line in (score_dir / "scores.tsv").read_text().splitlines()[1:])
    for row in rows:
        assert whole[row[0]] == row[5]
        own = [word for word in words if word[0] == row[0]]
        assert " ".join(word[4] for word in own) == row[6]
        ends = [float(word[2]) + float(word[3]) for word in own]
        assert ends == sorted(ends)
        assert all(end <= float(row[1]) + 0.002 for end in ends)
    assert [word[0] for word in words] == sorted(word[0] for word in words)
    # An untrained model's words: six utterances are too few, and it says so.
    (tmp_path / "text").write_text("".join(f"{uid} nothing of it\n" for uid in whole))
    calibrate = ["--score_dir", str(score_dir), "--text", str(tmp_path / "text")]
    calibrate += ["--output_file", str(tmp_path / "calibration.yaml")]
    with pytest.raises(SystemExit):
        al_calibrate.main(calibrate)
    assert "al_calibrate: error: " in capsys.readouterr().err

    other = write_scores(tmp_path / "dev")
    calibrate[1], calibrate[3] = str(other), str(other / "text")
    al_calibrate.main(calibrate)
    printed = capsys.readouterr().out
    assert "words, after" in printed
    assert "utterances, before" in printed
    merge = ["--logdir", f"{score_dir}/logdir", "--nj", "2", "--output_dir", str(score_dir)]
    raw = (score_dir / "words.ctm").read_bytes()
    al_merge.main([*merge, "--calibration", str(tmp_path / "calibration.yaml")])
    assert (score_dir / "words.ctm").read_bytes() == raw
    calibrated = read_words(score_dir / "calibrated" / "words.ctm")
    assert [row[:5] for row in calibrated] == [row[:5] for row in words]
    assert list(read_table(score_dir / "calibrated" / "utt2confidence")) == list(whole)


def test_the_confidence_follows_its_options(
    model_files: Any, pool_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files, found = model_files("ctc_conformer"), []
    for name, extra in (
        ("plain", ()),
        ("words", ("--confidence_level", "word", "--confidence_aggregation", "min")),
        (
            "alone",
            (
                "--confidence_level",
                "word",
                "--confidence_aggregation",
                "min",
                "--methods",
                "random",
            ),
        ),
    ):
        run_stage_20(files, pool_dir, tmp_path / name, 1, *extra)
        found.append((tmp_path / name / "utt2confidence").read_text())
    assert found[0] != found[1]
    # Whether or not the method is asked for.
    assert found[1] == found[2]
    command = score_command(files, pool_dir, tmp_path / "plain" / "logdir")
    command += ["--output_dir", str(tmp_path / "other")]
    with pytest.raises(SystemExit):
        al_score.main([*command, "--confidence_measure", "gibbs", "--confidence_alpha", "5"])
    assert "Gibbs' entropy takes exponents" in capsys.readouterr().err
