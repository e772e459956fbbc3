"""A genuine egs3 recipe, as ESPnet's wheel has it, from training to the learning curve."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from conftest import SPH2PIPE
from slurm_node import slurm_node

from espnet_egl.data.kaldi import read_table
from espnet_egl.store.tables import read_rows

pytestmark = [pytest.mark.slow, pytest.mark.integration]
TABLES = ("scores.tsv", "nbest.tsv", "skipped.tsv", "words.ctm", "utt2confidence")
TRAINING = ("--training_config", "conf/training_asr_transformer.yaml")
DECODING = ("--inference_config", "conf/inference.yaml", "--metrics_config", "conf/metrics.yaml")
# Small batches, so that a kill finds a journal half written.
AL_CONFIG = """
parallel: {n_workers: 2}
al_score: {nbest: 10, inference_args: --beam_size 10, egl_batch_bins: 50000}
al_select: {budget: 3utt}
al_import: {truth: data/pool_text}
"""
# A node that is not told how much memory it has gives none away.
SLURM = """
parallel:
  env: slurm
  n_workers: 2
  options: {queue: cpu, cores: 1, memory: 4GB, walltime: "00:20:00", job_directives_skip: ["--mem"]}
"""
# The only change of a recipe's run.py.
BEFORE = (
    "from espnet3.systems.esp2_asr.system import ASRSystem\n"
    "from espnet3.systems.launch import launch\n"
)
AFTER = "from espnet_egl.espnet3 import ASRSystem, launch\n"


def environment(recipe: Path) -> dict[str, str]:
    """This Python first, and one thread a process, as Dask's workers have."""
    path = ":".join([str(recipe.parent / "bin"), str(Path(sys.executable).parent)])
    modules = f".:{os.environ.get('PYTHONPATH', '')}"
    threads = {"OMP_NUM_THREADS": "1"}
    return {**os.environ, **threads, "PATH": f"{path}:{os.environ['PATH']}", "PYTHONPATH": modules}


def run(recipe: Path, *words: str) -> str:
    """What it printed; fails with it where it failed."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=recipe,
        env=environment(recipe),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mini_an4, trained by its own stages, and a pool of its audio at half the volume."""
    for module in ("espnet3.contract.stages", "dask.distributed", "lightning", "tensorboard"):
        pytest.importorskip(module)
    spec = importlib.util.find_spec("egs3.mini_an4.esp2_asr")
    assert spec is not None
    assert spec.origin is not None
    directory = tmp_path_factory.mktemp("egs3") / "recipe"
    shutil.copytree(Path(spec.origin).parent, directory)
    if not shutil.which("sph2pipe"):
        tool = directory.parent / "bin" / "sph2pipe"
        tool.parent.mkdir()
        tool.write_text(SPH2PIPE)
        tool.chmod(0o755)
    script = (directory / "run.py").read_text()
    assert BEFORE in script
    (directory / "run.py").write_text(script.replace(BEFORE, AFTER))
    (directory / "conf" / "al.yaml").write_text(AL_CONFIG)
    # All stages of training, by our launcher: they are still ESPnet's.
    stages = ("create_dataset", "train_tokenizer", "collect_stats", "train")
    run(directory, "run.py", "--stages", *stages, *TRAINING)
    pool = directory / "data" / "pool"
    pool.mkdir()
    rows: dict[str, list[str]] = {"wav.scp": [], "utt2spk": [], "../pool_text": []}
    for manifest in sorted((directory / "data" / "manifest").glob("*.tsv")):
        for uid, path, text in (line.split("\t") for line in manifest.read_text().splitlines()):
            wave, rate = soundfile.read(path)
            soundfile.write(pool / f"{uid}.wav", 0.5 * wave, rate)
            rows["wav.scp"].append(f"pool-{uid} {pool / uid}.wav\n")
            rows["utt2spk"].append(f"pool-{uid} {uid.split('-')[0]}\n")
            rows["../pool_text"].append(f"pool-{uid} {text}\n")
    for name, lines in rows.items():
        (pool / name).write_text("".join(sorted(lines)))
    return directory


@pytest.fixture(scope="module")
def al(recipe: Path) -> Callable[..., str]:
    """Run stages with the recipe's configs."""

    def call(*stages: str, training: tuple[str, ...] = TRAINING) -> str:
        return run(
            recipe,
            *("run.py", "--stages", *stages, *training, *DECODING),
            *("--al_config", "conf/al.yaml"),
        )

    return call


def journals(recipe: Path) -> int:
    """How many utterances are scored."""
    paths = (recipe / "exp/al/r1/score/logdir").glob("output.*/journal.jsonl")
    return sum(path.read_bytes().count(b"\n") for path in paths)


@pytest.fixture(scope="module")
def scored(recipe: Path, al: Callable[..., str]) -> Path:
    """The scores, of a run that was killed once."""
    words = ["run.py", "--stages", "al_score", *TRAINING, *DECODING, "--al_config", "conf/al.yaml"]
    with subprocess.Popen(
        [sys.executable, *words],
        cwd=recipe,
        env=environment(recipe),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while process.poll() is None and not journals(recipe):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert 0 < journals(recipe) < 7
    assert not (recipe / "exp/al/r1/score/scores.tsv").exists()
    time.sleep(5)  # Dask's workers notice that their parent is gone
    assert "Resuming" in al("al_score")
    return recipe / "exp/al/r1/score"


def test_scores_are_those_of_the_commands(recipe: Path, scored: Path) -> None:
    reference = recipe / "exp" / "reference"
    logdir = reference / "logdir"
    commands, pool = "espnet_egl.bin", "data/pool"
    keys = ("--key_file", f"{pool}/wav.scp", "--pool_dir", pool, "--nj", "2")
    run(recipe, "-m", f"{commands}.al_prepare", *keys, "--output_dir", str(logdir))
    for job in (1, 2):
        run(
            recipe,
            *("-m", f"{commands}.al_score", "--nbest", "10", "--egl_batch_bins", "50000"),
            # As the packaged al.yaml has it, which a System reads.
            *("--egl_weights", "renormalized", "--vad", "true"),
            *("--key_file", f"{logdir}/keys.{job}.scp", "--output_dir", f"{logdir}/output.{job}"),
            *("--data_path_and_name_and_type", f"{pool}/wav.scp,speech,sound"),
            *("--asr_train_config", "exp/training_asr_transformer/config.yaml"),
            "--asr_model_file",
            "exp/training_asr_transformer/epoch0_step1_valid.loss.ckpt",
            *("--inference_args", "--beam_size 10 --ctc_weight 0.3"),
        )
    output = ("--logdir", str(logdir), "--nj", "2", "--output_dir", str(reference))
    run(recipe, "-m", f"{commands}.al_merge", *output)
    assert len(read_rows(scored / "scores.tsv")) == 7
    for name in TABLES:
        assert (scored / name).read_bytes() == (reference / name).read_bytes(), name


def test_slurms_scores_are_the_same(
    recipe: Path, scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Dask's workers as Slurm's jobs."""
    local = AL_CONFIG.split("\n", 2)[2]
    (recipe / "conf" / "al_slurm.yaml").write_text(SLURM + local)
    words = ["run.py", "--stages", "al_score", *TRAINING, *DECODING]
    with slurm_node(tmp_path, monkeypatch):
        printed = run(recipe, *words, "--al_config", "conf/al_slurm.yaml")
        jobs = subprocess.run(["scontrol", "show", "jobs"], capture_output=True, text=True).stdout
    assert jobs.count("JobName=dask-worker") == 2, jobs + printed
    for name in TABLES:
        found = recipe / "exp" / "al_slurm" / "r1" / "score" / name
        assert found.read_bytes() == (scored / name).read_bytes(), name


def test_to_the_annotators_and_back(recipe: Path, scored: Path, al: Callable[..., str]) -> None:
    printed = al("al_select", "al_export")
    assert "Selected 3 of 7 utterances by egl" in printed
    assert "To transcribe, most valuable first (3 clips" in printed
    al("infer", "measure", "al_curve")
    printed = al("al_import", "al_train_data")
    assert "Transcribed: 3 clips" in printed
    assert "exp/al/r1/training.yaml" in printed
    stages = ("collect_stats", "train", "infer", "measure", "al_curve", "al_worth")
    al(*stages, training=("--training_config", "exp/al/r1/training.yaml"))
    train = [read_table(recipe / d / "train/feats_shape") for d in ("exp/stats", "exp/al/r1/stats")]
    assert [len(table) for table in train] == [4, 7]
    points = read_rows(recipe / "exp/al/curve.tsv")
    found = [(p["method"], p["round"], p["test_set"], p["utterances"]) for p in points]
    assert sorted(found) == [
        ("", "0", "test", "0"),
        ("", "0", "valid", "0"),
        ("egl", "1", "test", "3"),
        ("egl", "1", "valid", "3"),
    ]
    assert "| egl |" in (recipe / "exp/al/worth.md").read_text()


def test_another_model_under_the_same_round_is_refused(
    recipe: Path, scored: Path, al: Callable[..., str]
) -> None:
    before = (scored / "scores.tsv").read_bytes()
    config = recipe / "conf" / "al.yaml"
    config.write_text(AL_CONFIG.replace("nbest: 10", "nbest: 9"))
    with pytest.raises(AssertionError, match="nbest: 10 there, 9 now"):
        al("al_score")
    config.write_text(AL_CONFIG)
    assert (scored / "scores.tsv").read_bytes() == before
