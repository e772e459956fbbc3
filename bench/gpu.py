#!/usr/bin/env python3
"""The gradient engine on a GPU: passes, the search and training, by batch size and precision.

    python3 bench/gpu.py    # CTC 22 M, hybrid 35 M, transducers 30 M, E-Branchformer 150 M

For every model, with and without TF32, and every size of a batch: the whole scoring pass from
samples, as an estimate and exact; an epoch of ESPnet's training on the same audio; once, the pass
with ESPnet's search, and a profile. Audio is in memory from the second time on, for all of them.
Writes <output_dir>/<card>.md and .json, and the profiles beside them, after every model. Where
there is no GPU it stops: nothing was measured then.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import logging
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import memory
import numpy as np
import torch
from engine_figures import rounded
from engine_models import MODELS, ROOT, load, prepare
from engine_phases import Bench, profile_of
from gradient_engine import build_training

RANDOM = [name for name, model in MODELS.items() if not model.trained]
PRECISIONS = ("float32", "tf32")
PHASES = ("estimate", "exact", "train")
# Of the utterances, spread over their lengths: what is slow, and what is done again on the CPU.
FEW, FEWEST = 16, 2


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=RANDOM, choices=RANDOM)
    parser.add_argument(
        "--device", default="cuda", choices=("cuda", "cpu"), help="cpu, with --tiny: a rehearsal"
    )
    parser.add_argument("--utterances", type=int, default=128, help="of 5 to 15 s")
    parser.add_argument("--hypotheses", type=int, default=100)
    parser.add_argument("--directions", type=int, default=3, help="of the estimate")
    parser.add_argument(
        "--batch_bins",
        type=int,
        nargs="+",
        default=[500_000, 2_000_000, 8_000_000],
        help="samples of a batch, of training and of the engine; half a minute, two, eight",
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "docs" / "results" / "gpu")
    parser.add_argument("--work_dir", type=Path, default=ROOT / "bench" / "work" / "gpu")
    parser.add_argument("--tiny", action="store_true", help="tiny models, to see that it runs")
    parser.add_argument("--one", nargs=2, metavar=("MODEL", "PRECISION"), help=argparse.SUPPRESS)
    return parser


# ---- one model, in a process of its own ----


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures of a model at a precision."""
    args.model, precision = args.one
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    args.hyp_source, args.work_dir = "ctc_sample", args.work_dir / args.model
    prepare(args)
    recognizer = load(args, args.hypotheses)
    rows, fits = [], []
    for size in sorted(args.batch_bins):
        one = argparse.Namespace(**{**vars(args), "batch_bins": size})
        bench = Bench(one, recognizer, keep_audio=True)
        found = measure_batches(one, bench)
        rows += found
        if "failed" not in found[0]:
            fits.append(bench)
    if not fits:
        raise SystemExit(f"{args.model}: no size of a batch fits: {rows}")
    bench = fits[-1]
    return {
        "model": args.model,
        "precision": precision,
        "parameters": sum(p.numel() for p in recognizer.model.parameters()),
        "hours": bench.seconds(list(bench.utterances)) / 3600,
        "rows": rows,
        # Of the largest size that fits.
        "scores": bench.scoring_pass("ctc_sample")(list(bench.utterances)),
        "search": measure_search(bench),
        "against_cpu": against_cpu(bench),
        "profile": profile(bench),
    }


def some(bench: Bench, count: int) -> list[str]:
    """``count`` utterances, from short to long."""
    uids = sorted(bench.utterances, key=lambda uid: bench.seconds([uid]))
    places = np.linspace(0, len(uids) - 1, min(count, len(uids))).astype(int)
    return [uids[place] for place in places]


def measure_batches(args: argparse.Namespace, bench: Bench) -> list[dict[str, Any]]:
    """Every phase at one size of a batch, in turns; one that does not fit says so."""
    everything = list(bench.utterances)
    gc.collect()  # of the size before
    with_model = memory.in_use(args.device)
    training = build_training(args, bench, keep_audio=True)
    work: dict[str, tuple[Callable[[], Any], list[str]]] = {
        "estimate": (lambda: bench.scoring_pass("ctc_sample")(everything), everything),
        "exact": (
            lambda: bench.scoring_pass("ctc_sample", "exact")(some(bench, FEW)),
            some(bench, FEW),
        ),
        "train": (training.epoch, everything),
    }
    rows = {name: _row(args, name, bench.seconds(uids)) for name, (_, uids) in work.items()}
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(args.rounds + 1):
        for name, (phase, _) in work.items():
            if "failed" in rows[name]:
                continue
            resting = memory.forget_peak(args.device)
            try:
                _, took = bench.watch.timed(phase)
            except (torch.OutOfMemoryError, SystemExit) as e:
                rows[name]["failed"] = " ".join(str(e).split())[:80]
                continue
            # The other model rests in memory; a job has but one.
            other = resting - with_model if name != "train" else with_model
            rows[name]["peak_gib"] = (memory.peak(args.device) - other) / 2**30
            # The first warms up, reads the audio, and checks what a job checks once.
            if turn > 0:
                seconds[name].append(took)
    for name, took in seconds.items():
        if took and "failed" not in rows[name]:
            hours = [rows[name]["audio"] / s for s in took]
            rows[name]["audio_per_hour"] = sorted(hours)
    if not any("failed" in rows[name] for name in ("estimate", "train")):
        pairs = zip(seconds["estimate"], seconds["train"], strict=True)
        rows["estimate"]["against_epoch"] = sorted(a / b for a, b in pairs)
    return list(rows.values())


def _row(args: argparse.Namespace, phase: str, audio: float) -> dict[str, Any]:
    return {"phase": phase, "batch_bins": args.batch_bins, "audio": audio}


def measure_search(bench: Bench) -> dict[str, float]:
    """A whole pass with ESPnet's search, of a few."""
    chosen, scoring = some(bench, FEW), bench.scoring_pass("beam")
    scoring(chosen[:1])
    scoring.watch.seconds.clear()
    _, seconds = bench.watch.timed(lambda: scoring(chosen))
    searched = scoring.watch.seconds["search"]
    audio = bench.seconds(chosen)
    return {
        "pass_audio_per_hour": audio / seconds,
        "search_audio_per_hour": audio / searched,
        "search_share": searched / seconds,
    }


def against_cpu(bench: Bench) -> float:
    """The largest relative difference from what the CPU finds with the same hypotheses."""
    chosen = some(bench, FEWEST)
    bench.find_lists(chosen)
    there = bench.engine("estimate", chosen)
    on_cpu = argparse.Namespace(**{**vars(bench.args), "device": "cpu"})
    other = Bench(on_cpu, load(on_cpu))
    other.lists = bench.lists
    here = other.engine("estimate", chosen)
    return max(abs(there[uid][0] / here[uid][0] - 1) for uid in chosen)


def profile(bench: Bench) -> dict[str, Any]:
    """Where the time of one batch goes: operators, by their time on the device."""
    uids = bench.slices[0]
    gpu = bench.args.device.startswith("cuda")
    _, seconds = bench.watch.timed(
        lambda: bench.scoring_pass("ctc_sample").scorer.score([bench.utterances[u] for u in uids])
    )
    on = "self_device_time_total" if gpu else "self_cpu_time_total"
    averages = profile_of(bench, uids)
    # A kernel's time counts for the operator that started it.
    operators = [e for e in averages if e.device_type == torch.autograd.DeviceType.CPU]
    operators.sort(key=lambda e: -getattr(e, on))
    return {
        "utterances": len(uids),
        "seconds": seconds,
        "busy": sum(getattr(e, on) for e in operators) / 1e6 / seconds,
        "launches": sum(e.count for e in averages if e.key.startswith("cudaLaunchKernel")),
        "events": sum(e.count for e in averages if e.key.startswith("aten::")),
        "operators": [[e.key, e.count, getattr(e, on) / 1e3] for e in operators[:40]],
    }


# ---- the table ----


def card(device: str) -> str:
    """What it is called."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "no GPU"


def middle(values: Sequence[float]) -> str:
    """Median, and from the smallest to the largest."""
    return f"{np.median(values):.3g} ({min(values):.3g}-{max(values):.3g})"


def page(args: argparse.Namespace, found: Sequence[Mapping[str, Any]]) -> str:
    """Everything measured, in Markdown."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("espnet", "torch")]
    lines = [
        f"# The gradient engine on {card(args.device)}",
        "",
        f"`{' '.join(['python3 bench/gpu.py', *args.words])}`; {', '.join(versions)}, CUDA "
        f"{torch.version.cuda}, {platform.machine()}. Whole scoring passes from {args.hypotheses} "
        "samples, from audio in memory to tables, beside an epoch of ESPnet's training on the "
        "same audio; hours of audio an hour, and ratios, as medians with the smallest and the "
        f"largest of {args.rounds}. Peak memory is that of a job with its model. Random weights.",
        "",
        "| model | precision | samples a batch | | audio hours an hour | peak GiB | "
        "against an epoch |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in found:
        for row in one["rows"]:
            speed = row.get("failed") or middle(row["audio_per_hour"])
            ratio = middle(row["against_epoch"]) if "against_epoch" in row else ""
            name = f"{one['model']} ({one['parameters'] / 1e6:.3g} M) | {one['precision']}"
            what = f"{row['batch_bins']} | {row['phase']} | {speed}"
            lines.append(f"| {name} | {what} | {row.get('peak_gib', 0):.2f} | {ratio} |")
    lines += [
        "",
        "| model | precision | pass with the search, hours an hour | the search alone | "
        "its share | largest difference from the CPU | median / largest difference of TF32 | "
        "device busy | launches an utterance |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    exact = {one["model"]: one["scores"] for one in found if one["precision"] == "float32"}
    for one in found:
        search, profiled = one["search"], one["profile"]
        lines.append(
            f"| {one['model']} | {one['precision']} | {search['pass_audio_per_hour']:.3g} "
            f"| {search['search_audio_per_hour']:.3g} | {search['search_share']:.0%} "
            f"| {one['against_cpu']:.1e} | {differences(one, exact)} | {profiled['busy']:.0%} "
            f"| {profiled['launches'] / profiled['utterances']:.0f} |"
        )
    return "\n".join([*lines, ""])


def differences(one: Mapping[str, Any], exact: Mapping[str, Mapping[str, float]]) -> str:
    """Of the scores from those in float32."""
    if one["precision"] == "float32" or one["model"] not in exact:
        return ""
    found = [abs(s / exact[one["model"]][uid] - 1) for uid, s in one["scores"].items()]
    return f"{np.median(found):.1e} / {max(found):.1e}"


def write(args: argparse.Namespace, found: Sequence[Mapping[str, Any]]) -> Path:
    """The page, its numbers, and the profiles; each whole or not at all."""
    from espnet_egl.store.files import atomic_open

    name = re.sub(r"[^a-z0-9]+", "_", card(args.device).lower()).strip("_")
    args.output_dir.mkdir(parents=True, exist_ok=True)
    with atomic_open(args.output_dir / f"{name}.md") as f:
        f.write(page(args, found))
    with atomic_open(args.output_dir / f"{name}.json") as f:
        f.write(json.dumps(rounded(list(found)), indent=1) + "\n")
    for one in found:
        rows = [("operator", "calls", "ms"), *rounded(one["profile"]["operators"])]
        path = args.output_dir / f"{name}_{one['model']}_{one['precision']}.profile.tsv"
        with atomic_open(path) as f:
            f.writelines("\t".join(map(str, row)) + "\n" for row in rows)
    return args.output_dir / f"{name}.md"


def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    args.words = list(sys.argv[1:] if cmd is None else cmd)
    gpu = args.device.startswith("cuda")
    if gpu and not torch.cuda.is_available():
        raise SystemExit(
            "bench/gpu.py: PyTorch finds no GPU on this machine, so nothing was measured. Run it "
            "where nvidia-smi lists one, with a PyTorch that has CUDA"
        )
    args.work_dir, args.fsdd = args.work_dir.resolve(), None
    if args.one:
        print(json.dumps(measure(args)))
        return
    found = []
    for model in args.models:
        # On a CPU TF32 changes nothing.
        for precision in PRECISIONS if gpu else PRECISIONS[:1]:
            print(f"{model}, {precision}", file=sys.stderr, flush=True)
            words = [sys.executable, __file__, *args.words, "--one", model, precision]
            done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode != 0:
                print(f"{model}, {precision}: failed, see above", file=sys.stderr)
                continue
            found.append(json.loads(done.stdout.splitlines()[-1]))
            path = write(args, found)
    if not found:
        raise SystemExit("bench/gpu.py: every model failed, so nothing was written")
    print(path.read_text(encoding="utf-8") + str(path))


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    main()
