"""al.sh beside s2t.sh, ESPnet's script for OWSM."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import owsm
import pytest
import soundfile
import yaml
from conftest import TRANSFORMER_DECODER, make_pool, make_speech

from espnet_egl import recipe as recipes
from espnet_egl.data.kaldi import read_table
from espnet_egl.store.tables import read_rows, read_scores

TEMPLATE = Path(__file__).parents[2] / "recipes" / "TEMPLATE" / "asr1"
CALL = "./s2t.sh --train_set train --valid_set dev --test_sets test --token_type bpe --nbpe 32"
# What a training of the model of tests/owsm.py is told.
TRAINING = {
    "encoder": "conformer",
    "encoder_conf": owsm.OWSM["encoder_conf"],
    "decoder": "transformer",
    "decoder_conf": TRANSFORMER_DECODER,
    "model_conf": {"ctc_weight": 0.3},
    "frontend_conf": {k: v for k, v in owsm.FRONTEND.items() if k != "fs"},
    "preprocessor": "s2t",
    "preprocessor_conf": {
        "fs": 8000,
        "speech_length": owsm.WINDOW,
        "notime_symbol": "<notimestamps>",
        "first_time_symbol": owsm.TIMES[0],
        "last_time_symbol": owsm.TIMES[-1],
        "speech_resolution": 0.5,
    },
    "optim": "adam",
    "max_epoch": 1,
    "batch_size": 4,
    "best_model_criterion": [["valid", "loss", "min"]],
    "num_workers": 0,
    "use_tensorboard": False,
}


def script() -> str:
    """The stand-in asr.sh with s2t in asr's place, and the two texts that s2t.sh has beside."""
    text = (TEMPLATE / "asr.sh").read_text().replace('"${asr_task}"', "s2t")
    for part in ("train", "valid"):
        line = f'    --{part}_data_path_and_name_and_type "${{data_feats}}/${{{part}_set}}/'
        line += 'text,text,text"\n'
        assert line in text
        more = [line.replace("/text,text,", f"/text.{n},text_{n},") for n in ("prev", "ctc")]
        text = text.replace(line, line + "".join(more))
        shape = f'            --{part}_shape_file "${{asr_stats_dir}}/{part}/'
        shape += 'text_shape.${token_type}" \\\n'
        assert shape in text
        text = text.replace(shape, "")
    text = text.replace('            --fold_length "${asr_text_fold_length}" \\\n', "")
    text = text.replace("asr_tag}", "s2t_tag}").replace("asr", "s2t")
    return (
        text.replace("s2t_task=s2t ", "s2t_task=asr ")
        .replace('" asr s2t_transducer "', '" asr asr_transducer "')
        .replace('[[ " s2t s2t_transducer "', '[[ " asr asr_transducer "')
    )


def write_set(directory: Path, name: str, count: int, seed: int) -> None:
    rows: dict[str, list[str]] = {}
    (directory / "audio").mkdir(exist_ok=True)
    for i in range(count):
        uid, seconds = f"{name}-{i}", 0.6 + 0.1 * i
        path = directory / "audio" / f"{uid}.wav"
        soundfile.write(path, make_speech(seconds, seed=seed + i), 8000)
        texts = {"text": f"<eng><asr><0.00> a bad<{seconds:.2f}>", "text.prev": "<na>"}
        texts |= {"text.ctc": "a bad", "wav.scp": str(path), "utt2spk": name}
        for file, value in {**texts, "utt2dur": f"{seconds:.2f}"}.items():
            rows.setdefault(file, []).append(f"{uid} {value}\n")
    out = directory / "dump" / "raw" / name
    out.mkdir(parents=True)
    for file, lines in rows.items():
        (out / file).write_text("".join(lines))
    (out / "spk2utt").write_text(f"{name} " + " ".join(f"{name}-{i}" for i in range(count)) + "\n")
    (out / "feats_type").write_text("raw\n")
    (out / "audio_format").write_text("wav\n")


@pytest.fixture
def s2t_recipe(tmp_path: Path) -> Path:
    """A recipe with a trained model, sets and a pool."""
    directory = tmp_path / "corpus" / "s2t1"
    directory.mkdir(parents=True)
    for name in ("cmd.sh", "path.sh", "utils", "scripts"):
        (directory / name).symlink_to(TEMPLATE / name)
    for name, content in (
        ("s2t.sh", script()),
        ("run.sh", f'#!/usr/bin/env bash\nset -euo pipefail\n{CALL} "$@"\n'),
    ):
        (directory / name).write_text(content)
        (directory / name).chmod(0o755)
    files = owsm.write_model(directory / "exp" / "s2t_small", **owsm.OWSM)
    config = yaml.safe_load(files.config.read_text())
    tokens = directory / "data" / "token_list" / "bpe_unigram32"
    tokens.mkdir(parents=True)
    (tokens / "tokens.txt").write_text("".join(f"{t}\n" for t in config["token_list"]))
    (tokens / "bpe.model").write_bytes(Path(config["bpemodel"]).read_bytes())
    for seed, (name, count) in enumerate({"train": 4, "dev": 2, "test": 2}.items()):
        write_set(directory, name, count, 10 * seed)
    make_pool(directory)
    (directory / "conf").mkdir()
    (directory / "conf" / "train.yaml").write_text(yaml.safe_dump(TRAINING))
    return directory


def run(directory: Path, *args: str) -> str:
    done = subprocess.run(
        args,
        cwd=directory,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "VIRTUAL_ENV": "active",
            "ESPNET_TRAIN_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


OPTIONS = ["--fs", "8k", "--s2t_tag", "small", "--al_prompt", "<eng><asr>", "--inference_nj", "1"]
OPTIONS += ["--inference_args", "--beam_size 4 --maxlenratio -4"]
OPTIONS += ["--al_budget", "3utt", "--al_effort", "quick", "--al_nbest", "20"]


def test_stages_beside_s2t_sh(s2t_recipe: Path) -> None:
    steps = recipes.plan(s2t_recipe, apply=True)
    recipes.carry_out(steps)
    assert "./al.sh --train_set" in (s2t_recipe / "run.sh").read_text()
    said = run(s2t_recipe, "./run.sh", *OPTIONS, "--stage", "20")
    assert "model=exp/s2t_small/valid.loss.best.pth" in said
    round_dir = s2t_recipe / "exp" / "al_s2t_small_pool" / "r1"
    assert (read_scores(round_dir / "score" / "scores.tsv")["score_egl"] > 0).all()
    rows = read_rows(round_dir / "annotate" / "transcribe.tsv")
    assert len(rows) == 3
    assert not any("<eng>" in cell for row in rows for cell in row.values())
    recipes.carry_out(recipes.removal(s2t_recipe))
    assert "./s2t.sh --train_set" in (s2t_recipe / "run.sh").read_text()
    assert not (s2t_recipe / "al.sh").exists()


@pytest.mark.slow
def test_a_round_of_fine_tuning(s2t_recipe: Path) -> None:
    """Stages 20-26; what is labelled gets the three texts as the seed set has them."""
    recipes.carry_out(recipes.plan(s2t_recipe, apply=True))
    truth = s2t_recipe / "truth"
    pool = read_table(s2t_recipe / "data" / "pool" / "utt2dur")
    truth.write_text("".join(f"{uid} dad bade\n" for uid in pool))
    said = run(
        s2t_recipe, "./run.sh", *OPTIONS, "--stage", "20", "--stop_stage", "26",
        "--al_truth", "truth", "--al_train_from", "last", "--s2t_config", "conf/train.yaml",
        "--feats_normalize", "utterance_mvn",
    )  # fmt: skip
    assert "Successfully finished" in said
    round_dir = s2t_recipe / "exp" / "al_s2t_small_pool" / "r1"
    (joined,) = (s2t_recipe / "dump" / "raw").glob("train_*")
    labelled = read_table(round_dir / "labelled" / "text")
    assert len(labelled) == 3
    texts = {name: read_table(joined / name) for name in ("text", "text.prev", "text.ctc")}
    for uid in labelled:
        assert re.fullmatch(r"<eng><asr><0\.00> dad bade<\d\.\d\d>", texts["text"][uid])
        assert (texts["text.prev"][uid], texts["text.ctc"][uid]) == ("<na>", "dad bade")
    assert all(len(table) == 7 for table in texts.values())
    train = yaml.safe_load((round_dir / "asr" / "config.yaml").read_text())
    assert train["init_param"] == ["exp/s2t_small/valid.loss.best.pth"]
    curve = read_rows(round_dir.parent / "curve.tsv")
    assert [row["round"] for row in curve] == ["0", "1"]
