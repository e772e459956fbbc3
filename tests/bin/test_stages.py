"""Stages 20-22 as al.sh calls them, on a real model and real files."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from tolerances import CONFIDENCE, ROUNDING, SPREAD

from espnet_egl.bin import al_export, al_fit, al_merge, al_prepare, al_score, al_select
from espnet_egl.store import embeddings
from espnet_egl.store.files import write_checksums


def score_command(files: Any, pool_dir: Path, output_dir: Path, job: int = 1) -> list[str]:
    return [
        *("--data_path_and_name_and_type", f"{pool_dir}/wav.scp,speech,sound"),
        *("--key_file", f"{output_dir}/keys.{job}.scp"),
        *("--asr_train_config", str(files.config)),
        *("--asr_model_file", str(files.checkpoint)),
        *("--inference_args", "--beam_size 5 --maxlenratio -6"),
        *("--nbest", "8", "--num_workers", "0"),
        *("--output_dir", f"{output_dir}/output.{job}"),
    ]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as f:
        return list(csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE))


def run_stage_20(
    files: Any, pool_dir: Path, score_dir: Path, nj: int, *extra: str, exclude: tuple[str, ...] = ()
) -> None:
    logdir = score_dir / "logdir"
    excluded = [word for path in exclude for word in ("--exclude_dir", path)]
    prepare = ["--key_file", f"{pool_dir}/wav.scp", "--nj", str(nj), "--output_dir", str(logdir)]
    al_prepare.main([*prepare, "--pool_dir", str(pool_dir), *excluded])
    for job in range(1, nj + 1):
        al_score.main([*score_command(files, pool_dir, logdir, job), *extra])
    al_merge.main(["--logdir", str(logdir), "--nj", str(nj), "--output_dir", str(score_dir)])


def tables(score_dir: Path) -> dict[str, str]:
    names = ("scores.tsv", "skipped.tsv", "nbest.tsv", "words.ctm", "utt2confidence")
    return {n: (score_dir / n).read_text() for n in names}


@pytest.fixture
def dirty_pool(pool_dir: Path, tmp_path: Path) -> Path:
    """The pool with a corrupt, an empty, a too short and a missing clip."""
    (tmp_path / "corrupt.wav").write_text("no audio")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 8000)
    soundfile.write(tmp_path / "short.wav", np.zeros(40), 8000)
    for table, value in (("wav.scp", "{}.wav"), ("utt2spk", "x")):
        path = pool_dir / table
        rows = path.read_text() + "".join(
            f"x-{n} {(tmp_path / value.format(n)) if '{' in value else value}\n"
            for n in ("corrupt", "empty", "missing", "short")
        )
        path.write_text(rows)
    return pool_dir


def test_from_pool_to_annotators(
    model_files: Any, dirty_pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files, score_dir = model_files("ctc_conformer"), tmp_path / "r1" / "score"
    run_stage_20(files, dirty_pool, score_dir, 2)
    rows = read(score_dir / "scores.tsv")
    assert [r["utterance"] for r in rows] == sorted(f"spk{i % 2}-utt{i}" for i in range(6))
    for row in rows:
        assert list(row) == [
            *("utterance", "seconds", "frames", "hypotheses", "mass", "confidence"),
            *("best_hypothesis", "score_egl", "score_confidence", "score_random", "egl_stderr"),
            "audio_hash",
        ]
        assert 0 < float(row["mass"]) <= 1
        assert float(row["score_egl"]) > 0
        assert float(row["score_confidence"]) == pytest.approx(
            1 - float(row["confidence"]), abs=1e-5
        )
        assert float(row["seconds"]) == pytest.approx(0.5 + 0.1 * int(row["utterance"][-1]))
    skipped = {r["utterance"]: r["reason"] for r in read(score_dir / "skipped.tsv")}
    assert skipped == {
        "x-corrupt": "unreadable_audio",
        "x-empty": "empty_audio",
        "x-missing": "unreadable_audio",
        "x-short": "too_short",
    }

    select = ["--score_file", f"{score_dir}/scores.tsv", "--data_dir", str(dirty_pool)]
    capsys.readouterr()
    al_select.main([*select, "--budget", "3utt", "--output_dir", str(tmp_path / "select")])
    printed = capsys.readouterr().out
    chosen = read(tmp_path / "select" / "selection.tsv")
    best = sorted(rows, key=lambda r: -float(r["score_egl"]))[:3]
    assert [r["utterance"] for r in chosen] == [r["utterance"] for r in best]
    assert [r["rank"] for r in chosen] == ["1", "2", "3"]
    assert chosen[0]["reason"] == "egl rank 1 of 6"
    assert "Selected 3 of 6 utterances by egl" in printed
    assert "confidence would have chosen" in printed
    assert str(tmp_path / "select") in printed
    wav_scp = (tmp_path / "select" / "wav.scp").read_text().splitlines()
    assert [line.split()[0] for line in wav_scp] == sorted(r["utterance"] for r in best)
    assert not (tmp_path / "select" / "text").exists()

    export = ["--select_dir", str(tmp_path / "select"), "--nbest_file", f"{score_dir}/nbest.tsv"]
    al_export.main([*export, "--output_dir", str(tmp_path / "annotate")])
    tasks = read(tmp_path / "annotate" / "transcribe.tsv")
    assert [t["utterance"] for t in tasks] == [r["utterance"] for r in best]
    for task, row in zip(tasks, best, strict=True):
        assert task["draft"].strip() == row["best_hypothesis"]
        assert soundfile.info(task["audio"]).frames / 8000 == pytest.approx(float(row["seconds"]))
        assert task["transcript"] == ""


def test_shards_order_and_threads_change_nothing(
    model_files: Any, pool_dir: Path, tmp_path: Path
) -> None:
    """Batches are others, sums are taken in another order, and with them the last digits."""
    files = model_files("hybrid_rnn")
    run_stage_20(files, pool_dir, tmp_path / "one", 1)
    run_stage_20(files, pool_dir, tmp_path / "three", 3)
    # A batch each.
    run_stage_20(files, pool_dir, tmp_path / "single", 1, "--egl_batch_bins", "1")
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        run_stage_20(files, pool_dir, tmp_path / "threads", 1)
    finally:
        torch.set_num_threads(threads)
    wav_scp = pool_dir / "wav.scp"
    wav_scp.write_text("".join(reversed(wav_scp.read_text().splitlines(keepends=True))))
    run_stage_20(files, pool_dir, tmp_path / "reversed", 2)
    expected = read(tmp_path / "one" / "scores.tsv")
    assert len(expected) == 6
    for other in ("three", "single", "threads", "reversed"):
        found = read(tmp_path / other / "scores.tsv")
        for a, b in zip(found, expected, strict=True):
            same_scores(a, b)


def same_scores(found: dict[str, str], expected: dict[str, str]) -> None:
    """Two rows of scores.tsv: numbers of the model within what is promised, all else equal."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name in ("confidence", "score_confidence"):
            assert float(found[name]) == pytest.approx(float(value), abs=CONFIDENCE), name
        elif name == "egl_stderr":
            score = float(expected["score_egl"])
            assert float(found[name]) == pytest.approx(float(value), abs=SPREAD * score), name
        elif name in ("mass", "score_egl"):
            assert float(found[name]) == pytest.approx(float(value), rel=ROUNDING), name
        else:
            assert found[name] == value, name


def test_what_is_transcribed_already_is_listed(
    model_files: Any, pool_dir: Path, tmp_path: Path
) -> None:
    train = tmp_path / "train"
    train.mkdir()
    first = (pool_dir / "wav.scp").read_text().splitlines()[0].split()
    (train / "wav.scp").write_text(f"other-name {first[1]}\n")
    run_stage_20(
        model_files("ctc_conformer"), pool_dir, tmp_path / "score", 1, exclude=(str(train),)
    )
    (row,) = read(tmp_path / "score" / "skipped.tsv")
    assert (row["utterance"], row["reason"]) == ("spk0-utt0", "already_transcribed")
    assert len(read(tmp_path / "score" / "scores.tsv")) == 5


def test_a_cut_journal_resumes_to_the_same_bytes(
    model_files: Any, dirty_pool: Path, tmp_path: Path
) -> None:
    files = model_files("ctc_conformer")
    run_stage_20(files, dirty_pool, tmp_path / "whole", 1)
    run_stage_20(files, dirty_pool, tmp_path / "cut", 1)
    output = tmp_path / "cut" / "logdir" / "output.1"
    whole = (output / "journal.jsonl").read_bytes()
    for end in (0, 1, len(whole) // 2, len(whole) - 1):
        (output / "scores.tsv").unlink()
        (output / "journal.jsonl").write_bytes(whole[:end])
        run_stage_20(files, dirty_pool, tmp_path / "cut", 1)
        assert (output / "journal.jsonl").read_bytes() == whole, end
        assert tables(tmp_path / "cut") == tables(tmp_path / "whole")


def test_a_damaged_table_is_made_anew_from_the_journal(
    model_files: Any, pool_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files, logdir = model_files("ctc_conformer"), tmp_path / "logdir"
    run_stage_20(files, pool_dir, tmp_path, 1)
    whole = tables(tmp_path)
    nbest = logdir / "output.1" / "nbest.tsv"
    nbest.write_text(nbest.read_text().replace("\t2\t", "\t3\t", 1))
    merge = ["--logdir", str(logdir), "--nj", "1", "--output_dir", str(tmp_path)]
    assert "nbest.tsv is not what was written there" in error_of(
        lambda: al_merge.main(merge), capsys
    )
    run_stage_20(files, pool_dir, tmp_path, 1)
    assert tables(tmp_path) == whole


def test_a_killed_job_resumes_to_the_same_bytes(
    model_files: Any, pool_dir: Path, tmp_path: Path
) -> None:
    """SIGKILL in the middle of a real process, then the same command again."""
    files = model_files("ctc_conformer")
    run_stage_20(files, pool_dir, tmp_path / "whole", 1)
    logdir = tmp_path / "killed" / "logdir"
    al_prepare.main(["--key_file", f"{pool_dir}/wav.scp", "--nj", "1", "--output_dir", str(logdir)])
    command = [sys.executable, "-m", "espnet_egl.bin.al_score"]
    command += score_command(files, pool_dir, logdir)
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    journal = logdir / "output.1" / "journal.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (journal.exists() and journal.stat().st_size):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert journal.stat().st_size > 0
    run_stage_20(files, pool_dir, tmp_path / "killed", 1)
    assert tables(tmp_path / "killed") == tables(tmp_path / "whole")


def test_a_pool_of_segments_is_scored_and_selected(
    model_files: Any, pool_dir: Path, tmp_path: Path
) -> None:
    uid, path = (pool_dir / "wav.scp").read_text().splitlines()[-1].split()
    (pool_dir / "wav.scp").write_text(f"{uid} cat {path} |\n")
    (pool_dir / "segments").write_text(f"a {uid} 0.0 0.4\nb {uid} 0.3 0.9\n")
    (pool_dir / "utt2spk").write_text("a s\nb s\n")
    logdir = tmp_path / "score" / "logdir"
    al_prepare.main(
        ["--key_file", f"{pool_dir}/segments", "--nj", "1", "--output_dir", str(logdir)]
    )
    command = score_command(model_files("ctc_conformer"), pool_dir, logdir)
    al_score.main([*command, "--segments", f"{pool_dir}/segments"])
    al_merge.main(["--logdir", str(logdir), "--nj", "1", "--output_dir", str(logdir.parent)])
    rows = read(tmp_path / "score" / "scores.tsv")
    assert [(r["utterance"], r["seconds"]) for r in rows] == [("a", "0.400"), ("b", "0.600")]
    select = ["--score_file", f"{tmp_path}/score/scores.tsv", "--data_dir", str(pool_dir)]
    al_select.main([*select, "--budget", "1utt", "--output_dir", str(tmp_path / "select")])
    al_export.main(["--select_dir", f"{tmp_path}/select", "--output_dir", f"{tmp_path}/annotate"])
    (task,) = read(tmp_path / "annotate" / "transcribe.tsv")
    assert task["audio"] == f"cat {path} |"
    assert float(task["end"]) - float(task["start"]) == pytest.approx(float(task["seconds"]))
    assert (tmp_path / "select" / "wav.scp").read_text() == f"{uid} cat {path} |\n"


def error_of(call: Any, capsys: pytest.CaptureFixture[str], whole: bool = False) -> str:
    with pytest.raises(SystemExit) as e:
        call()
    assert e.value.code == 1
    message = capsys.readouterr().err
    return message if whole else message.splitlines()[-1]


def test_other_settings_in_the_same_directory_are_refused(
    model_files: Any, pool_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = model_files("ctc_conformer")
    run_stage_20(files, pool_dir, tmp_path / "score", 1)
    command = score_command(files, pool_dir, tmp_path / "score" / "logdir")
    with pytest.raises(SystemExit):
        al_score.main([*command, "--egl_weights", "renormalized"])
    message = capsys.readouterr().err
    assert "egl_weights: 'raw' there, 'renormalized' now" in message
    assert "--al_tag" in message


def test_errors_name_what_to_do(
    model_files: Any, pool_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files, score_dir = model_files("ctc_conformer"), tmp_path / "score"
    run_stage_20(files, pool_dir, score_dir, 1)
    command = score_command(files, pool_dir, score_dir / "logdir")
    select = ["--score_file", f"{score_dir}/scores.tsv", "--data_dir", str(pool_dir)]
    select += ["--output_dir", str(tmp_path / "select")]
    assert "unknown acquisition method 'elg': choose from egl, confidence" in error_of(
        lambda: al_score.main([*command, "--methods", "elg"]), capsys
    )
    assert "larger than the pool's 6 scored utterances" in error_of(
        lambda: al_select.main([*select, "--budget", "7utt"]), capsys
    )
    assert "scored with egl, confidence, random, not with 'margin'" in error_of(
        lambda: al_select.main([*select, "--method", "margin"]), capsys
    )
    assert "no such score table; score the pool first (stage 20)" in error_of(
        lambda: al_select.main(["--score_file", "none.tsv", *select[2:]]), capsys
    )
    assert "unknown exporter 'xls': choose from tsv" in error_of(
        lambda: al_export.main(["--select_dir", ".", "--output_dir", ".", "--format", "xls"]),
        capsys,
    )
    (score_dir / "logdir/output.1/SHA256SUMS").unlink()
    assert "what writes it did not finish" in error_of(
        lambda: al_merge.main(
            ["--logdir", f"{score_dir}/logdir", "--nj", "1", "--output_dir", str(score_dir)]
        ),
        capsys,
    )


def test_a_selection_that_failed_does_not_refuse_the_mended_run(
    model_files: Any, pool_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    score_dir, selected = tmp_path / "score", tmp_path / "select"
    run_stage_20(model_files("ctc_conformer"), pool_dir, score_dir, 1)
    select = ["--score_file", f"{score_dir}/scores.tsv", "--data_dir", str(pool_dir)]
    select += ["--output_dir", str(selected)]
    (pool_dir / "utt2spk").rename(tmp_path / "utt2spk")
    (pool_dir / "utt2spk").write_text("a one\na two\n")
    assert "stands twice" in error_of(lambda: al_select.main([*select, "--budget", "2utt"]), capsys)
    (tmp_path / "utt2spk").replace(pool_dir / "utt2spk")
    al_select.main([*select, "--budget", "1utt"])
    assert len((selected / "wav.scp").read_text().splitlines()) == 1
    # What is finished is claimed.
    assert "budget: '1utt' there, '2utt' now" in error_of(
        lambda: al_select.main([*select, "--budget", "2utt"]), capsys, whole=True
    )


def test_a_lost_utterance_is_found_by_the_merge(
    model_files: Any, pool_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    score_dir = tmp_path / "score"
    run_stage_20(model_files("ctc_conformer"), pool_dir, score_dir, 1)
    shard = score_dir / "logdir" / "output.1" / "scores.tsv"
    lines = shard.read_text().splitlines(keepends=True)
    merge = ["--logdir", f"{score_dir}/logdir", "--nj", "1", "--output_dir", str(score_dir)]
    shard.write_text("".join(lines[:-1]))
    write_checksums(shard.parent, ["scores.tsv"])
    lost = lines[-1].split("\t")[0]
    assert f"1 lost ['{lost}']" in error_of(lambda: al_merge.main(merge), capsys)
    shard.write_text("".join([*lines, lines[-1]]))
    write_checksums(shard.parent, ["scores.tsv"])
    assert f"1 twice ['{lost}']" in error_of(lambda: al_merge.main(merge), capsys)


def test_the_manifest_says_what_the_scores_are_made_with(
    model_files: Any, pool_dir: Path, tmp_path: Path
) -> None:
    run_stage_20(model_files("ctc_conformer"), pool_dir, tmp_path / "score", 1)
    manifest = json.loads((tmp_path / "score/logdir/output.1/manifest.json").read_text())
    assert {"espnet", "torch", "espnet_egl", "asr_model_file_sha256", "key_file_sha256"} <= set(
        manifest
    )


# ---- what is fitted, embeddings, oracles ----

CHEAP = ("egl", "confidence", "entropy", "margin", "nbest_entropy", "expected_wer")


def test_predictions_are_fitted_on_one_set_and_made_on_another(
    model_files: Any, transcribed: Path, pool_dir: Path, tmp_path: Path, capsys: Any
) -> None:
    files, fit_dir = model_files("ctc_conformer"), tmp_path / "fit"
    text = ["--text", f"{transcribed}/text"]
    run_stage_20(
        *(files, transcribed, fit_dir, 2, "--methods", *CHEAP, "true_gl", "true_wer", *text),
        *("--write_nbest", "8"),
    )
    rows = read(fit_dir / "scores.tsv")
    assert len(rows) == 60
    assert all(float(r["score_true_gl"]) > 0 for r in rows)
    fitted = tmp_path / "fitted.yaml"
    al_fit.main(["--score_dir", str(fit_dir), *text, "--output_file", str(fitted)])
    printed = capsys.readouterr().out
    assert "predicted" in printed
    assert "Temperature of the posterior" in printed
    found = yaml.safe_load(fitted.read_text())
    assert found["true_gl"]["utterances"] == 60

    # A prediction that is worse than EGL's is refused; ours need not be better on noise.
    found["true_gl"]["spearman_egl"] = -1.0
    fitted.write_text(yaml.safe_dump(found))
    pool = ("--methods", *CHEAP, "predicted_gl", "--fitted", str(fitted))
    run_stage_20(files, pool_dir, tmp_path / "pool", 1, *pool)
    assert all(float(r["score_predicted_gl"]) >= 0 for r in read(tmp_path / "pool" / "scores.tsv"))
    found["true_gl"]["spearman_egl"] = 1.0
    fitted.write_text(yaml.safe_dump(found))
    with pytest.raises(SystemExit):
        run_stage_20(files, pool_dir, tmp_path / "refused", 1, *pool)
    assert "use egl, or fit to more utterances" in capsys.readouterr().err

    # The temperature weighs the hypotheses anew, and leaves all that is not EGL alone.
    found["temperature"] = 3.0
    fitted.write_text(yaml.safe_dump(found))
    auto = ("--egl_temperature", "auto", "--fitted", str(fitted))
    run_stage_20(files, pool_dir, tmp_path / "auto", 1, *auto)
    run_stage_20(files, pool_dir, tmp_path / "three", 1, "--egl_temperature", "3")
    run_stage_20(files, pool_dir, tmp_path / "one", 1)
    auto_rows, three, one = (read(tmp_path / n / "scores.tsv") for n in ("auto", "three", "one"))
    assert auto_rows == three
    assert [r["score_egl"] for r in three] != [r["score_egl"] for r in one]
    assert [r["score_confidence"] for r in three] == [r["score_confidence"] for r in one]


def test_oracles_need_transcripts_and_skip_what_has_none(
    model_files: Any, pool_dir: Path, tmp_path: Path, capsys: Any
) -> None:
    files = model_files("ctc_conformer")
    with pytest.raises(SystemExit):
        run_stage_20(files, pool_dir, tmp_path / "no", 1, "--methods", "true_gl")
    assert "true_gl needs the transcripts: give them with --text" in capsys.readouterr().err
    uids = sorted(line.split()[0] for line in (pool_dir / "wav.scp").read_text().splitlines())
    long = "abcde" * 40
    texts = {uids[0]: "a b", uids[1]: "", uids[2]: long, uids[3]: "c", uids[4]: "d e"}
    text = tmp_path / "text"
    text.write_text("".join(f"{u} {t}\n" for u, t in texts.items()))
    methods = ("--methods", "true_gl", "true_wer", "--text", str(text))
    run_stage_20(files, pool_dir, tmp_path / "yes", 1, *methods)
    skipped = {r["utterance"]: r["reason"] for r in read(tmp_path / "yes" / "skipped.tsv")}
    assert skipped == {
        uids[1]: "empty_transcript",
        uids[2]: "no_alignment",
        uids[5]: "no_transcript",
    }
    # In a simulation the others must not learn from the transcripts which clips are worthless.
    methods = ("--methods", "random", "egl")
    run_stage_20(files, pool_dir, tmp_path / "blind", 1, *methods)
    with_oracles = (*methods, "true_gl", "true_wer", "--text", str(text))
    run_stage_20(
        files, pool_dir, tmp_path / "all", 1, *with_oracles, "--skip_untranscribed", "false"
    )
    blind, seen = (read(tmp_path / name / "scores.tsv") for name in ("blind", "all"))
    assert [{k: row[k] for k in blind[0]} for row in seen] == blind
    assert len(seen) == 6
    for row in seen:
        worthless = row["utterance"] in skipped
        assert (float(row["score_true_gl"]) == 0) == worthless
        assert float(row["score_true_wer"]) == 0 or not worthless


def test_embeddings_follow_the_rows_of_the_table(
    model_files: Any, dirty_pool: Path, tmp_path: Path
) -> None:
    """Whatever the shards, and after a kill."""
    files = model_files("ctc_conformer")
    methods = ("--methods", "egl", "badge")
    for name, nj in (("one", 1), ("three", 3)):
        run_stage_20(files, dirty_pool, tmp_path / name, nj, *methods)
    one, three = (embeddings.read(tmp_path / n / "embeddings.npy") for n in ("one", "three"))
    assert one.shape == (6, 256)
    np.testing.assert_allclose(one, three, rtol=0, atol=ROUNDING * np.abs(one).max())
    for row, embedding in zip(read(tmp_path / "one" / "scores.tsv"), one, strict=True):
        squared = float(np.square(embedding, dtype=np.float64).sum())
        assert float(row["score_badge"]) == pytest.approx(squared, rel=ROUNDING)
    # As after a kill: the journal's last line is half written, the tables are not there.
    output = tmp_path / "one" / "logdir" / "output.1"
    # How long it took is not the same twice.
    before = {p.name: p.read_bytes() for p in output.iterdir() if p.name != "run.json"}
    journal = (output / "journal.jsonl").read_bytes()
    (output / "journal.jsonl").write_bytes(journal[: len(journal) // 2])
    for name in ("scores.tsv", "embeddings.npy"):
        (output / name).unlink()
    al_score.main([*score_command(files, dirty_pool, tmp_path / "one" / "logdir"), *methods])
    assert {name: (output / name).read_bytes() for name in before} == before


def test_speech_and_copies_are_told(model_files: Any, pool_dir: Path, tmp_path: Path) -> None:
    """Silence has no speech; the same samples have the same hash, others another."""
    first = (pool_dir / "wav.scp").read_text().splitlines()[0].split()[1]
    soundfile.write(tmp_path / "silence.wav", np.zeros(8000), 8000)
    with (pool_dir / "wav.scp").open("a") as f:
        f.write(f"x-copy {first}\nx-silence {tmp_path}/silence.wav\n")
    files = model_files("ctc_conformer")
    run_stage_20(files, pool_dir, tmp_path / "out", 1, "--methods", "random", "--vad", "true")
    rows = {r["utterance"]: r for r in read(tmp_path / "out" / "scores.tsv")}
    assert float(rows["x-silence"]["speech_seconds"]) == 0
    assert all(0 <= float(r["speech_seconds"]) <= float(r["seconds"]) for r in rows.values())
    hashes = [r["audio_hash"] for r in rows.values()]
    assert len(set(hashes)) == len(rows) - 1
