"""al.sh and the scripts beside it, run as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from conftest import make_speech
from speaking import spoken
from tolerances import ROUNDING

from espnet_egl.data.kaldi import read_table
from espnet_egl.store.files import parse_json
from espnet_egl.store.tables import read_rows

TEMPLATE = Path(__file__).parents[2] / "recipes" / "TEMPLATE" / "asr1"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe's directory: links into TEMPLATE and a run.sh that ends in ./al.sh."""
    directory = tmp_path / "recipes" / "corpus" / "asr1"
    directory.mkdir(parents=True)
    for name in ("al.sh", "asr.sh", "cmd.sh", "path.sh", "utils", "scripts"):
        (directory / name).symlink_to(TEMPLATE / name)
    run = directory / "run.sh"
    run.write_text(
        "#!/usr/bin/env bash\nset -euo pipefail\n./al.sh --train_set train --valid_set dev "
        '--test_sets "test" --token_type char --nj 2 --inference_nj 2 "$@"\n'
    )
    run.chmod(0o755)
    return directory


def run(directory: Path, *args: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    bin_dir = Path(sys.executable).parent
    return subprocess.run(
        args,
        cwd=directory,
        env={**os.environ, "PATH": f"{bin_dir}:{os.environ['PATH']}", "VIRTUAL_ENV": "active"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_help_tells_both_kinds_of_options(recipe: Path) -> None:
    done = run(recipe, "./run.sh", "--help")
    assert done.returncode == 0
    for option in ("--al_method", "--al_budget", "--egl_params", "--confidence_measure"):
        assert option in done.stdout
    for option in ("--asr_config", "--stage"):
        assert option in done.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--al_metod", "egl", "--stage", "20"), "invalid option --al_metod"),
        (("--al_rest", "x"), "invalid option --al_rest"),
        (("--asr_konfig", "x", "--stage", "20"), "invalid option --asr_konfig"),
        (("--asr_konfig", "x"), "invalid option --asr_konfig"),
        (("--stage", "twenty"), "are numbers, not 'twenty'"),
        (("--stage", "30"), "there is no stage 30: the last is 26"),
        (("--stage", "22", "--stop_stage", "21"), "--stop_stage 21 is before --stage 22"),
        (("--stage", "20", "--stop_stage", "13"), "--stop_stage 13 is before --stage 20"),
        (("--al_segment", "yes", "--stage", "20"), 'expected "auto", "true" or "false": --al_seg'),
        (("--al_gpu", "maybe", "--stage", "20"), 'expected "true" or "false": --al_gpu'),
        (("--al_allow_pipes", "no", "--stage", "20"), 'expected "true" or "false": --al_allow'),
        (("--al_budget",), "--al_budget needs a value"),
        (("--self_train_were", "1", "--stage", "24"), "invalid option --self_train_were"),
        (("--self_train_iterations", "0", "--stage", "24"), "is a number from 1 on, not '0'"),
        (("--al_budget=2utt", "--stage", "20"), "write '--al_budget 2utt' for --al_budget=2utt"),
        (("--stage", "20"), "no pool: neither dump/raw/pool nor data/pool"),
        (("--stage", "20", "--use_lm", "perhaps"), 'expected "true" or "false": --use_lm'),
    ],
)
def test_wrong_options_are_refused(recipe: Path, args: tuple[str, ...], message: str) -> None:
    done = run(recipe, "./run.sh", *args)
    assert done.returncode != 0
    assert message in done.stdout + done.stderr


def test_our_stages_run_only_when_asked_for(recipe: Path) -> None:
    """A bare run.sh is asr.sh's: it fails in its stage 1 here, and knows no stage 20."""
    done = run(recipe, "./run.sh")
    assert "Stage 1:" in done.stdout
    done = run(recipe, "./run.sh", "--stage", "14")
    assert done.returncode == 0, done.stderr
    assert "Stage 2" not in done.stdout
    done = run(recipe, "./run.sh", "--stage", "14", "--stop_stage", "20")
    assert "no pool" in done.stdout


def test_a_dry_run_says_what_would_be_used(recipe: Path) -> None:
    done = run(
        recipe, "./run.sh", "--stage", "20", "--al_dry_run", "true", "--asr_tag", "small",
        "--al_budget", "5h", "--al_nj", "3", "--al_tag", "plan",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    said = {line[:16].rstrip(): line[16:] for line in done.stdout.splitlines()}
    assert said["model"] == "exp/asr_small/valid.loss.best.pth (not there yet)"
    assert said["seed set"] == "dump/raw/train (not there yet)"
    assert said["pool"] == "data/pool (not there yet)"
    assert said["jobs"] == "3 by run.pl"
    assert said["method, budget"] == "egl, 5h"
    assert said["effort"].startswith("normal: 100 hypotheses by beam, exact up to 2000 utterances")
    assert said["scores"] == "exp/al_plan/r1/score"
    assert not (recipe / "exp").exists()
    # What asr.sh is sourced for does not look like the end of the run.
    assert "Successfully finished" not in done.stdout


def test_command_lines_are_shown_only_to_those_who_ask(recipe: Path) -> None:
    words = ["./run.sh", "--stage", "20", "--al_dry_run", "true"]
    done = run(recipe, *words)
    assert "al_check" not in done.stdout + done.stderr
    assert "--stop_stage 19" not in done.stdout + done.stderr
    done = run(recipe, *words, "--al_verbose", "true")
    assert "al_check.py" in done.stderr
    assert "--stop_stage 19" in done.stdout
    done = run(recipe, *words, "--al_verbose", "very")
    assert 'expected "true" or "false": --al_verbose very' in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--al_method", "elg"), "unknown acquisition method 'elg': choose from egl, "),
        (("--al_score_methods", "margin elg"), "unknown acquisition method 'elg'"),
        (("--al_budget", "5hours"), "budget '5hours': write it as 500utt, 2.5h"),
        (("--al_budget", "9EUR"), "budget '9EUR': give --price_per_hour"),
        (("--al_random_share", "2"), "--random_share must be from 0 to 1, not 2"),
        (("--al_select_args", "--cap_mapp x"), "unrecognized arguments: --cap_mapp x"),
        (("--al_format", "tvs"), "unknown exporter 'tvs': choose from tsv, csv"),
        (("--al_return_format", "tvs", "--stop_stage", "23"), "unknown importer 'tvs'"),
        (("--egl_mode", "fast"), "argument --egl_mode: invalid choice: 'fast'"),
        (("--al_config", "none.yaml"), "--config none.yaml: "),
        (("--al_config", "typo.yaml"), "typo.yaml: unknown option 'nbst' in section al_report"),
        (("--al_simulate", "true", "--al_budgets", "5% 9"), "budget '9': write it as"),
        (("--al_simulate", "true", "--al_methods", "egl+elg"), "unknown acquisition method 'elg'"),
        (("--al_simulate", "true", "--al_methods", "elg+self"), "unknown acquisition method 'elg'"),
        (("--al_simulate", "true", "--al_self_train", "true"), "write +self behind the methods"),
        (
            ("--al_self_train", "true", "--self_train_wer", "10"),
            "'10' is no share: write it as 10%",
        ),
        (("--self_train_ratio", "x"), "argument --self_train_ratio: "),
        (("--al_diversity", "bait"), "argument --diversity: invalid choice: 'bait'"),
        (("--al_simulate", "true", "--al_budget_total", "9h"), "counts over all rounds: give a pi"),
        (("--al_simulate", "true", "--al_config", "total.yaml"), "(budget_total of al_select) cou"),
        (("--al_pilot", "true", "--al_config", "total.yaml"), "(budget_total of al_select) counts"),
        (("--al_simulate", "true", "--al_ledger", "ledger.tsv"), "a simulation asks nobody, leave"),
        (("--al_simulate", "true", "--al_config", "ledger.yaml"), "a simulation asks nobody, leav"),
    ],
)
def test_what_later_stages_would_refuse_is_refused_at_once(
    recipe: Path, options: tuple[str, ...], message: str
) -> None:
    (recipe / "typo.yaml").write_text("al_report: {nbst: 3}\n")
    (recipe / "total.yaml").write_text("al_select: {budget_total: 9h}\n")
    (recipe / "ledger.yaml").write_text("al_import: {ledger: ledger.tsv}\n")
    done = run(recipe, "./run.sh", "--stage", "20", *options, "--al_dry_run", "true")
    assert done.returncode != 0
    assert message in done.stderr
    assert "A dry run" not in done.stdout


def test_a_dry_run_knows_the_config_and_what_wins_over_it(recipe: Path) -> None:
    (recipe / "al.yaml").write_text("al_select: {method: random, budget: 3utt}\n")
    dry = ("--stage", "20", "--al_dry_run", "true", "--al_config", "al.yaml")
    assert "method, budget  random, 3utt\n" in run(recipe, "./run.sh", *dry).stdout
    more = ("--al_method", "egl+margin", "--al_select_args", "--budget 2h --min_seconds 1")
    assert "method, budget  egl+margin, 2h\n" in run(recipe, "./run.sh", *dry, *more).stdout


@pytest.fixture
def pool_recipe(recipe: Path, pool_dir: Path, model_files: Any) -> Path:
    """The recipe with a pool in data/ and a trained model in exp/."""
    (recipe / "data").mkdir()
    (recipe / "data" / "pool").symlink_to(pool_dir)
    files = model_files("ctc_conformer")
    (recipe / "exp" / "asr_model").mkdir(parents=True)
    for path in (files.config, files.checkpoint):
        (recipe / "exp" / "asr_model" / path.name).symlink_to(path)
    (recipe / "decode.yaml").write_text("beam_size: 5\nmaxlenratio: -6\n")
    return recipe


OPTIONS = ["--asr_exp", "exp/asr_model", "--inference_config", "decode.yaml", "--al_nbest", "8"]


def test_a_model_that_is_not_there_is_noticed_before_any_job(pool_recipe: Path) -> None:
    def said(*options: str) -> str:
        done = run(pool_recipe, "./run.sh", "--stage", "20", *options)
        assert done.returncode == 1
        assert "Stage 20" not in done.stdout
        return done.stdout

    there = next((pool_recipe / "exp" / "asr_model").glob("*.pth")).name
    text = said("--asr_exp", "exp/asr_model", "--inference_asr_model", "none.pth")
    assert f"none.pth: with --inference_asr_model give one of those that are there: {there}" in text
    assert "no model in exp/asr_other: give the options that tr" in said("--asr_tag", "other")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "needs the pool's transcripts: --al_truth"),
        (("--al_truth", "data/none"), "--al_truth data/none: no such file"),
    ],
)
def test_a_simulation_says_which_transcripts_it_lacks(
    pool_recipe: Path, options: tuple[str, ...], message: str
) -> None:
    simulate = (*OPTIONS, "--stage", "20", "--al_simulate", "true")
    done = run(pool_recipe, "./run.sh", *simulate, *options)
    assert done.returncode == 1
    assert message in done.stdout


@pytest.mark.slow
def test_every_channel_of_a_call_is_scored_and_handed_over(
    pool_recipe: Path, pool_dir: Path
) -> None:
    path = Path(read_table(pool_dir / "wav.scp")["spk0-utt0"])
    left, rate = soundfile.read(path, dtype="float32")
    soundfile.write(path, np.stack([left, left[::-1]], 1), rate)
    (pool_recipe / "al.yaml").write_text("al_channel: {channel: mean}\n")  # the command line wins
    words = (*OPTIONS, "--stage", "20", "--al_budget", "7utt", "--al_config", "al.yaml")
    words = (*words, "--al_channel", "each", "--al_export_args", "--audio link", "--al_nj", "1")
    done = run(pool_recipe, "./run.sh", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    al_dir = pool_recipe / "exp" / "al_asr_model_pool"
    scored = [row["utterance"] for row in read_rows(al_dir / "r1" / "score" / "scores.tsv")]
    assert scored[:3] == ["spk0-utt0-ch1", "spk0-utt0-ch2", "spk0-utt2"]
    assert len(scored) == 7
    rows = read_rows(al_dir / "r1" / "annotate" / "transcribe.tsv")
    heard = {row["utterance"]: al_dir / "r1" / "annotate" / row["audio"] for row in rows}
    for uid, wave in (("spk0-utt0-ch1", left), ("spk0-utt0-ch2", left[::-1])):
        np.testing.assert_allclose(soundfile.read(heard[uid])[0], wave, atol=1e-4)
    assert read_table(al_dir / "r1" / "select" / "utt2spk")["spk0-utt0-ch2"] == "spk0-ch2"
    # Another choice is another pool.
    done = run(pool_recipe, "./run.sh", *words, "--al_channel", "first")
    assert done.returncode == 1
    pools = "exp/al_asr_model_pool/pool_each/segments, channel each there, data/pool/wav.scp now"
    assert f"was made for another pool: {pools}. Choose another --al_tag" in done.stderr
    done = run(pool_recipe, "./run.sh", *words, "--al_channel", "left")
    assert "neither first, mean, each, nor the number of a channel" in done.stdout + done.stderr


def test_long_recordings_are_cut(pool_recipe: Path, pool_dir: Path) -> None:
    """One is longer than the model's clips: its clips are scored, selected and handed over."""
    path = Path(read_table(pool_dir / "wav.scp")["spk0-utt0"])
    soundfile.write(path, spoken(1, 30), 8000)
    (pool_dir / "utt2dur").unlink()
    words = (
        *OPTIONS,
        "--al_budget",
        "100%",
        "--al_nj",
        "2",
        "--al_score_args",
        "--max_seconds 25 --vad true",
    )
    done = run(pool_recipe, "./run.sh", *words, "--stage", "20")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "left whole, being short enough: 5" in done.stderr
    al_dir = pool_recipe / "exp" / "al_asr_model_pool"
    cuts = read_table(al_dir / "pool_cut" / "segments")
    clips = {uid for uid in cuts if uid.startswith("spk0-utt0-0")}
    assert len(clips) > 2
    assert len(cuts) == len(clips) + 5
    rows = {r["utterance"]: r for r in read_rows(al_dir / "r1" / "score" / "scores.tsv")}
    assert rows.keys() == cuts.keys()
    speech = read_table(al_dir / "pool_cut" / "utt2speech")
    found = {uid: float(rows[uid]["speech_seconds"]) for uid in clips}
    assert found == {uid: float(seconds) for uid, seconds in speech.items()}
    selected = read_table(al_dir / "r1" / "select" / "segments")
    assert clips & selected.keys()
    handed_over = read_rows(al_dir / "r1" / "annotate" / "transcribe.tsv")
    assert {row["utterance"] for row in handed_over} == set(selected)
    # Later stages find the same clips, whatever is asked for.
    later = ("--stage", "21", "--al_select_tag", "more", "--al_segment", "false")
    done = run(pool_recipe, "./run.sh", *words, *later, "--al_ask_again", "true")
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_table(al_dir / "r1" / "select_more" / "segments") == selected
    # Again: nothing is done twice, and nothing changes.
    before = {p: p.read_bytes() for p in al_dir.rglob("*.tsv")}
    done = run(pool_recipe, "./run.sh", *words, "--stage", "20", "--stop_stage", "20")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {p: p.read_bytes() for p in al_dir.rglob("*.tsv")} == before


def test_recordings_whose_transcripts_are_given_are_not_cut(
    pool_recipe: Path, pool_dir: Path
) -> None:
    """They are of the whole. Without them it is cut, and what is short keeps its scores."""
    path = Path(read_table(pool_dir / "wav.scp")["spk0-utt0"])
    soundfile.write(path, spoken(1, 20), 8000)
    (pool_dir / "utt2dur").unlink()
    truth = pool_recipe / "truth"
    truth.write_text("".join(f"{uid} a b\n" for uid in read_table(pool_dir / "wav.scp")))
    words = (*OPTIONS, "--stage", "20", "--stop_stage", "20", "--al_nj", "1")
    words = (*words, "--al_score_args", "--max_seconds 5")
    done = run(pool_recipe, "./run.sh", *words, "--al_truth", "truth")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Recordings are not cut: their transcripts" in done.stdout
    al_dir = pool_recipe / "exp" / "al_asr_model_pool"
    (row,) = read_rows(al_dir / "r1" / "score" / "skipped.tsv")
    assert (row["utterance"], row["reason"]) == ("spk0-utt0", "too_long")
    first = {r["utterance"]: r for r in read_rows(al_dir / "r1" / "score" / "scores.tsv")}
    assert not (al_dir / "pool_cut").exists()
    # Nor are the channels of a model that takes them together.
    done = run(pool_recipe, "./run.sh", *words, "--audio_format", "multi_wav")
    assert "Recordings are not cut: the model takes all channels together" in done.stdout
    assert not (al_dir / "pool_cut").exists()
    # Nor is anything before it is seen that there is a model.
    done = run(pool_recipe, "./run.sh", *words, "--inference_asr_model", "other.pth")
    assert "no model exp/asr_model/other.pth" in done.stdout
    assert not (al_dir / "pool_cut").exists()
    done = run(pool_recipe, "./run.sh", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {r["utterance"]: r for r in read_rows(al_dir / "r1" / "score" / "scores.tsv")}
    assert {uid: rows[uid] for uid in first} == first
    assert parse_json((al_dir / "r1" / "score" / "run.json").read_text())["known_by_audio"] == 5
    cuts = read_table(al_dir / "pool_cut" / "segments")
    assert rows.keys() == cuts.keys()
    assert len(cuts) > len(first) + 3


def test_stages_20_to_22(pool_recipe: Path) -> None:
    done = run(
        pool_recipe, "./run.sh", *OPTIONS, "--stage", "20", "--al_budget", "2utt", "--al-nj", "2"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    round_dir = pool_recipe / "exp" / "al_asr_model_pool" / "r1"
    scores = (round_dir / "score" / "scores.tsv").read_text().splitlines()
    assert len(scores) == 7
    assert len((round_dir / "select" / "wav.scp").read_text().splitlines()) == 2
    assert (round_dir / "annotate" / "transcribe.tsv").exists()
    assert "Selected 2 of 6 utterances by egl" in done.stdout
    assert (round_dir / "score" / "logdir" / "output.2").is_dir()
    # Again: nothing is done twice, and nothing changes.
    before = {p: p.read_bytes() for p in round_dir.rglob("*.tsv")}
    done = run(pool_recipe, "./run.sh", *OPTIONS, "--stage", "20", "--al_budget", "2utt")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {p: p.read_bytes() for p in round_dir.rglob("*.tsv")} == before
    # Another method reads the scores that are there, and must not overwrite the selection.
    done = run(
        pool_recipe, "./run.sh", *OPTIONS, "--stage", "21", "--al_budget", "2utt",
        "--al_method", "confidence",
    )  # fmt: skip
    assert done.returncode != 0
    assert "method: 'egl' there, 'confidence' now" in done.stderr


def add_clip(recipe: Path, uid: str, path: Path) -> None:
    pool = recipe / "data" / "pool"
    for name, value in (("wav.scp", str(path)), ("utt2spk", uid), ("utt2dur", "0.400")):
        rows = read_table(pool / name) | {uid: value}
        (pool / name).write_text("".join(f"{u} {rows[u]}\n" for u in sorted(rows)))


def take_clip(recipe: Path, uid: str) -> str:
    pool = recipe / "data" / "pool"
    found = read_table(pool / "wav.scp")[uid]
    for name in ("wav.scp", "utt2spk", "utt2dur"):
        lines = (pool / name).read_text().splitlines(keepends=True)
        (pool / name).write_text("".join(x for x in lines if not x.startswith(f"{uid} ")))
    return found


@pytest.mark.slow
def test_a_pool_grows_and_only_what_is_new_is_scored(pool_recipe: Path, tmp_path: Path) -> None:
    def score(*options: str) -> str:
        words = ("--stage", "20", "--stop_stage", "20", "--al_hyp_source", "ctc_sample")
        done = run(pool_recipe, "./run.sh", *OPTIONS, *words, *options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def rows() -> dict[str, dict[str, str]]:
        return {row["utterance"]: row for row in read_rows(score_dir / "scores.tsv")}

    score_dir = pool_recipe / "exp" / "al_asr_model_pool" / "r1" / "score"
    assert "The pool: 0 known, 6 new, 0 changed, 0 gone" in score()
    before = rows()
    # One is new, one another one, one is gone, one has another id and lies elsewhere.
    for name, seed in (("new", 20), ("other", 21)):
        soundfile.write(tmp_path / f"{name}.wav", make_speech(0.4, seed=seed), 8000)
    add_clip(pool_recipe, "a-new", tmp_path / "new.wav")
    add_clip(pool_recipe, "spk0-utt2", tmp_path / "other.wav")
    take_clip(pool_recipe, "spk1-utt1")
    moved = Path(take_clip(pool_recipe, "spk1-utt3")).rename(tmp_path / "moved.wav")
    add_clip(pool_recipe, "z-moved", moved)
    said = score()
    assert "The pool: 3 known, 2 new, 1 changed, 2 gone" in said
    assert "1 of them not anew: their ids or places changed, not their audio" in said
    now = rows()
    same = ["spk0-utt0", "spk0-utt4", "spk1-utt5"]
    assert list(now) == ["a-new", "spk0-utt0", "spk0-utt2", "spk0-utt4", "spk1-utt5", "z-moved"]
    assert {uid: now[uid] for uid in same} == {uid: before[uid] for uid in same}
    assert now["z-moved"] == before["spk1-utt3"] | {"utterance": "z-moved"}
    assert now["spk0-utt2"]["audio_hash"] != before["spk0-utt2"]["audio_hash"]
    assert [row["utterance"] for row in read_rows(score_dir / "gone.tsv")] == [
        *("spk1-utt1", "spk1-utt3")
    ]
    words = {line.split()[0] for line in (score_dir / "words.ctm").read_text().splitlines()}
    assert words <= now.keys()
    arrivals = json.loads((score_dir / "manifest.json").read_text())["arrivals"]
    counts = [(a["known"], a["new"], a["changed"], a["gone"]) for a in arrivals]
    assert counts == [(0, 6, 0, 0), (3, 2, 1, 2)]
    assert arrivals[0]["list_sha256"] != arrivals[1]["list_sha256"]
    # At once it is the same but for rounding: batches are others.
    score("--al_tag", "at_once")
    fresh = read_rows(pool_recipe / "exp" / "al_at_once" / "r1" / "score" / "scores.tsv")
    assert [row["utterance"] for row in fresh] == list(now)
    for row in fresh:
        assert row["audio_hash"] == now[row["utterance"]]["audio_hash"]
        if row["utterance"] != "z-moved":  # its samples were drawn under another id
            np.testing.assert_allclose(
                float(row["score_egl"]), float(now[row["utterance"]]["score_egl"]), rtol=ROUNDING
            )
    # What is gone is not selected, and listed; other options are refused, as ever.
    words = ("--stage", "21", "--stop_stage", "21", "--al_budget", "100%")
    done = run(pool_recipe, "./run.sh", *OPTIONS, *words)
    assert "Selected 6 of 6" in done.stdout, done.stdout + done.stderr
    filtered = read_rows(score_dir.parent / "select" / "filtered.tsv")
    assert [(row["utterance"], row["reason"]) for row in filtered] == [
        *(("spk1-utt1", "gone"), ("spk1-utt3", "gone"))
    ]
    for grows in (False, True):
        if grows:
            add_clip(pool_recipe, "b-new", tmp_path / "other.wav")
        words = ("--stage", "20", "--stop_stage", "20", "--al_hyp_source", "ctc_sample")
        done = run(pool_recipe, "./run.sh", *OPTIONS, *words, "--al_seed", "7")
        assert done.returncode == 1
        assert "seed: 0 there, 7 now" in done.stdout
    assert "The pool: 6 known, 1 new, 0 changed, 2 gone" in score()


def test_the_config_counts_and_the_command_line_wins(pool_recipe: Path) -> None:
    (pool_recipe / "al.yaml").write_text(
        "al_score: {methods: [random, confidence], nbest: 3}\n"
        "al_select: {method: random, budget: 3utt}\n"
    )
    options = [*OPTIONS, "--al_config", "al.yaml"]
    done = run(pool_recipe, "./run.sh", *options, "--stage", "20")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Selected 3 of 6 utterances by random" in done.stdout
    round_dir = pool_recipe / "exp" / "al_asr_model_pool" / "r1"
    header, *rows = (round_dir / "score" / "scores.tsv").read_text().splitlines()
    assert header.split("\t")[7:] == ["score_random", "score_confidence", "audio_hash"]
    assert max(int(row.split("\t")[3]) for row in rows) > 3  # --al_nbest 8 of OPTIONS
    done = run(
        pool_recipe, "./run.sh", *options, "--stage", "21", "--al_method", "confidence",
        "--al_budget", "1utt", "--al_select_args", f"--output_dir {pool_recipe}/other",
    )  # fmt: skip
    assert "Selected 1 of 6 utterances by confidence" in done.stdout


def test_values_that_look_like_options_stay_values(recipe: Path) -> None:
    """--asr_args takes options of asr_train, whatever their names."""
    done = run(
        recipe, "./run.sh", "--asr_args", "--al_nonsense", "--stage", "14", "--stop_stage", "14"
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_a_shell_would_read_stays_out_of_its_sight(pool_recipe: Path) -> None:
    """Kaldi's run.pl and its kin paste the words of a command into a script, unquoted."""
    pattern = r"^ctc\.(ctc_lo|no pe)\.*$|after_norm"
    done = run(
        pool_recipe, "./run.sh", *OPTIONS, "--stage", "20", "--egl_params", pattern,
        "--al_hyp_source", "ctc_sample", "--egl_mode", "estimate", "--al_budget", "2utt",
        "--inference_args", "--beam_size 4", "--confidence_alpha", "0.5",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    logdir = pool_recipe / "exp" / "al_asr_model_pool" / "r1" / "score" / "logdir"
    command = (logdir / "al_score.1.log").read_text().splitlines()[0]
    assert not set("()|$*\\'") & set(command)
    manifest = json.loads((logdir / "output.1" / "manifest.json").read_text())
    assert manifest["egl_params"] == pattern
    assert manifest["inference_args"].strip() == "--beam_size 4"
    assert manifest["egl_mode"] == "estimate"
    assert manifest["confidence_alpha"] == 0.5
    # Another selection from the same scores, beside the first.
    done = run(
        pool_recipe, "./run.sh", *OPTIONS, "--stage", "21", "--al_method", "confidence",
        "--al_select_tag", "sure", "--al_budget", "1utt",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert len((logdir.parents[1] / "select_sure" / "wav.scp").read_text().splitlines()) == 1
    assert (logdir.parents[1] / "annotate_sure" / "transcribe.tsv").exists()
    # Other settings on the same scores: the whole message is shown.
    done = run(pool_recipe, "./run.sh", *OPTIONS, "--stage", "20", "--al_budget", "2utt")
    assert done.returncode != 0
    assert "egl_params: " in done.stdout
    assert "Choose another --al_tag or --al_round" in done.stdout


def words_told(recipe: Path, *options: str) -> list[str]:
    """What al.sh says to the first command that reads audio, which ends before it reads any."""
    python = recipe / "python.sh"
    python.write_text(
        '#!/bin/bash\n[[ "$2" =~ al_(score|export|train_data|report)$ ]] || exec python3 "$@"\n'
        'for word in "$@"; do\n'
        '    if [ "${word}" != "${word#@}" ]; then cat "${word#@}"; else echo "${word}"; fi\n'
        "done > words\nexit 3\n"
    )
    python.chmod(0o755)
    words = ("--python", "./python.sh", "--al_nj", "1", *options)
    assert run(recipe, "./run.sh", *OPTIONS, *words).returncode != 0
    return (recipe / "words").read_text().splitlines()


def test_training_follows_how_the_seed_set_was_dumped(pool_recipe: Path) -> None:
    def told() -> str:
        words = words_told(pool_recipe, "--stage", "24", "--audio_format", "flac.ark")
        return words[words.index("--audio_format") + 1]

    assert told() == "flac.ark"
    # As asr.sh has it, what stands with the set comes first.
    (pool_recipe / "dump" / "raw" / "train").mkdir(parents=True)
    (pool_recipe / "dump" / "raw" / "train" / "audio_format").write_text("wav\n")
    assert told() == "wav"


@pytest.mark.parametrize(
    ("stage", "command", "allowed"),
    [
        ("20", "al_score", "false"),
        ("22", "al_export", "false"),
        ("24", "al_train_data", "false"),
        ("20", "al_score", ""),
    ],
)
def test_one_option_keeps_commands_from_every_reader_of_audio(
    pool_recipe: Path, stage: str, command: str, allowed: str
) -> None:
    """What reads audio is told."""
    options = ["--al_allow_pipes", allowed] if allowed else []
    words = words_told(pool_recipe, "--stage", stage, *options)
    assert f"espnet_egl.bin.{command}" in words
    told = [b for a, b in pairwise(words) if a == "--allow_pipes"]
    assert told == ([allowed] if allowed else [])


def test_the_report_is_told_where_the_annotators_files_are(pool_recipe: Path) -> None:
    assert "--annotate_dir" not in words_told(pool_recipe, "--stage", "26")
    annotate = pool_recipe / "exp" / "al_asr_model_pool" / "r1" / "annotate"
    annotate.mkdir(parents=True)
    words = words_told(pool_recipe, "--stage", "26")
    assert words[words.index("--annotate_dir") + 1] == str(annotate.relative_to(pool_recipe))


def test_a_failing_job_is_shown(pool_recipe: Path) -> None:
    options = (*OPTIONS, "--inference_args", "--beam_sise 4", "--stage", "20")
    done = run(pool_recipe, "./run.sh", *options)
    assert done.returncode != 0
    assert "unrecognized arguments: --beam_sise 4" in done.stdout + done.stderr


def cluster_that_fails(recipe: Path, *lines: str) -> None:
    """One that runs nothing, but writes a line into each job's log."""
    cluster = recipe / "cluster.sh"
    jobs = (f'echo "{line}" > "${{4/JOB/{job}}}"\n' for job, line in enumerate(lines, 1))
    cluster.write_text("#!/bin/bash\n" + "".join(jobs) + "exit 1\n")
    cluster.chmod(0o755)
    (recipe / "cmd.sh").unlink()
    (recipe / "cmd.sh").write_text('decode_cmd="./cluster.sh"\n')


def test_the_job_that_failed_is_shown_not_one_that_skipped(pool_recipe: Path) -> None:
    skipped = "WARNING: u5 skipped: unexpected_error: RuntimeError: a layer"
    cluster_that_fails(pool_recipe, skipped, "al_score: error: the reason")
    done = run(pool_recipe, "./run.sh", *OPTIONS, "--stage", "20")
    assert done.returncode == 1
    assert "al_score.2.log:\nal_score: error: the reason" in done.stdout
    assert "u5" not in done.stdout


def test_a_killed_job_shows_the_end_of_its_log(pool_recipe: Path) -> None:
    """A log that holds no message of ours."""
    cluster_that_fails(pool_recipe, "out of memory")
    done = run(pool_recipe, "./run.sh", *OPTIONS, "--stage", "20")
    assert done.returncode == 1
    assert "out of memory" in done.stdout
    assert "Warning: no data of train is here" in done.stderr


def test_a_pool_without_audio_is_refused(recipe: Path) -> None:
    (recipe / "data" / "pool").mkdir(parents=True)
    done = run(recipe, "./run.sh", "--stage", "20")
    assert done.returncode == 1
    assert "data/pool has neither wav.scp nor feats.scp. Put the untranscribed" in done.stdout


def run_pl(directory: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return run(directory, str(TEMPLATE / "utils" / "run.pl"), *args)


def test_run_pl_runs_arrays_and_keeps_arguments_whole(tmp_path: Path) -> None:
    done = run_pl(
        tmp_path, "--gpu", "0", "--max-jobs-run", "1", "JOB=1:3", "log/x.JOB.log",
        "printf", "<%s>", "job JOB", "it's $HOME; \"quoted\" *", "",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for job in (1, 2, 3):
        log = (tmp_path / "log" / f"x.{job}.log").read_text()
        assert f'<job {job}><it\'s $HOME; "quoted" *><>' in log
        assert "Ended (status: 0)" in log


def test_run_pl_names_the_jobs_that_failed(tmp_path: Path) -> None:
    done = run_pl(tmp_path, "JOB=1:3", "x.JOB.log", "bash", "-c", "exit $((JOB == 2 ? 7 : 0))")
    assert done.returncode == 1
    assert "1 of 3 jobs failed, log: x.2.log" in done.stderr
    assert "Ended (status: 7)" in (tmp_path / "x.2.log").read_text()


def test_run_pl_refuses_what_it_cannot_run(tmp_path: Path) -> None:
    assert run_pl(tmp_path, "x.log", "no_such_command").returncode == 1
    assert "usage" in run_pl(tmp_path, "JOB=0:2", "x.log", "true").stderr


def test_scoring_counts_words_and_characters(tmp_path: Path) -> None:
    """two words of five wrong: one deleted, one substituted."""
    (tmp_path / "ref").write_text("a one two\nb three four five\n")
    (tmp_path / "hyp").write_text("a one\nb three for five\n")
    script = TEMPLATE / "scripts" / "score.py"
    done = run(
        tmp_path, sys.executable, str(script), "--ref", "ref", "--hyp", "hyp",
        "--output_dir", "exp/decode/test",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = (tmp_path / "exp/decode/test/score_wer/result.txt").read_text()
    assert result.startswith("%WER 40.00 [ 2 / 5, 0 ins, 1 del, 1 sub ]\n2 utterances")
    done = run(tmp_path, sys.executable, str(script), "--results", "exp")
    assert "| WER | decode/test | 40.00 | 2 | 5 | 0 | 1 | 1 |" in done.stdout


@pytest.mark.slow
def test_a_temperature_is_fitted_to_a_transcribed_set(pool_recipe: Path, transcribed: Path) -> None:
    options = [*OPTIONS, "--stage", "20", "--stop_stage", "20", "--egl_temperature", "auto"]
    done = run(pool_recipe, "./run.sh", *options, "--al_fit_set", "transcribed")
    assert done.returncode != 0
    assert "audio and text are needed in data/transcribed" in done.stdout + done.stderr
    (pool_recipe / "data" / "transcribed").symlink_to(transcribed)
    done = run(pool_recipe, "./run.sh", *options, "--al_fit_set", "transcribed")
    assert done.returncode == 0, done.stdout + done.stderr
    round_dir = pool_recipe / "exp" / "al_asr_model_pool" / "r1"
    fitted = yaml.safe_load((round_dir / "fit" / "fitted.yaml").read_text())
    assert fitted["true_gl"]["utterances"] == 60
    manifest = json.loads((round_dir / "score/logdir/output.1/manifest.json").read_text())
    assert manifest["egl_temperature"] == fitted["temperature"] > 0
    assert "Temperature of the posterior" in done.stdout
    # Half of what was recognised is taken for the truth: right and wrong words to learn from.
    directory = pool_recipe / "data" / "half_right"
    directory.mkdir()
    for name in ("wav.scp", "utt2spk"):
        (directory / name).symlink_to(transcribed / name)
    scores = [line.split("\t") for line in (round_dir / "fit/scores.tsv").read_text().splitlines()]
    heard = {row[0]: row[6] if i % 2 else "e e e" for i, row in enumerate(scores[1:])}
    (directory / "text").write_text("".join(f"{u} {text}\n" for u, text in heard.items()))
    learn = [*OPTIONS, "--stage", "20", "--stop_stage", "20", "--al_method", "confidence"]
    learn += ["--al_calibrate", "true", "--al_fit_set", "half_right", "--al_tag", "calibrated"]
    done = run(pool_recipe, "./run.sh", *learn)
    assert done.returncode == 0, done.stdout + done.stderr
    score_dir = pool_recipe / "exp" / "al_calibrated" / "r1" / "score"
    raw, calibrated = (score_dir / name for name in ("", "calibrated"))
    assert (
        read_table(calibrated / "utt2confidence").keys()
        == read_table(raw / "utt2confidence").keys()
    )
    assert (calibrated / "words.ctm").read_bytes() != (raw / "words.ctm").read_bytes()
    both = [*options, "--al_fit_set", "transcribed", "--al_method", "predicted_gl"]
    done = run(pool_recipe, "./run.sh", *both)
    assert "give a number for --egl_temperature" in done.stdout + done.stderr


@pytest.mark.slow
def test_a_batch_covers_what_the_pool_or_a_target_holds(
    pool_recipe: Path, transcribed: Path
) -> None:
    """The training set is known, and the target set's transcripts pull at its gradients."""
    train = pool_recipe / "dump" / "raw" / "train"
    train.mkdir(parents=True, exist_ok=True)
    for name in ("wav.scp", "text"):
        (train / name).write_text((transcribed / name).read_text())
    target = pool_recipe / "data" / "target"
    target.mkdir()
    rows = read_table(transcribed / "wav.scp")
    (target / "wav.scp").write_text("".join(f"x{u} {path}\n" for u, path in rows.items()))
    texts = list(read_table(transcribed / "text").items())[:40]
    (target / "text").write_text("".join(f"x{u} {text}\n" for u, text in texts))
    options = [*OPTIONS, "--stage", "20", "--stop_stage", "21", "--al_budget", "3utt"]
    done = run(pool_recipe, "./run.sh", *options, "--al_method", "target")
    assert done.returncode != 0
    assert "the method target needs a target set" in done.stdout + done.stderr
    options += ["--al_diversity", "fisher", "--al_target_set", "target", "--al_method", "target"]
    done = run(pool_recipe, "./run.sh", *options, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    round_dir = pool_recipe / "exp" / "al_asr_model_pool" / "r1"
    assert (round_dir / "seed" / "clips").read_text() == "60\n"
    header, *scored = (round_dir / "target" / "scores.tsv").read_text().splitlines()
    assert "score_true_gradient" in header
    column = header.split("\t").index("score_true_gradient")
    # What has no transcript pulls by its best hypothesis.
    assert [float(row.split("\t")[column]) > 0 for row in scored] == [True] * 40 + [False] * 20
    scores = read_rows(round_dir / "score" / "scores.tsv", ("score_target", "score_fisher"))
    assert len({row["score_target"] for row in scores}) == len(scores)
    reasons = [row["reason"] for row in read_rows(round_dir / "select" / "selection.tsv")]
    assert len(reasons) == 3
    assert all(reason.startswith("picked by fisher, target rank ") for reason in reasons)
    made_with = parse_json((round_dir / "select" / "manifest.json").read_text())
    assert made_with["target_score_dir_sha256"] != made_with["seed_score_dir_sha256"]


def test_several_methods_a_random_share_and_diversity(pool_recipe: Path) -> None:
    done = run(
        *(pool_recipe, "./run.sh", *OPTIONS, "--stage", "20", "--al_budget", "4utt"),
        *("--al_method", "egl+margin", "--al_fusion", "alternate", "--al_diversity", "kmeans++"),
        *("--al_random_share", "0.5", "--al_seed", "3"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    round_dir = pool_recipe / "exp" / "al_asr_model_pool" / "r1"
    header, *_ = (round_dir / "score" / "scores.tsv").read_text().splitlines()
    methods = ["egl", "margin", "badge", "confidence", "random"]
    assert [c for c in header.split("\t") if c.startswith("score_")] == [
        f"score_{m}" for m in methods
    ]
    rows = (round_dir / "select" / "selection.tsv").read_text().splitlines()[1:]
    reasons = [row.split("\t")[5] for row in rows]
    # One after the other: whatever comes back first has some of both.
    assert {reasons[0], reasons[2]} == {"random"} or {reasons[1], reasons[3]} == {"random"}
    assert sum(r.startswith("picked by kmeans++, ") for r in reasons) == 2
    manifest = json.loads((round_dir / "select" / "manifest.json").read_text())
    assert (manifest["seed"], manifest["fusion"]) == (3, "alternate")
