"""Stage 20 on a disk that is full or read-only, and the same command again when it is not."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from espnet_egl.bin import al_merge, al_prepare

pytestmark = pytest.mark.faults

TABLES = ("journal.jsonl", "scores.tsv", "skipped.tsv", "nbest.tsv", "words.ctm", "verified.tsv")


def command(files: Any, pool_dir: Path, score_dir: Path) -> list[str]:
    """``al_score`` of the only shard, whose keys are written."""
    logdir = score_dir / "logdir"
    al_prepare.main(["--key_file", f"{pool_dir}/wav.scp", "--nj", "1", "--output_dir", str(logdir)])
    return [
        *(sys.executable, "-m", "espnet_egl.bin.al_score", "--num_workers", "0"),
        *("--data_path_and_name_and_type", f"{pool_dir}/wav.scp,speech,sound"),
        *("--asr_train_config", str(files.config), "--asr_model_file", str(files.checkpoint)),
        *("--hyp_source", "ctc_sample", "--nbest", "50", "--egl_batch_bins", "1"),
        *("--write_nbest", "50"),
        *("--key_file", f"{logdir}/keys.1.scp", "--output_dir", f"{logdir}/output.1"),
    ]


def run(
    words: list[str], limit: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, preexec_fn=limit, capture_output=True, text=True, check=False)


def result(score_dir: Path) -> dict[str, bytes]:
    al_merge.main(["--logdir", f"{score_dir}/logdir", "--nj", "1", "--output_dir", str(score_dir)])
    return {n: (score_dir / "logdir" / "output.1" / n).read_bytes() for n in TABLES}


@pytest.fixture
def undisturbed(model_files: Any, pool_dir: Path, tmp_path: Path) -> dict[str, bytes]:
    done = run(command(model_files("ctc_conformer"), pool_dir, tmp_path / "whole"))
    assert done.returncode == 0, done.stderr
    return result(tmp_path / "whole")


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """One line says what, where and what to do; no traceback."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("al_score: error: ")
    for word in (*words, "run the same command again"):
        assert word in last


def test_a_limit_on_file_sizes(
    model_files: Any, pool_dir: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    """In the middle of the journal, and of a line."""
    words = command(model_files("ctc_conformer"), pool_dir, tmp_path / "score")
    size = len(undisturbed["journal.jsonl"]) // 2

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    refused(run(words, limit), "journal.jsonl cannot be written: File too large", "ulimit -f")
    journal = tmp_path / "score" / "logdir" / "output.1" / "journal.jsonl"
    assert 1 < journal.read_bytes().count(b"\n") < 6
    assert run(words).returncode == 0
    assert result(tmp_path / "score") == undisturbed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 kB, in memory."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(disk)]
    if run(mount).returncode != 0:
        pytest.skip("mounting is not permitted")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk_then_a_read_only_one(
    model_files: Any, pool_dir: Path, small_disk: Path, undisturbed: dict[str, bytes]
) -> None:
    words = command(model_files("ctc_conformer"), pool_dir, small_disk)
    # The plan's six files and the manifest take 4 kB each, the journal what is left.
    refused(run(words), str(small_disk), "No space left on device", "make room")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    refused(run(words), str(small_disk), "Read-only file system", "mount it for writing")
    subprocess.run(["mount", "-o", "remount,rw,size=1m", small_disk], check=True)
    assert run(words).returncode == 0
    assert result(small_disk) == undisturbed


def test_sigterm(
    model_files: Any, pool_dir: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    """As a scheduler sends it at the time limit."""
    words = command(model_files("ctc_conformer"), pool_dir, tmp_path / "score")
    journal = tmp_path / "score" / "logdir" / "output.1" / "journal.jsonl"
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 200
    while not (journal.exists() and journal.stat().st_size):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGTERM)
    _, stderr = process.communicate()
    assert process.returncode == 143
    assert "ended by SIGTERM" in stderr
    assert "Traceback" not in stderr
    assert run(words).returncode == 0
    assert result(tmp_path / "score") == undisturbed
