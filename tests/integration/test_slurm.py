"""Stages 20-25 through a real Slurm, by ESPnet's own slurm.pl."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from genuine import CHAR, checkout, environment, recipe, run, train  # noqa: F401 - fixtures
from slurm_node import slurm_node

pytestmark = pytest.mark.integration
TABLES = ("scores.tsv", "nbest.tsv", "skipped.tsv", "words.ctm")


@pytest.fixture
def slurm(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """mini_an4 with ``cmd_backend=slurm``, as a user sets it."""
    cmd = recipe / "cmd.sh"
    local = cmd.read_text()
    with slurm_node(tmp_path, monkeypatch):
        try:
            cmd.write_text(local.replace("cmd_backend='local'", "cmd_backend='slurm'"))
            yield recipe
        finally:
            cmd.write_text(local)


def test_the_same_scores_to_the_byte_and_only_what_failed_again(
    recipe: Path,
    train: Callable[..., tuple[str, ...]],
    slurm: Path,
) -> None:
    cmd = recipe / "cmd.sh"
    by_slurm = cmd.read_text()
    cmd.write_text(by_slurm.replace("cmd_backend='slurm'", "cmd_backend='local'"))
    command = (*train(*CHAR), "--al_nbest", "5", "--al_nj", "2", "--al_budget", "2utt")
    run(recipe, *command, "--al_tag", "local", "--stage", "20", "--stop_stage", "20")
    cmd.write_text(by_slurm)

    # One shard's directory is no directory: that job fails, the other one does its work.
    home = recipe / "exp" / "al_slurm" / "r1" / "score"
    obstacle = home / "logdir" / "output.2"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("in the way")
    whole = (*command, "--al_tag", "slurm", "--al_truth", "data/pool_text")
    failed = subprocess.run(
        [*whole, "--stage", "20", "--stop_stage", "20"],
        cwd=recipe, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert failed.returncode != 0
    assert "al_score.2.log" in failed.stdout + failed.stderr
    journal = home / "logdir" / "output.1" / "journal.jsonl"
    before = (journal.stat().st_mtime_ns, journal.read_bytes())
    obstacle.unlink()
    printed = run(recipe, *whole, "--stage", "20", "--stop_stage", "25")
    assert (journal.stat().st_mtime_ns, journal.read_bytes()) == before
    assert "The learning curve" in printed
    for name in TABLES:
        local = recipe / "exp" / "al_local" / "r1" / "score" / name
        assert (home / name).read_bytes() == local.read_bytes(), name
    # It did go through Slurm.
    assert os.environ["SLURM_CONF"]
    assert list((home / "logdir" / "q").glob("*.sh"))
