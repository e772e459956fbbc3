"""A real Slurm of one node, this machine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "integration" / "slurm.sh"


@contextmanager
def slurm_node(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Its files go to ``directory``; processes started in this block know of it."""
    if not (shutil.which("slurmctld") and shutil.which("munged")):
        pytest.skip("Slurm is not installed: apt-get install slurm-wlm munge")
    done = subprocess.run([SCRIPT, "start", directory], capture_output=True, text=True, check=False)
    try:
        assert done.returncode == 0, done.stderr
        monkeypatch.setenv("SLURM_CONF", done.stdout.strip())
        yield
    finally:
        subprocess.run([SCRIPT, "stop", directory], check=True)
