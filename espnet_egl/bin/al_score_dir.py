#!/usr/bin/env python3
"""Score a folder of audio with a packed model, without a recipe."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from humanfriendly.text import pluralize

from espnet_egl import options


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_score_dir", __doc__ or "")
    parser.add_argument(
        "--model", required=True, help="Packed by stage 14 of asr.sh, or a name of the model zoo"
    )
    parser.add_argument(
        "--wav_dir", required=True, help="Audio files, in folders and links below it, too"
    )
    parser.add_argument("--out", default="scores.tsv", help="The score table")
    parser.add_argument(
        "--work_dir", help="Everything else, and what a killed run goes on from (default: OUT.work)"
    )
    options.add_channel_argument(parser)
    parser.add_argument("--nj", type=int, default=1, help="Processes, which share the cores")
    parser.add_argument(
        "--score_args", default="", help="Options of al_score: '--methods egl entropy --nbest 50'"
    )
    return parser


def score_dir(args: argparse.Namespace) -> None:
    """Run the command; says where the table is."""
    from espnet_egl.bin import al_merge
    from espnet_egl.data.arrivals import plan_shards
    from espnet_egl.data.channel_dir import choose_channel
    from espnet_egl.data.wav_dir import SKIPPED, write_data_dir
    from espnet_egl.model import packed
    from espnet_egl.store.files import atomic_open

    work = Path(args.work_dir or f"{args.out}.work").absolute()
    model = packed.unpack(args.model, work / "model")
    count, left_out = write_data_dir(args.wav_dir, work / "data", (args.out, work))
    data = choose_channel(work / "data", args.channel, work / f"data_{args.channel}", False)
    segments = data / "segments"
    keys = segments if segments.exists() else data / "wav.scp"
    advice = f"Give another --out or --work_dir, or remove {work}."
    # The folder may have more files than before, or fewer: what is scored stays scored.
    plan = plan_shards(keys, args.nj, work / "logdir", advice=advice)
    others = f"; {left_out} others in it are listed" if left_out else ""
    print(f"{count} audio files{others}")
    print(f"Of these: {plan.arrival.describe()}")
    processes = pluralize(len(plan.jobs), "process", "processes")
    print(f"{processes}, log: {work / 'logdir'}/al_score.*.log")
    cmd = [sys.executable, "-m", "espnet_egl.bin.al_score"]
    cmd += ["--data_path_and_name_and_type", f"{data / 'wav.scp'},speech,sound"]
    cmd += ["--allow_pipes", "false"]
    cmd += ["--segments", str(segments)] if segments.exists() else []
    cmd += ["--advice", advice]
    cmd += plan.score_words()
    cmd += ["--asr_train_config", model["asr_train_config"]]
    cmd += ["--asr_model_file", model["asr_model_file"], *shlex.split(args.score_args)]
    run_shards(cmd, work / "logdir", plan.jobs)
    merge = ["--logdir", str(work / "logdir"), "--output_dir", str(work)]
    al_merge.main([*merge, "--left_out", str(work / "data" / SKIPPED)])
    with atomic_open(args.out, "wb") as f:
        f.write((work / "scores.tsv").read_bytes())
    print(f"Scores: {args.out}, not scored: {work / 'skipped.tsv'}")


def run_shards(cmd: Sequence[str], logdir: Path, numbers: Sequence[int]) -> None:
    """Score shards side by side; when this process is ended, so are they.

    Args:
        cmd: The command of a shard but for its keys and output.
        logdir: Where ``keys.JOB.scp`` are, and where logs and outputs go.
        numbers: Of the shards; they share the cores unless OMP_NUM_THREADS is set.

    Raises:
        DataError: One failed; the message is the end of its log.
    """
    import subprocess

    from espnet_egl.errors import DataError

    count = len(numbers)
    threads = {} if count == 1 else {"OMP_NUM_THREADS": str(max(1, _cores() // count))}
    environment = {**threads, **os.environ}
    jobs: dict[Path, subprocess.Popen[bytes]] = {}
    try:
        for job in numbers:
            keys, output = logdir / f"keys.{job}.scp", logdir / f"output.{job}"
            shard = [*cmd, "--key_file", str(keys), "--output_dir", str(output)]
            path = logdir / f"al_score.{job}.log"
            with path.open("w") as log:
                jobs[path] = subprocess.Popen(shard, stdout=log, stderr=log, env=environment)  # noqa: S603
        failed = [path for path, process in jobs.items() if process.wait() != 0]
    finally:
        # Those that have ended take no notice.
        for process in jobs.values():
            process.terminate()
        for process in jobs.values():
            process.wait()
    if failed:
        lines = failed[0].read_text(encoding="utf-8", errors="replace").splitlines()
        raise DataError(f"scoring failed, log: {failed[0]}\n" + "\n".join(lines[-8:]))


def _cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), score_dir, cmd)


if __name__ == "__main__":
    main()
