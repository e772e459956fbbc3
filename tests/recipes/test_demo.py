"""The demo from data to selection, small: ESPnet's training, decoding and our stages."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_al_sh import run

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.slow
def test_from_data_to_selection(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader", reason="the extra 'demo' is not installed")
    for name in ("TEMPLATE", "demo"):
        shutil.copytree(
            RECIPES / name,
            tmp_path / "recipes" / name,
            symlinks=True,
            ignore=shutil.ignore_patterns("data", "dump", "exp"),
        )
    # What the recipes' links point to.
    package = Path("espnet_egl", "recipe")
    shutil.copytree(RECIPES.parent / package, tmp_path / package)
    shutil.copytree(RECIPES.parent / "conf", tmp_path / "conf")
    recipe = tmp_path / "recipes" / "demo" / "asr1"
    sizes = ["--num_train", "16", "--num_dev", "4", "--num_pool", "20", "--num_test", "4"]
    subprocess.run([sys.executable, "local/make_data.py", *sizes], cwd=recipe, check=True)
    done = run(
        recipe, "./run.sh", "--stage", "3", "--stop_stage", "22", "--asr_exp", "exp/asr_tiny",
        "--asr_args", "--max_epoch 1 --encoder_conf num_blocks=1", "--al_nbest", "5",
        "--al_budget", "3utt", "--inference_nj", "1", timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| WER | decode_asr_asr_model_valid.loss.best/test |" in done.stdout
    assert "Selected 3 of 20 utterances by egl" in done.stdout
    round_dir = recipe / "exp" / "al_asr_tiny_pool" / "r1"
    assert len((round_dir / "select" / "wav.scp").read_text().splitlines()) == 3
    assert len((round_dir / "annotate" / "transcribe.tsv").read_text().splitlines()) == 4
