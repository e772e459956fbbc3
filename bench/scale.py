#!/usr/bin/env python3
"""What grows with the pool, and what does not: scoring, two shards, merge, selection, report.

    python3 bench/scale.py                                   # all of it: well over an hour
    python3 bench/scale.py --parts memory --clips 1000 10000
    python3 bench/scale.py --parts select --rows 1000000
    python3 bench/scale.py --parts merge report --rows 100000 1000000
    python3 bench/scale.py --parts shards
    python3 bench/scale.py --parts segments
    python3 bench/scale.py --parts grow --rows 10000 1000000

Scoring is that of a tiny model with random weights, on clips of 0.3 s: what is measured is the
pipeline around the model. Merge and report are of shards as scoring leaves them, made without a
model; 10 million rows take 20 GB of disk. Part grow has a thousand clips arrive in a pool of such
shards. Part segments reads a pool's clips, and scores none.
Prints a table for every part and, last, one JSON line; fails where memory grows with the pool, two
shards are not faster than one, or segments behind a command are much more work than in a file.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from espnet_egl.data.arrivals import plan_shards
from espnet_egl.data.kaldi import read_table
from espnet_egl.scoring.growth import MERGED
from espnet_egl.scoring.records import OF_SHARD, Summary
from espnet_egl.scoring.shard import TABLES
from espnet_egl.scoring.verification import write_verified
from espnet_egl.store.files import (
    CHECKSUMS,
    claim_directory,
    file_hash,
    read_manifest,
    write_checksums,
    write_lines,
)
from espnet_egl.store.tables import (
    BASE_COLUMNS,
    NBEST_COLUMNS,
    SKIPPED_COLUMNS,
    word_row,
    write_rows,
    write_words,
)
from espnet_egl.types import Word

RATE = 8000
SECONDS = 0.3
# Files behind all clips.
FILES = 50
# Of part segments, in seconds.
CALL, CLIP = 600, 5
# Of part grow: clips that arrive.
ARRIVALS = 1000
# Of parts merge, report and grow: jobs that scored; of a clip words, hypotheses; clips a window.
JOBS, WORDS, NBEST, WINDOW = 100, 7, 5, 128
SCORES = ("score_egl", "score_confidence", "score_random", "egl_stderr", "audio_hash")
SELECTED = "100h"
TOKENS = ["<blank>", "<unk>", "<space>", *"abcdefgh", "<sos/eos>"]


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
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


def make_waves(directory: Path, seconds: float) -> None:
    """The files behind a pool's clips."""
    import soundfile

    draw = np.random.default_rng(0)
    directory.mkdir(parents=True)
    for i in range(FILES):
        wave = 0.1 * draw.standard_normal(int(seconds * RATE))
        soundfile.write(directory / f"{i}.wav", wave, RATE)


def make_pool(directory: Path, clips: int) -> None:
    """A Kaldi data directory: many ids of a few files."""
    make_waves(directory, SECONDS)
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


def make_shards(home: Path, rows: int) -> None:
    """What stage 20 has before it merges, of clips of 1-15 s by two thousand speakers."""
    make_waves(home / "data", 8.0)
    # As al_prepare cuts a pool: sorted, into parts that follow one another.
    cuts = [rows * job // JOBS for job in range(JOBS + 1)]
    wavs = [f"{home}/data/{i}.wav" for i in range(FILES)]
    with (
        (home / "data/wav.scp").open("w", encoding="utf-8") as wav_scp,
        (home / "data/utt2spk").open("w", encoding="utf-8") as utt2spk,
    ):
        for job in range(JOBS):
            numbers = range(cuts[job], cuts[job + 1])
            uids = [f"spk{i * 2000 // rows:04}-utt{i:08}" for i in numbers]
            lines = [f"{uid} {wavs[i % FILES]}" for i, uid in zip(numbers, uids, strict=True)]
            wav_scp.writelines(f"{line}\n" for line in lines)
            utt2spk.writelines(f"{uid} {uid[:7]}\n" for uid in uids)
            write_lines(home / f"score/logdir/keys.{job + 1}.scp", lines)
            # Looking for cycles among millions of small lists takes half the time.
            gc.disable()
            make_shard(home / "score/logdir", job + 1, uids, cuts[job], rows)
            gc.enable()
    write_rows(home / "score/logdir/skipped.tsv", SKIPPED_COLUMNS, [])
    keys = [f"keys.{job}.scp" for job in range(1, JOBS + 1)]
    write_checksums(home / "score/logdir", ["skipped.tsv", *keys])


def make_shard(
    logdir: Path,
    job: int,
    uids: Sequence[str],
    first: int,
    rows: int,
    settings: Mapping[str, Any] = MappingProxyType({"methods": ["egl", "confidence", "random"]}),
) -> None:
    """What al_score leaves of one job, but for its journal, which nothing reads any more."""
    draw, count, output = np.random.default_rng(job), len(uids), logdir / f"output.{job}"
    seconds = draw.uniform(1, 15, count).round(3)
    columns = (
        *(seconds, draw.integers(25, 375, count), draw.beta(2, 1, count), draw.beta(8, 2, count)),
        *(draw.lognormal(3, 2, count), draw.random(count), draw.lognormal(0, 1, count)),
    )
    numbers = [column.tolist() for column in columns]
    # Windows of the pool one after the other, the longest clip of each first.
    order = np.lexsort((-seconds, np.arange(count) // WINDOW)).tolist()
    scored, skipped = [i for i in order if i % 1000], [i for i in order if i % 1000 == 0]
    texts = [f"the words of utterance {i % 900_000} are many" for i in range(first, first + count)]

    def cells() -> Iterator[list[str]]:
        for i in scored:
            length, frames, mass, confidence, egl, chance, stderr = (c[i] for c in numbers)
            yield [
                *(uids[i], f"{length:.3f}", str(frames), "100", f"{mass:.6g}"),
                *(f"{confidence:.6f}", texts[i], f"{egl:.8g}", f"{1 - confidence:.8g}"),
                *(f"{chance:.8g}", f"{stderr:.8g}", f"{(first + i) % (rows - 1000):016x}"),
            ]

    spoken = [word_row(Word("", 0.4 * k, 0.35, 0.9 - 0.1 * k)) for k in range(WORDS)]
    words = (
        [uids[i], *place[:3], word, place[4]]
        for i in scored
        for place, word in zip(spoken, texts[i].split(), strict=True)
    )
    nbest = (
        [uids[i], str(rank), f"{-1.0 - 0.731 * rank:.6g}", f"{texts[i]} {'indeed ' * rank}"[:-1]]
        for i in scored
        for rank in range(1, NBEST + 1)
    )
    claim_directory(output, {**settings, OF_SHARD: file_hash(logdir / f"keys.{job}.scp")}, "")
    write_words(output / "words.ctm", words)
    write_rows(output / "nbest.tsv", NBEST_COLUMNS, nbest)
    rejected = ([uids[i], "too_short", "2 frames"] for i in skipped)
    write_rows(output / "skipped.tsv", SKIPPED_COLUMNS, rejected)
    write_verified(output, [[uids[i], "1", "1", "0", "0.05"] for i in scored[:3]])
    write_rows(output / "scores.tsv", [*BASE_COLUMNS, *SCORES], cells())
    write_checksums(output, [name for name in TABLES if (output / name).exists()])
    total = float(seconds[scored].sum())
    reasons = Counter({"too_short": len(skipped)})
    Summary(len(scored), reasons, total, total, total, 1.0).write(output)


def measured(command: Sequence[str | Path], log: Path) -> tuple[float, float]:
    """Run a command: its seconds, and the most memory that it alone used, in GiB."""
    return worked(command, log)[:2]


def worked(command: Sequence[str | Path], log: Path) -> tuple[float, float, float]:
    """Likewise, and the seconds of processors that it took, whatever else they did."""
    started = time.perf_counter()
    with log.open("w", encoding="utf-8") as f:
        process = subprocess.Popen([sys.executable, "-m", *command], stdout=f, stderr=f)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise SystemExit(f"{command[0]} failed: {log}")
    elapsed = time.perf_counter() - started
    return elapsed, usage.ru_maxrss / 2**20, usage.ru_utime + usage.ru_stime


def run_merge(home: Path, rows: int) -> tuple[float, float]:
    """al_merge as stage 20 calls it, of shards that are made where they are missing."""
    score_dir = home / "score"
    if not (score_dir / "logdir" / CHECKSUMS).exists():
        shutil.rmtree(home, ignore_errors=True)
        make_shards(home, rows)
    # What is joined already would be gone on from.
    (score_dir / MERGED).unlink(missing_ok=True)
    command = ["espnet_egl.bin.al_merge", "--logdir", score_dir / "logdir", "--nj", str(JOBS)]
    return measured([*command, "--output_dir", score_dir], home / "al_merge.log")


def run_report(home: Path, rows: int) -> tuple[float, float]:
    """al_report as stage 26 calls it when nothing is labelled yet."""
    score_dir, select_dir = home / "score", home / "select"
    if not (score_dir / "run.json").exists():
        run_merge(home, rows)
    shutil.rmtree(select_dir, ignore_errors=True)
    data = ["--data_dir", home / "data"]
    select = ["espnet_egl.bin.al_select", "--score_file", score_dir / "scores.tsv", *data]
    measured([*select, "--budget", SELECTED, "--output_dir", select_dir], home / "al_select.log")
    command = ["espnet_egl.bin.al_report", "--score_dir", score_dir, "--select_dir", select_dir]
    command += ["--output_dir", home / "report", *data, "--fs", str(RATE)]
    return measured([*command, "--command=./al.sh --stage 26"], home / "al_report.log")


def score_words(work: Path, data: Path, keys: Path, output: Path) -> list[str | Path]:
    """al_score of a shard by the tiny model."""
    words: list[str | Path] = ["espnet_egl.bin.al_score", "--key_file", keys]
    words += ["--data_path_and_name_and_type", f"{data}/wav.scp,speech,sound"]
    words += ["--asr_train_config", work / "model/config.yaml"]
    words += ["--asr_model_file", work / "model/model.pth", "--hyp_source", "ctc_sample"]
    words += ["--nbest", "5", "--egl_mode", "estimate", "--egl_directions", "1"]
    return [*words, "--output_dir", output]


def grow(args: argparse.Namespace) -> dict[str, float]:
    """A thousand clips that arrive in pools of several sizes: every command of stage 20.

    Seconds of processors are told: they do not hang on what else a machine does.
    """
    print(f"{'known':>10}{'new':>6}{'prepare':>9}{'score':>9}{'merge':>9}  seconds of processors")
    found = {}
    for rows in args.rows:
        home = args.work_dir / f"grows{rows}"
        shutil.rmtree(home, ignore_errors=True)
        data, logdir = home / "data", home / "score" / "logdir"
        make_pool(data, rows)
        plan = plan_shards(data / "wav.scp", JOBS, logdir)
        # What the shards before were made with has to be what the new one is made with.
        write_lines(home / "one.scp", [f"clip{0:07} {data}/0.wav"])
        words = score_words(args.work_dir, data, home / "one.scp", home / "one")
        measured([*words, "--num_workers", "0", "--verify", "0"], home / "one.log")
        settings = read_manifest(home / "one")
        settings.pop(OF_SHARD)
        first = 0
        for job in plan.jobs:
            uids = list(read_table(logdir / f"keys.{job}.scp"))
            gc.disable()
            make_shard(logdir, job, uids, first, rows, settings)
            gc.enable()
            first += len(uids)
        prepare = ["espnet_egl.bin.al_prepare", "--key_file", data / "wav.scp"]
        prepare += ["--nj", "1", "--output_dir", logdir]
        merge = ["espnet_egl.bin.al_merge", "--logdir", logdir, "--output_dir", home / "score"]
        measured(merge, home / "al_merge.log")
        with (data / "wav.scp").open("a", encoding="utf-8") as f:
            every = rows // ARRIVALS
            new = (f"clip{i * every:07}-new {data}/{i % FILES}.wav\n" for i in range(ARRIVALS))
            f.writelines(new)
        job = JOBS + 1
        words = score_words(
            args.work_dir, data, logdir / f"keys.{job}.scp", logdir / f"output.{job}"
        )
        words += ["--earlier", logdir / "earlier.json", "--num_workers", "0"]
        seconds = [worked(w, home / "grow.log")[2] for w in (prepare, words, merge)]
        print(f"{rows:10}{ARRIVALS:6}" + "".join(f"{s:9.1f}" for s in seconds), flush=True)
        size = f"{rows // 1_000_000}m" if rows >= 1_000_000 else f"{rows // 1000}k"
        names = ("prepare", "score", "merge")
        found |= {f"grow_{size}_{n}_work": round(s, 2) for n, s in zip(names, seconds, strict=True)}
    return found


def by_rows(
    part: str, run: Callable[[Path, int], tuple[float, float]], args: argparse.Namespace
) -> dict[str, float]:
    """What a command on pools of several sizes takes."""
    print(f"{part:>10}{'rows':>12}{'seconds':>10}{'GiB':>8}")
    found = {}
    for rows in args.rows:
        seconds, memory = run(args.work_dir / f"rows{rows}", rows)
        print(f"{'':10}{rows:12}{seconds:10.1f}{memory:8.2f}", flush=True)
        size = f"{rows // 1_000_000}m" if rows >= 1_000_000 else f"{rows // 1000}k"
        found |= {
            f"{part}_{size}_seconds": round(seconds, 2),
            f"{part}_{size}_gb": round(memory, 3),
        }
    return found


def work_of(pool: Path, segments: Path, uids: Sequence[str]) -> float:
    """Seconds of all processors that reading a pool's clips takes, in commands too."""
    from espnet_egl.data.pool import Pool
    from espnet_egl.types import Utterance

    started = os.times()
    for clip in Pool([(str(pool), "speech", "sound")], uids, RATE, segments=segments):
        assert isinstance(clip, Utterance), clip
    return sum(os.times()[:4]) - sum(started[:4])


def segments(args: argparse.Namespace) -> dict[str, float]:
    """The clips of a call of ten minutes, as a file and behind a command."""
    import soundfile

    home = args.work_dir / "segments"
    home.mkdir(parents=True, exist_ok=True)
    wave = 0.1 * np.random.default_rng(0).standard_normal(CALL * 2 * RATE)
    soundfile.write(home / "call.wav", wave, 2 * RATE)
    starts = np.linspace(0, CALL - CLIP, CALL // CLIP)
    uids = [f"clip{i:05}" for i in range(len(starts))]
    lines = [f"{uid} call {at:.3f} {at + CLIP:.3f}" for uid, at in zip(uids, starts, strict=True)]
    write_lines(home / "segments", lines)
    entries = {"file": f"{home}/call.wav", "command": f"cat {home}/call.wav |"}
    print(f"{'':>10}{'work, s':>10}")
    work = {}
    for name, entry in entries.items():
        write_lines(home / f"{name}.scp", [f"call {entry}"])
        runs = [work_of(home / f"{name}.scp", home / "segments", uids) for _ in range(5)]
        work[name] = min(runs[1:])  # the first one imports what it needs
        print(f"{name:>10}{work[name]:10.3f}", flush=True)
    return {"pipe_work": round(work["command"] / work["file"], 3)}


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {
    "memory": memory,
    "select": select,
    "shards": shards,
    "segments": segments,
    "merge": partial(by_rows, "merge", run_merge),
    "report": partial(by_rows, "report", run_report),
    "grow": grow,
}


# What is promised whatever the machine is.
MOST_GROWTH, LEAST_SPEEDUP, MOST_PIPE_WORK = 1.1, 1.8, 1.5


def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    args.work_dir = args.work_dir.absolute()
    if {"memory", "shards", "grow"} & set(args.parts):
        make_model(args.work_dir / "model")
    figures: dict[str, float] = {"load_before": round(os.getloadavg()[0], 2)}
    for part in args.parts:
        figures |= PARTS[part](args)
    print(json.dumps(figures))
    growth = max((v for name, v in figures.items() if "growth" in name), default=1.0)
    speedup = figures.get("two_shard_speedup", LEAST_SPEEDUP)
    pipe_work = figures.get("pipe_work", 1.0)
    if growth > MOST_GROWTH or speedup < LEAST_SPEEDUP or pipe_work > MOST_PIPE_WORK:
        raise SystemExit(
            f"promised: growth to {MOST_GROWTH}, speedup from {LEAST_SPEEDUP}, work behind a "
            f"command to {MOST_PIPE_WORK} times that of a file"
        )


if __name__ == "__main__":
    main()
