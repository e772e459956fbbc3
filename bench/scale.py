#!/usr/bin/env python3
"""What grows with the pool, and what does not: memory of scoring, selection, two shards.

    python3 bench/scale.py                                   # all of it: the better part of an hour
    python3 bench/scale.py --parts memory --clips 1000 10000
    python3 bench/scale.py --parts select --rows 1000000
    python3 bench/scale.py --parts shards

Scoring is that of a tiny model with random weights, on clips of 0.3 s: what is measured is the
pipeline around the model. Prints a table for every part and, last, one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

PARTS = ("memory", "select", "shards")
RATE = 8000
SECONDS = 0.3
# Files behind all clips.
FILES = 50
TOKENS = ["<blank>", "<unk>", "<space>", *"abcdefgh", "<sos/eos>"]


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--clips", nargs="+", type=int, default=[1000, 10_000, 100_000])
    parser.add_argument("--rows", nargs="+", type=int, default=[1_000_000, 10_000_000])
    parser.add_argument("--shard_clips", type=int, default=4000, help="Of part shards")
    parser.add_argument("--work_dir", type=Path, default=Path("bench/work/scale"))
    return parser


def make_model(directory: Path) -> None:
    """As ESPnet's training leaves one, untrained."""
    if (directory / "model.pth").exists():
        return
    import torch
    import yaml
    from espnet2.tasks.asr import ASRTask

    options = ASRTask.get_parser().parse_args(["--output_dir", str(directory)])
    vars(options).update(
        token_list=TOKENS,
        token_type="char",
        frontend_conf={"n_fft": 256, "hop_length": 128, "n_mels": 16, "fs": RATE},
        normalize="utterance_mvn",
        encoder="transformer",
        encoder_conf={
            "output_size": 16,
            "attention_heads": 2,
            "linear_units": 24,
            "num_blocks": 1,
        },
        model_conf={"ctc_weight": 1.0},
    )
    torch.manual_seed(0)
    directory.mkdir(parents=True, exist_ok=True)
    torch.save(ASRTask.build_model(options).state_dict(), directory / "model.pth")
    (directory / "config.yaml").write_text(yaml.safe_dump(vars(options)), encoding="utf-8")


def make_pool(directory: Path, clips: int) -> None:
    """A Kaldi data directory: many ids of a few files."""
    import soundfile

    draw = np.random.default_rng(0)
    directory.mkdir(parents=True)
    for i in range(FILES):
        wave = 0.1 * draw.standard_normal(int(SECONDS * RATE))
        soundfile.write(directory / f"{i}.wav", wave, RATE)
    with (directory / "wav.scp").open("w", encoding="utf-8") as f:
        f.writelines(f"clip{i:07} {directory}/{i % FILES}.wav\n" for i in range(clips))
    with (directory / "utt2dur").open("w", encoding="utf-8") as f:
        f.writelines(f"clip{i:07} {SECONDS}\n" for i in range(clips))


def score(work: Path, clips: int, shards: int) -> dict[str, Any]:
    """Stage 20 of a fresh pool, its shards side by side.

    Returns:
        The shards' run.json and ``wall``, the seconds of them all, the loading of ESPnet and
        of the model included.
    """
    home = work / f"{clips}.{shards}"
    shutil.rmtree(home, ignore_errors=True)
    make_pool(home / "data", clips)
    logdir = home / "logdir"
    python = [sys.executable, "-m"]
    prepare = [*python, "espnet_egl.bin.al_prepare", "--key_file", f"{home}/data/wav.scp"]
    quiet: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL}
    quiet["stderr"] = subprocess.DEVNULL
    subprocess.run([*prepare, "--nj", str(shards), "--output_dir", str(logdir)], **quiet)
    command = [*python, "espnet_egl.bin.al_score"]
    command += ["--data_path_and_name_and_type", f"{home}/data/wav.scp,speech,sound"]
    command += ["--asr_train_config", f"{work}/model/config.yaml"]
    command += ["--asr_model_file", f"{work}/model/model.pth", "--hyp_source", "ctc_sample"]
    command += ["--nbest", "5", "--egl_mode", "estimate", "--egl_directions", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started, jobs = time.perf_counter(), []
    for job in range(1, shards + 1):
        words = ["--key_file", f"{logdir}/keys.{job}.scp", "--output_dir", f"{logdir}/output.{job}"]
        log = (logdir / f"al_score.{job}.log").open("w", encoding="utf-8")
        jobs.append(subprocess.Popen([*command, *words], env=environment, stdout=log, stderr=log))
    codes = [job.wait() for job in jobs]
    if any(codes):
        raise SystemExit(f"scoring failed: {logdir}/al_score.*.log")
    wall = time.perf_counter() - started
    merge = [*python, "espnet_egl.bin.al_merge", "--logdir", str(logdir), "--nj", str(shards)]
    subprocess.run([*merge, "--output_dir", str(home / "score")], **quiet)
    runs = [
        json.loads((logdir / f"output.{j + 1}" / "run.json").read_text()) for j in range(shards)
    ]
    return {"runs": runs, "wall": wall}


def memory(args: argparse.Namespace) -> dict[str, float]:
    """Peak memory of scoring pools of several sizes."""
    print(f"{'clips':>10}{'seconds':>10}{'clips/s':>10}{'peak GiB':>10}")
    peaks = {}
    for clips in args.clips:
        (run,) = score(args.work_dir, clips, 1)["runs"]
        peaks[clips] = run["peak_memory_gib"]
        seconds = run["elapsed_seconds"]
        print(f"{clips:10}{seconds:10.1f}{clips / seconds:10.1f}{peaks[clips]:10.3f}", flush=True)
    first, last = min(peaks), max(peaks)
    name = f"peak_mem_growth_{first // 1000}k_to_{last // 1000}k"
    return {name: round(peaks[last] / peaks[first], 3)}


def select(args: argparse.Namespace) -> dict[str, float]:
    """bench/selection.py at several sizes."""
    found = {}
    for rows in args.rows:
        command = [sys.executable, str(Path(__file__).with_name("selection.py"))]
        command += ["--rows", str(rows), "--work_dir", str(args.work_dir / "select")]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        table, line = done.stdout.strip().rsplit("\n", 1)
        print(table, flush=True)
        figures = json.loads(line)
        name = f"select_{rows // 1_000_000}m"
        found |= {f"{name}_seconds": figures["seconds"], f"{name}_gb": figures["gib"]}
    return found


def shards(args: argparse.Namespace) -> dict[str, float]:
    """One process against two, one thread each, by the time after loading and with it."""
    print(f"{'shards':>10}{'seconds':>10}{'with loading':>14}")
    times = {}
    for count in (1, 2):
        found = score(args.work_dir, args.shard_clips, count)
        times[count] = max(run["elapsed_seconds"] for run in found["runs"])
        print(f"{count:10}{times[count]:10.1f}{found['wall']:14.1f}", flush=True)
    return {"two_shard_speedup": round(times[1] / times[2], 3)}


def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    args.work_dir = args.work_dir.absolute()
    if {"memory", "shards"} & set(args.parts):
        make_model(args.work_dir / "model")
    figures: dict[str, float] = {"load_before": round(os.getloadavg()[0], 2)}
    for part in args.parts:
        figures |= {"memory": memory, "select": select, "shards": shards}[part](args)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
