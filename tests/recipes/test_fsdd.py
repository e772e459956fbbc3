"""The experiment of RESULTS.md, short: a few clips of real speech, one budget, one seed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_al_sh import run

from espnet_egl.store.tables import read_rows

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.slow
@pytest.mark.skipif("FSDD" not in os.environ, reason="FSDD names a copy of the data set")
def test_a_learning_curve_of_real_speech(tmp_path: Path) -> None:
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
