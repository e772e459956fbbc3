"""A genuine ESPnet checkout, from the directory or git repository that ESPNET_ROOT names."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from conftest import SPH2PIPE

# What the recipe's files, and the links in them, need of a checkout.
PARTS = ("egs2/TEMPLATE/asr1", "egs2/mini_an4/asr1", "egs/mini_an4/asr1", "egs/an4/asr1/local")
# Larger ones, of which only the files are used.
BY_FILES = ("an4", "librispeech_100")
PARTS += tuple(f"egs2/{name}/asr1" for name in BY_FILES)
PARTS += ("utils", "tools/extra_path.sh", "tools/sentencepiece_commands")
CHAR = ("--use_lm", "false", "--token_type", "char")


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with mini_an4's data prepared: nothing is written into the checkout itself."""
    root = os.environ.get("ESPNET_ROOT")
    if not root:
        pytest.skip("give a checkout of ESPnet: make integration ESPNET_ROOT=DIR")
    copy = tmp_path_factory.mktemp("espnet")
    if (Path(root) / "egs2").exists():
        archive = subprocess.Popen(["tar", "-c", "-C", root, *PARTS], stdout=subprocess.PIPE)
    else:
        archive = subprocess.Popen(
            ["git", "-C", root, "archive", "HEAD", *PARTS], stdout=subprocess.PIPE
        )
    subprocess.run(["tar", "-x", "-C", str(copy)], stdin=archive.stdout, check=True)
    # ESPnet trains transducers with a compiled extra; where it is missing, with torchaudio's loss.
    (copy / "modules").mkdir()
    (copy / "modules" / "warprnnt_pytorch.py").write_text(
        "from espnet_egl.model.compat import _TorchaudioRNNTLoss as RNNTLoss\n"
    )
    if importlib.util.find_spec("warprnnt_pytorch") is None:
        os.environ["PYTHONPATH"] = f"{copy / 'modules'}:{os.environ.get('PYTHONPATH', '')}"
    if not shutil.which("sph2pipe"):
        tool = copy / "tools" / "sph2pipe" / "sph2pipe"
        tool.parent.mkdir()
        tool.write_text(SPH2PIPE)
        tool.chmod(0o755)
    return copy


def environment() -> dict[str, str]:
    """This Python first, and Debian's sclite."""
    path = [str(Path(sys.executable).parent), "/usr/lib/sctk/bin", os.environ["PATH"]]
    return {**os.environ, "PATH": ":".join(path)}


def run(directory: Path, *words: str) -> str:
    """What it printed; fails with it where it failed."""
    done = subprocess.run(
        words, cwd=directory, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="session")
def recipe(checkout: Path) -> Path:
    """mini_an4 after stages 1-2, with al.sh put in as a user does, and a pool of other audio."""
    directory = checkout / "egs2" / "mini_an4" / "asr1"
    before = (directory / "run.sh").read_text()
    printed = run(directory, sys.executable, "-m", "espnet_egl.bin.al_init", ".", "--apply")
    assert "+./al.sh" in printed
    assert (directory / "run.sh").read_text() == before.replace("./asr.sh", "./al.sh")
    run(directory, "./run.sh", "--stage", "1", "--stop_stage", "1")
    pool = directory / "data" / "pool"
    pool.mkdir()
    rows: dict[str, list[str]] = {"wav.scp": [], "utt2spk": [], "../pool_text": []}
    for name in ("train", "test"):
        texts = dict(line.split(" ", 1) for line in (directory / "data" / name / "text").open())
        for line in (directory / "data" / name / "wav.scp").open():
            uid, command = line.split(" ", 1)
            wave, rate = soundfile.read(
                directory / next(word for word in command.split() if word.endswith(".sph"))
            )
            path = pool / f"pool-{uid}.wav"
            soundfile.write(path, 0.5 * wave, rate)
            for file, value in zip(rows, (f"{path}\n", f"{uid}\n", texts[uid]), strict=True):
                rows[file].append(f"pool-{uid} {value}")
    for file, lines in rows.items():
        (pool / file).write_text("".join(sorted(lines)))
    return directory


@pytest.fixture(scope="session")
def train(recipe: Path) -> Callable[..., tuple[str, ...]]:
    """Train a model by stages 2-13; returns what ./run.sh needs for it."""

    def get(*options: str) -> tuple[str, ...]:
        command = ("./run.sh", "--ngpu", "0", "--test_sets", "test", *options)
        command += ("--asr_args", "--use_tensorboard=false", "--lm_args", "--use_tensorboard=false")
        run(recipe, *command, "--stage", "2", "--stop_stage", "13")
        return command

    return get
