"""The shards of one command side by side: on this machine, or through a recipe's cmd.sh."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from espnet_egl.data.watching import watched
from espnet_egl.errors import DataError

# What a key of a command's shards is.
UNITS = {"al_score": "utterance", "al_segment": "recording"}


def run_shards(
    cmd: Sequence[str],
    logdir: Path,
    numbers: Sequence[int],
    name: str = "al_score",
    launcher: Sequence[str] = (),
) -> None:
    """Run all shards; when this process is ended, so are those on this machine.

    Args:
        cmd: The command of a shard but for its keys and output.
        logdir: Where ``keys.JOB.scp`` are, and where logs and outputs go.
        numbers: Of the shards, one after the other; they share the cores unless OMP_NUM_THREADS is
            set.
        name: Of the command, and so of its logs.
        launcher: A command of Kaldi's kind, run.pl, queue.pl or slurm.pl with its options, that is
            given ``JOB=FIRST:LAST``, a log and a command; empty: they run here.

    Raises:
        DataError: One failed; the message is the end of its log.
    """
    if launcher:
        keys, output = f"{logdir}/keys.JOB.scp", f"{logdir}/output.JOB"
        words = [*launcher, f"JOB={numbers[0]}:{numbers[-1]}", f"{logdir}/{name}.JOB.log", *cmd]
        words += ["--key_file", keys, "--output_dir", output]
        # What it says is no answer of ours.
        with watched(logdir, numbers, UNITS[name]):
            done = subprocess.run(words, check=False, stdout=2)  # noqa: S603
        if done.returncode != 0:
            raise _failure(name, _said_most(logdir, name))
        return
    count = len(numbers)
    threads = {} if count == 1 else {"OMP_NUM_THREADS": str(max(1, _cores() // count))}
    environment = {**threads, **os.environ}
    jobs: dict[Path, subprocess.Popen[bytes]] = {}
    try:
        for job in numbers:
            shard = [*cmd, "--key_file", str(logdir / f"keys.{job}.scp")]
            shard += ["--output_dir", str(logdir / f"output.{job}")]
            path = logdir / f"{name}.{job}.log"
            with path.open("w") as log:
                jobs[path] = subprocess.Popen(shard, stdout=log, stderr=log, env=environment)  # noqa: S603
        with watched(logdir, numbers, UNITS[name]):
            failed = [path for path, process in jobs.items() if process.wait() != 0]
    finally:
        # Those that have ended take no notice.
        for process in jobs.values():
            process.terminate()
        for process in jobs.values():
            process.wait()
    if failed:
        raise _failure(name, failed[0])


def _said_most(logdir: Path, name: str) -> Path:
    """The log of a job that says why it failed, or else any."""
    logs = sorted(logdir.glob(f"{name}.*.log"))
    if not logs:
        raise DataError(f"{name}: no job began; see what the cluster says")
    texts = {path: _text(path) for path in logs}
    # What we say ourselves, or else how Kaldi's run.pl and its kin end the log of a job.
    for failed in (r"^\w+: error: ", r"^# Ended \((?:code|status:) (?!0\))"):
        if found := [p for p, text in texts.items() if re.search(failed, text, re.M)]:
            return found[0]
    return logs[0]


def _failure(name: str, log: Path) -> DataError:
    what = {"al_score": "scoring", "al_segment": "segmenting"}.get(name, name)
    return DataError(f"{what} failed, log: {log}\n" + "\n".join(_text(log).splitlines()[-8:]))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
