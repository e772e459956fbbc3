"""Stages 23-25 and the simulation, run as a user runs them, with ESPnet's training."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
from conftest import make_pool, make_transcribed

from espnet_egl.data.kaldi import read_table
from espnet_egl.store.files import lock

TEMPLATE = Path(__file__).parents[2] / "recipes" / "TEMPLATE" / "asr1"
CONFIG = """
frontend_conf: {n_fft: 128, win_length: 128, hop_length: 64, n_mels: 20}
encoder: transformer
encoder_conf: {output_size: 16, attention_heads: 2, linear_units: 16, num_blocks: 1,
  input_layer: conv2d}
model_conf: {ctc_weight: 1.0}
optim_conf: {lr: 0.01}
batch_type: folded
batch_size: 8
max_epoch: 1
keep_nbest_models: 1
num_workers: 0
use_matplotlib: false
use_tensorboard: false
num_att_plot: 0
"""
SIMULATION = ["--stage", "20", "--al_simulate", "true", "--al_truth", "truth", "--al_rounds", "2"]
SIMULATION += ["--al_methods", "random confidence", "--al_budgets", "4utt", "--al_seeds", "1"]
SIMULATION += ["--al_simulate_nj", "2", "--al_hyp_source", "ctc_sample"]
SIMULATION += ["--al_curve_args", "--price_per_clip 3"]


# A model that is sure of anything has learnt a little longer.
SELF_TRAINING = ["--al_fit_set", "fit", "--al_train_from", "last", "--self_train_share", "100%"]
SELF_TRAINING += ["--al_train_args", "--max_epoch 8 --optim_conf lr=0.03"]


def command(*args: str) -> list[str]:
    return [
        *("./al.sh", "--train_set", "train", "--valid_set", "dev", "--test_sets", "test"),
        *("--token_type", "char", "--feats_normalize", "utterance_mvn", "--fs", "8k"),
        *("--asr_config", "train.yaml", "--nj", "1", "--inference_nj", "1"),
        *("--inference_args", "--beam_size 4 --ctc_weight 1.0 --maxlenratio -4", *args),
    ]


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "VIRTUAL_ENV": "active", "ESPNET_TRAIN_THREADS": "1"}


def run(directory: Path, *args: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(*args),
        cwd=directory,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done


def make_recipe(home: Path) -> Path:
    """A recipe with sixty transcribed clips and a pool of six."""
    pool, transcribed = make_pool(home), make_transcribed(home)
    directory = home / "recipes" / "corpus" / "asr1"
    directory.mkdir(parents=True)
    for name in ("al.sh", "asr.sh", "cmd.sh", "path.sh", "utils", "scripts"):
        (directory / name).symlink_to(TEMPLATE / name)
    (directory / "train.yaml").write_text(CONFIG)
    scp, text = (read_table(transcribed / name) for name in ("wav.scp", "text"))
    uids = sorted(text)
    for name, part in (("train", uids[:40]), ("dev", uids[40:50]), ("test", uids[50:])):
        data = directory / "dump" / "raw" / name
        data.mkdir(parents=True)
        for file, rows in (("wav.scp", scp), ("text", text), ("utt2spk", {u: u for u in part})):
            (data / file).write_text("".join(f"{u} {rows[u]}\n" for u in part))
        (data / "feats_type").write_text("raw\n")
    tokens = directory / "data" / "token_list" / "char" / "tokens.txt"
    tokens.parent.mkdir(parents=True)
    tokens.write_text("<blank>\n<unk>\n<space>\na\nb\nc\nd\ne\n<sos/eos>\n")
    (directory / "data" / "pool").symlink_to(pool)
    # No two transcripts are alike, and none stands anywhere else.
    truth = {
        uid: f"a b {'fghijk'[i] * 7}" for i, uid in enumerate(sorted(read_table(pool / "wav.scp")))
    }
    (directory / "truth").write_text("".join(f"{uid} {t}\n" for uid, t in truth.items()))
    return directory


def make_fit_set(recipe: Path) -> None:
    """All that is transcribed, to learn from what a model's confidences are worth."""
    clip = read_table(recipe / "dump" / "raw" / "train" / "wav.scp")["t00"]
    (recipe / "data" / "fit").symlink_to(Path(clip).parent)


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    """See :func:`make_recipe`."""
    return make_recipe(tmp_path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a model of one epoch; its tests have copies."""
    directory = make_recipe(tmp_path_factory.mktemp("trained"))
    run(directory, "--stage", "10", "--stop_stage", "12")
    return directory


@pytest.fixture
def recipe(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained recipe, of one test's own; the audio is shared."""
    return shutil.copytree(trained, tmp_path / "recipes" / "corpus" / "asr1", symlinks=True)


def test_another_format_goes_out_and_comes_back_by_one_option(untrained: Path) -> None:
    home = untrained / "exp" / "al_x" / "r1"
    pool = read_table(untrained / "data" / "pool" / "wav.scp")
    row = "{}\t0.5\t0.5\tegl\ta b\n"
    files = {
        "selection.tsv": "utterance\tseconds\tconfidence\treason\tbest_hypothesis\n"
        + "".join(map(row.format, pool)),
        "wav.scp": "".join(f"{uid} {path}\n" for uid, path in pool.items()),
        "utt2dur": "".join(f"{uid} 0.5\n" for uid in pool),
        "utt2spk": "".join(f"{uid} s\n" for uid in pool),
        "manifest.json": '{"method": "egl", "budget": "6utt"}',
    }
    (home / "select").mkdir(parents=True)
    for name, text in files.items():
        (home / "select" / name).write_text(text)
    (home / "score").mkdir()
    (home / "score" / "nbest.tsv").write_text("utterance\trank\tlog_prob\ttext\n")
    options = ["--al_tag", "x", "--stage", "22", "--stop_stage", "23", "--al_format", "nemo"]
    options += ["--al_export_args", "--audio cut --audio_format wav"]
    done = run(untrained, *options)
    manifest = home / "annotate" / "manifest.jsonl"
    assert f"Nothing is transcribed yet. Fill in {manifest.relative_to(untrained)}" in done.stdout
    lines = manifest.read_text().splitlines(keepends=True)
    assert len(list((home / "annotate" / "audio").glob("*.wav"))) == len(lines) == 6
    manifest.write_text(lines[0].replace('"text": ""', '"text": "a b"') + "".join(lines[1:]))
    run(untrained, *options)
    (uid,) = read_table(home / "labelled" / "text")
    # What came back may be of another format than what went out.
    table = untrained / "more.csv"
    table.write_text(f"utterance,transcript\n{uid},a b\n{sorted(pool)[-1]},b\n")
    back = ["--al_return", "more.csv", "--al_return_format", "csv", "--stage", "23"]
    run(untrained, *options, *back)
    assert read_table(home / "labelled" / "text") == {uid: "a b", sorted(pool)[-1]: "b"}


def test_transcripts_come_back_and_the_model_is_trained(recipe: Path) -> None:
    run(recipe, "--stage", "20", "--al_method", "confidence", "--al_budget", "4utt")
    home = next((recipe / "exp").glob("al_*"))
    table = home / "r1" / "annotate" / "transcribe.tsv"
    header, *rows = table.read_text().splitlines()
    rows[0] = rows[0][:-1] + "a b z\t"
    rows[1] += "not speech"
    table.write_text("\n".join([header, *rows]) + "\n")
    options = "--optim_conf lr=0.005"
    done = run(recipe, "--stage", "23", "--al_train_args", options)
    assert "Transcribed: 1 clip," in done.stdout
    assert "Still out: 2 clips" in done.stdout
    assert "the model does not know: z, in 1 transcript" in done.stdout
    assert "40 of the seed set, 1 labelled" in done.stdout
    points = (home / "curve.tsv").read_text().splitlines()[1:]
    assert [p.split("\t")[1:5] for p in points] == [
        ["", "0", "0", ""],
        ["confidence", "0", "1", "4utt"],
    ]
    config = (home / "r1" / "asr" / "config.yaml").read_text()
    assert "lr: 0.005" in config
    with lock(home / "r1" / ".asr.lock"):
        done = run(
            recipe, "--stage", "24", "--stop_stage", "24", "--al_train_args", options, fails=True
        )
    assert "is being trained by another process" in done.stdout
    # Once more, nothing is trained: ESPnet might go on where it ended.
    trained = (home / "r1" / "asr" / "checkpoint.pth").stat().st_mtime_ns
    done = run(recipe, "--stage", "24", "--stop_stage", "24", "--al_train_args", options)
    assert "asr is trained already" in done.stdout
    assert (home / "r1" / "asr" / "checkpoint.pth").stat().st_mtime_ns == trained
    # The next round is scored by the new model, without what was asked already.
    done = run(recipe, "--stage", "20", "--stop_stage", "20", "--al_round", "2")
    assert f"model={home.relative_to(recipe)}/r1/asr/" in done.stdout
    scored = {
        line.split("\t")[0] for line in (home / "r2/score/scores.tsv").read_text().splitlines()
    }
    asked = set(read_table(home / "r1" / "select" / "wav.scp"))
    assert len(asked) == 4
    assert len(scored - {"utterance"}) == 2
    assert not scored & asked


@pytest.mark.slow
def test_a_pilot_is_one_command_given_twice(recipe: Path) -> None:
    pilot = ["--stage", "20", "--stop_stage", "26", "--al_pilot", "true", "--al_budget", "4utt"]
    pilot += ["--al_method", "confidence", "--al_inference_asr_model", "latest.pth"]
    make_fit_set(recipe)
    pilot += ["--al_self_train", "true", *SELF_TRAINING]
    done = run(recipe, *pilot)
    home = next((recipe / "exp").glob("al_*"))
    assert "Nothing is transcribed yet. Fill in" in done.stdout
    assert "people transcribe; then stage 23" in (home / "state.yaml").read_text()
    table = home / "r1" / "annotate" / "transcribe.tsv"
    selection = (home / "r1" / "select" / "selection.tsv").read_bytes()
    assert selection.count(b"\trandom\t") == 2
    header, *rows = table.read_text().splitlines()
    filled = [row[:-1] + "a b\t" for row in rows]
    # The first to come back are one of each kind; then all.
    table.write_text("\n".join([header, *filled[:2], *rows[2:]]) + "\n")
    assert "Labelled: 2 clips" in run(recipe, *pilot).stdout
    table.write_text("\n".join([header, *filled]) + "\n")
    done = run(recipe, "--stage", "23", "--stop_stage", "23", *pilot[4:])
    assert (
        "was trained on other transcripts"
        in run(recipe, "--stage", "25", *pilot[2:], fails=True).stderr
    )
    done = run(recipe, *pilot)
    assert (home / "r1" / "asr.1" / "train_seconds").exists()
    assert (home / "r1" / "select" / "selection.tsv").read_bytes() == selection
    answer = (home / "r1" / "pilot_test.md").read_text()
    assert "Labelled: 4 clips" in answer
    assert "Trained on the chosen half alone" in answer
    assert "Trained by its own hypotheses on " in answer
    # What was made by the model of fewer transcripts is another one's.
    assert (home / "r1" / "self.1" / "self_training.tsv").exists()
    assert all(line in done.stdout for line in answer.splitlines()[1:])
    report = (home / "report" / "report.md").read_text()
    assert all(line in report for line in answer.splitlines()[1:])
    assert report.count("| train_seconds |") == 4
    names = {row.split("\t")[1] for row in (home / "curve.tsv").read_text().splitlines()[1:]}
    parts = {"confidence:chosen", "confidence:random", "confidence+self"}
    assert names == {"", "confidence", *parts}
    assert "the next round" in (home / "state.yaml").read_text()
    for part, count in (("", 44), ("_chosen", 42), ("_random", 42)):
        train = recipe / "dump" / "raw" / f"train_{home.name}_r1_asr{part}"
        assert len(read_table(train / "text")) == count


def killed(recipe: Path) -> None:
    """Start the simulation and kill all of it while it trains."""
    process = subprocess.Popen(
        command(*SIMULATION), cwd=recipe, env=environment(), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + 300
    while not list(recipe.glob("exp/al_*/sim/cells/*/*/*/r1/asr/train.log")):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.2)
    # run.pl and its jobs are of the same process group.
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_a_simulation_hides_transcripts_and_survives_a_kill(recipe: Path) -> None:
    killed(recipe)
    run(recipe, *SIMULATION)
    home = next((recipe / "exp").glob("al_*"))
    curve = (home / "sim" / "curve.tsv").read_bytes()
    report = (home / "sim" / "report" / "report.md").read_text()
    assert r'| methods | \["random", "confidence"\] |' in report
    assert report.count("| train_seconds |") == 1
    rows = [line.split("\t") for line in curve.decode().splitlines()[1:]]
    assert sorted({row[1] for row in rows}) == ["", "confidence", "random"]
    assert [row[5] for row in rows if row[1] == "random"] == ["2", "4"]
    assert [row[7] for row in rows if row[1] == "random"] == ["6.00", "12.00"]
    # Only what a cell selected has its transcript anywhere in that cell, or in the shared scores.
    truth = read_table(recipe / "truth")
    for cell in (home / "sim" / "cells").glob("*/*/seed*"):
        asked = {u for r in (1, 2) for u in read_table(cell / f"r{r}" / "select" / "wav.scp")}
        assert len(asked) == 4
        check_hidden(cell, {truth[u] for u in truth.keys() - asked})
    check_hidden(home / "sim" / "scored", set(truth.values()))
    # Again from nothing, undisturbed: the same.
    shutil.rmtree(home)
    run(recipe, *SIMULATION)
    assert (home / "sim" / "curve.tsv").read_bytes() == curve


@pytest.mark.slow
def test_a_selection_without_speech_is_paid_for_all_the_same(recipe: Path) -> None:
    truth, paths = (read_table(recipe / name) for name in ("truth", "data/pool/wav.scp"))
    longest = sorted(truth, key=lambda uid: -soundfile.info(paths[uid]).frames)
    truth |= dict.fromkeys(longest[:2], "")
    (recipe / "truth").write_text("".join(f"{uid} {text}\n" for uid, text in truth.items()))
    done = run(recipe, *SIMULATION, "--al_methods", "longest")
    assert "The report" in done.stdout
    table = next((recipe / "exp").glob("al_*/sim/curve.tsv")).read_text()
    before, first, second = (line.split("\t") for line in table.splitlines()[1:])
    assert first[1:6] == ["longest", "0", "1", "4utt", "2"]
    assert first[9:] == before[9:]
    assert second[1:6] == ["longest", "0", "2", "4utt", "4"]
    (home,) = (recipe / "exp").glob("al_*/sim/cells/longest/4utt/seed0")
    assert not (home / "r1" / "asr").exists()
    trained = next((recipe / "dump" / "raw").glob("train_*_r2_asr"))
    assert len(read_table(trained / "text")) == 42


def check_hidden(directory: Path, transcripts: set[str]) -> None:
    for path in directory.rglob("*"):
        if path.is_file() and path.suffix != ".pth":
            content = path.read_bytes()
            for transcript in transcripts:
                assert transcript.split()[-1].encode() not in content, path


@pytest.mark.slow
def test_the_model_trains_itself_on_the_rest_of_the_pool(recipe: Path) -> None:
    simulation = [*SIMULATION, *SELF_TRAINING, "--al_rounds", "1"]
    simulation += ["--al_methods", "random+self random", "--al_simulate_nj", "1"]
    done = run(recipe, *simulation, fails=True)
    assert "audio and text are needed in data/fit" in done.stdout + done.stderr
    assert not list((recipe / "exp").glob("al_*/sim/scored"))
    make_fit_set(recipe)
    run(recipe, *simulation)
    home = next((recipe / "exp").glob("al_*"))
    rows = [row.split("\t") for row in (home / "sim/curve.tsv").read_text().splitlines()[1:]]
    # What is not labelled is not paid for.
    assert [(row[1], row[5], row[7]) for row in rows[1:]] == [
        ("random", "4", "12.00"),
        ("random+self", "4", "12.00"),
    ]
    plain, alone = (home / "sim/cells" / m / "4utt/seed0/r1" for m in ("random", "random+self"))
    assert (alone / "asr").resolve() == (plain / "asr").resolve()
    assert not (plain / "self").exists()
    asked = read_table(alone / "select" / "wav.scp")
    table = (alone / "self" / "self_training.tsv").read_text().splitlines()[1:]
    taken = {row.split("\t")[0] for row in table if "\ttaken\t" in row}
    assert len(table) == 2
    assert taken == set(read_table(alone / "self" / "text"))
    assert not taken & asked.keys()
    (train,) = (recipe / "dump" / "raw").glob("train_*self_*_r1_asr_self")
    assert len(read_table(train / "text")) == 44 + len(taken)
    log = (alone / "stage23.log").read_text()
    assert "of their words are wrong; in truth" in log
    # Stages 24 and 25 of a round go on where they were, and nothing is scored again.
    stages = [*SELF_TRAINING, "--al_truth", "truth", "--al_self_train", "true"]
    stages += ["--al_method", "random", "--al_budget", "4utt", "--al_tag", "round"]
    done = run(recipe, "--stage", "20", "--stop_stage", "25", *stages)
    state = (recipe / "exp" / "al_round" / "state.yaml").read_text()
    assert "by the model itself" in state
    assert "random+self, 4 clips" in state
    scored = recipe / "exp" / "al_round" / "r1" / "self" / "score" / "scores.tsv"
    before = scored.stat().st_mtime_ns
    done = run(recipe, "--stage", "24", "--stop_stage", "24", *stages)
    assert "asr_self is trained already" in done.stdout
    done = run(recipe, "--stage", "20", "--stop_stage", "20", "--al_round", "2", *stages)
    assert "model=exp/al_round/r1/asr_self/" in done.stdout
    assert before <= scored.stat().st_mtime_ns
