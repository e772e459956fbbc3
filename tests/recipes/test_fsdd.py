"""The experiment of RESULTS.md, short: a few clips of real speech, one budget, one seed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import TOKENS, task_of
from test_al_sh import run

from espnet_egl.store.tables import read_rows

RECIPES = Path(__file__).parents[2] / "recipes"


CONFIGS = {
    "hybrid": ("TransformerDecoder", ()),
    "transducer": ("TransducerDecoder", ()),
    "transducer_stateless": ("StatelessDecoder", ("--asr_task", "asr_transducer")),
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """The recipe with a few clips of the data set."""
    if "FSDD" not in os.environ:
        pytest.skip("FSDD names a copy of the data set")
    for name in ("TEMPLATE", "fsdd"):
        shutil.copytree(
            RECIPES / name,
            tmp_path / "recipes" / name,
            symlinks=True,
            ignore=shutil.ignore_patterns("data", "dump", "exp", "downloads"),
        )
    # What the recipes' links point to.
    package = Path("espnet_egl", "recipe")
    shutil.copytree(RECIPES.parent / package, tmp_path / package)
    shutil.copytree(RECIPES.parent / "conf", tmp_path / "conf")
    recipe = tmp_path / "recipes" / "fsdd" / "asr1"
    sizes = ["--num_train", "120", "--num_dev", "10", "--num_pool", "100", "--num_test", "30"]
    command = [sys.executable, "local/make_data.py", "--fsdd", os.environ["FSDD"], *sizes]
    subprocess.run(command, cwd=recipe, check=True)
    return recipe


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_is_of_the_model_that_it_says(name: str) -> None:
    from espnet_egl.model.compat import provide_rnnt_loss

    provide_rnnt_loss()
    path = RECIPES / "fsdd" / "asr1" / "conf" / f"train_asr_{name}.yaml"
    task = task_of(yaml.safe_load(path.read_text(encoding="utf-8")))
    args = task.get_parser().parse_args(["--config", str(path), "--output_dir", "unused"])
    args.token_list = TOKENS
    decoder, task_options = CONFIGS[name]
    assert type(task.build_model(args).decoder).__name__ == decoder
    assert task.__name__ == ("ASRTransducerTask" if task_options else "ASRTask")


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_other_models_are_trained_and_decoded(recipe: Path, name: str) -> None:
    decoding = f"conf/decode_asr_{name.removesuffix('_stateless')}.yaml"
    done = run(
        recipe, "./run.sh", "--asr_config", f"conf/train_asr_{name}.yaml", *CONFIGS[name][1],
        "--inference_config", decoding, "--asr_args", "--max_epoch 1", "--inference_nj", "1",
        "--inference_args", "--beam_size 2", "--stage", "3", "--stop_stage", "13", timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (directory,) = recipe.glob(f"exp/asr_train_asr_{name}_raw_en_char_*")
    assert (directory / "valid.loss.best.pth").exists()
    assert "| WER |" in (directory / "RESULTS.md").read_text()


@pytest.mark.slow
def test_a_learning_curve_of_real_speech(recipe: Path) -> None:
    small = ("--asr_exp", "exp/asr_short", "--inference_config", "conf/decode_simulation.yaml")
    small += ("--asr_args", "--max_epoch 2 --encoder_conf num_blocks=1", "--inference_nj", "1")
    done = run(recipe, "./run.sh", *small, "--stage", "3", "--stop_stage", "11", timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    done = run(
        recipe, "./run.sh", *small, "--stage", "20", "--al_simulate", "true",
        "--al_truth", "data/pool_truth/text", "--al_methods", "random egl",
        "--al_budgets", "40%", "--al_seeds", "1", "--al_nbest", "5", "--al_simulate_nj", "2",
        "--al_train_from", "last", "--al_inference_asr_model", "2epoch.pth", timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (simulation,) = recipe.glob("exp/al_*/sim")
    rows = {row["method"]: row for row in read_rows(simulation / "curve.tsv")}
    assert rows.keys() == {"", "random", "egl"}
    trained = [row for row in rows.values() if row["method"]]
    with (recipe / "data" / "pool" / "utt2dur").open() as f:
        hours = sum(float(line.split()[1]) for line in f) / 3600
    assert all(0.35 * hours < float(row["hours"]) <= 0.4001 * hours for row in trained)
    assert all(0 < float(row["wer_lo"]) <= float(row["wer"]) for row in rows.values())
    assert "| egl |" in (simulation / "worth_test.md").read_text()
    assert (simulation / "report" / "index.html").exists()
