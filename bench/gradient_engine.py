#!/usr/bin/env python3
"""Gradient lengths: the fast ways against the definition, and against training.

Everything is measured in one run, on the same utterances with the same hypotheses. The phases
take turns, a batch each, so that all meet the same load; beside every ratio stand its quartiles
over these turns. Peak memory is that of processes of their own.

    python3 bench/gradient_engine.py                          # the FSDD seed model
    python3 bench/gradient_engine.py --model fsdd_hybrid      # with a decoder
    python3 bench/gradient_engine.py --model fsdd_transducer  # or fsdd_transducer_stateless
    python3 bench/gradient_engine.py --model large            # 22 M parameters, BPE 5000
    python3 bench/gradient_engine.py --model hybrid           # the same with its decoder, 35 M
    python3 bench/gradient_engine.py --model transducer       # 30 M, or transducer_stateless
    python3 bench/gradient_engine.py --model e_branchformer   # 150 M

Models of FSDD are trained where they are missing; the others are of real size, with random
weights. Prints a table and, last, one JSON line.
"""

from __future__ import annotations

import time

STARTED = time.perf_counter()

import argparse  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable, Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import memory  # noqa: E402
import torch  # noqa: E402
from engine_figures import RATIOS, Turn, accuracy, costs, ratio, report, rounded  # noqa: E402
from engine_models import MODELS, ROOT, load, prepare  # noqa: E402
from engine_phases import Bench, count_operators, profile_of  # noqa: E402
from engine_training import Training  # noqa: E402

PHASES = ("pass_beam", "reference", "exact", "estimate", "pass", "train")
BATCHES = (1, 8, 32)
Phase = Callable[[Sequence[str]], Any]


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="fsdd", choices=tuple(MODELS))
    parser.add_argument("--fsdd", help="The Free Spoken Digit Dataset, to train on if need be")
    parser.add_argument("--utterances", type=int, help="default: as many as take minutes")
    parser.add_argument("--reference", type=int, help="of these, how many by the definition")
    parser.add_argument("--rounds", type=int, help="how often all of them are gone through")
    parser.add_argument("--hypotheses", type=int, default=100)
    parser.add_argument(
        "--hyp_source",
        default="beam",
        choices=("beam", "ctc_sample"),
        help="of the hypotheses that the definition and the engine get",
    )
    parser.add_argument("--directions", type=int, default=3, help="of the estimate")
    parser.add_argument("--batch_bins", type=int, help="of training and of the engine")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--phases", nargs="+", default=PHASES, choices=PHASES)
    parser.add_argument("--work_dir", type=Path, help="default: bench/work/<model>")
    parser.add_argument("--tiny", action="store_true", help="tiny models, to see that it runs")
    parser.add_argument("--alone", choices=("pass", "train"), help=argparse.SUPPRESS)
    return parser


def parse(cmd: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, with the model's own numbers where none are given."""
    args = get_parser().parse_args(cmd)
    model = MODELS[args.model]
    for name in ("utterances", "reference", "rounds", "batch_bins"):
        if getattr(args, name) is None:
            setattr(args, name, getattr(model, name))
    args.device = "cpu"
    args.work_dir = (args.work_dir or ROOT / "bench" / "work" / args.model).resolve()
    return args


# ---- turns ----


def take_turns(args: argparse.Namespace, bench: Bench, training: Training) -> dict[str, Any]:
    """Every phase on a batch, then all of them on the next one: under one load.

    Ctrl-C ends them, and what was measured is shown.

    Returns:
        ``turns``; ``reference``, ``exact`` and ``estimate``: utterance -> what they found.
    """
    found: dict[str, Any] = {"turns": [], "reference": {}, "exact": {}, "estimate": {}}
    referenced = _referenced(bench, args.reference)
    phases: dict[str, Phase] = {
        "reference": bench.reference,
        "exact": lambda uids: bench.engine("exact", uids),
        "estimate": lambda uids: bench.engine("estimate", uids),
        "pass": bench.scoring_pass("ctc_sample"),
        "train": training.train,
    }
    names = [name for name in phases if name in args.phases]
    try:
        for number in range(count := args.rounds * len(bench.slices)):
            took = time.perf_counter() - STARTED
            print(f"turn {number + 1} of {count}, after {took:.0f} s", file=sys.stderr, flush=True)
            this_round, place = divmod(number, len(bench.slices))
            uids = bench.slices[place]
            # Once, for it is slow; what it finds is what the others get.
            if this_round == 0 and "pass_beam" in args.phases:
                take_turn(found, bench, number, "pass_beam", bench.scoring_pass("beam"), uids)
            bench.find_lists(uids)
            # Each is the first now and then.
            for name in [*names[number % len(names) :], *names[: number % len(names)]]:
                chosen = uids
                if name == "reference":  # slow, too: a share of its utterances in every round
                    chosen = [uid for uid in uids if referenced.get(uid) == this_round]
                if chosen:
                    take_turn(found, bench, number, name, phases[name], chosen)
    except KeyboardInterrupt:
        print("no more turns", file=sys.stderr)
    return found


def take_turn(
    found: dict[str, Any],
    bench: Bench,
    number: int,
    name: str,
    phase: Phase,
    uids: Sequence[str],
) -> None:
    """One phase, timed; what it takes and finds goes to ``found``."""
    result, seconds = bench.watch.timed(lambda: phase(uids))
    print(f"  {name}: {seconds:.2f} s", file=sys.stderr, flush=True)
    found["turns"].append(Turn(number, name, seconds, len(uids), bench.seconds(uids)))
    if name in found:
        found[name].update(result)


def _referenced(bench: Bench, count: int) -> dict[str, int]:
    """Utterance -> the round in which it gets its definition; ``count`` from all lengths."""
    order = [uid for uids in bench.slices for uid in uids]
    chosen = order[:: max(1, len(order) // max(1, count))][:count]
    return {uid: i % bench.args.rounds for i, uid in enumerate(chosen)}


def warm_up(args: argparse.Namespace, bench: Bench, training: Training) -> None:
    """The first of everything, which is slower, and what a job checks but once."""
    ends = list(dict.fromkeys([bench.slices[0][0], bench.slices[0][-1]]))
    for source, phase in (("ctc_sample", "pass"), ("beam", "pass_beam")):
        if phase in args.phases:
            scoring = bench.scoring_pass(source)
            scoring(ends)
            scoring.watch.seconds.clear()
    bench.find_lists(ends)
    for mode in ("exact", "estimate"):
        if mode in args.phases:
            bench.engine(mode, ends)
    training.train(ends)


def parts_of(bench: Bench, turns: Sequence[Turn]) -> dict[str, dict[str, float]]:
    """Phase -> seconds an utterance of every part of a whole pass."""
    found = {}
    for phase, source in (("pass", "ctc_sample"), ("pass_beam", "beam")):
        own = [t for t in turns if t.phase == phase]
        if not own:
            continue
        total, count = sum(t.seconds for t in own), sum(t.utterances for t in own)
        spent = bench.scoring_pass(source).watch.seconds
        parts = {name: spent[name] / count for name in ("encoder", "hypotheses", "gradients")}
        parts["rest"] = total / count - sum(parts.values())
        parts["search"] = spent["search"] / count
        parts["search_share"] = spent["search"] / total
        found[phase] = parts
    return found


# ---- a process of its own ----


def run_alone(args: argparse.Namespace) -> dict[str, float]:
    """A pass over the pool, or an epoch, as a job has it: start, seconds, peak memory."""
    recognizer = load(args)
    ready = time.perf_counter() - STARTED
    bench = Bench(args, recognizer)
    work: Callable[[], Any]
    if args.alone == "train":
        training, building = bench.watch.timed(lambda: build_training(args, bench))
        before, work = memory.forget_peak(), training.epoch
    else:
        scoring, building = bench.scoring_pass("ctc_sample"), 0.0
        before, work = memory.forget_peak(), lambda: scoring(list(bench.utterances))
    _, seconds = bench.watch.timed(work)
    found = {"ready": ready, "building": building, "seconds": seconds}
    found["peak"] = memory.peak() - before
    if args.alone == "pass":
        found["check"] = scoring.check or 0.0
        found["tables"] = scoring.finish_again()
    return found


def build_training(args: argparse.Namespace, bench: Bench, keep_audio: bool = False) -> Training:
    samples = {uid: len(u.speech) for uid, u in bench.utterances.items()}
    return Training(args, bench.recognizer, bench.best(), samples, keep_audio)


def alone(args: argparse.Namespace, phase: str) -> dict[str, float]:
    """The same of another process."""
    words = [sys.executable, __file__, "--alone", phase]
    for name in ("model", "utterances", "hypotheses", "directions", "batch_bins", "threads"):
        words += [f"--{name}", str(getattr(args, name))]
    words += ["--work_dir", str(args.work_dir), *(["--tiny"] if args.tiny else [])]
    print(f"{phase}, in a process of its own", file=sys.stderr)
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


# ---- all of it ----


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures of the JSON line."""
    model = MODELS[args.model]
    bench = Bench(args, load(args, args.hypotheses))
    training = build_training(args, bench)
    warm_up(args, bench, training)
    found = take_turns(args, bench, training)
    turns, reference = found["turns"], found["reference"]
    if not turns:
        raise SystemExit("not one turn was finished, so nothing was measured")
    sizes = [len(hypotheses) for hypotheses, _ in bench.lists.values()]
    sources = [
        len(nbest.hypotheses)
        for (name, _), nbest in bench.sources_found.items()
        if name == args.hyp_source
    ]
    figures: dict[str, Any] = {
        "model": args.model,
        "parameters": sum(p.numel() for p in bench.recognizer.model.parameters()),
        "utterances": len(bench.utterances),
        "audio": bench.seconds(list(bench.utterances)),
        "referenced": len(reference),
        "hypotheses": sum(sizes) / len(sizes),
        "of_the_source": sum(sources) / len(sources),
        "hyp_source": args.hyp_source,
        "device": args.device,
        "threads": args.threads,
        "turns": len({t.number for t in turns}),
        "costs": costs(turns),
        "parts": parts_of(bench, turns),
    }
    for name, (_, above, below) in RATIOS.items():
        if one := ratio(turns, above, below):
            figures[name] = vars(one)
    for mode in ("exact", "estimate"):
        if reference and found[mode]:
            figures[mode] = accuracy(reference, found[mode], model.trained)
    if "pass" in args.phases:
        print("operators", file=sys.stderr, flush=True)
        figures["operators"] = {str(n): count_operators(bench, n) for n in BATCHES}
        figures["top_operators"] = _largest(profile_of(bench, bench.slices[0]))
    return figures | measure_jobs(args)


def measure_jobs(args: argparse.Namespace) -> dict[str, Any]:
    """What a job pays once, and its peak memory, each job in a process of its own."""
    jobs = {name: alone(args, name) for name in ("pass", "train") if name in args.phases}
    once, peaks = {}, {name: job["peak"] / 2**30 for name, job in jobs.items()}
    if scoring := jobs.get("pass"):
        once["scoring: imports, loading the model"] = scoring["ready"]
        once["scoring: the check against plain autograd"] = scoring["check"]
        once["scoring: tables, in every turn above"] = scoring["tables"]
    if training := jobs.get("train"):
        once["training: imports, loading the model"] = training["ready"]
        once["training: building"] = training["building"]
    figures: dict[str, Any] = {"once": once, "peak_gib": peaks}
    if len(peaks) == 2:
        figures["peak_mem_vs_train"] = peaks["pass"] / peaks["train"]
    return figures


def _largest(averages: Any) -> dict[str, float]:
    """Operator -> its share of the time, of the twelve largest."""
    spent = {e.key: e.self_cpu_time_total for e in averages}
    total = sum(spent.values())
    return {key: spent[key] / total for key in sorted(spent, key=lambda k: -spent[k])[:12]}


def main(cmd: Sequence[str] | None = None) -> None:
    args = parse(cmd)
    # PyTorch's own threads; NumPy's and others' were counted when they were imported.
    torch.set_num_threads(args.threads)
    if args.alone:
        print(json.dumps(run_alone(args)))
        return
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}", file=sys.stderr)
    prepare(args)
    figures = measure(args)
    print(report(figures))
    print(json.dumps(rounded(figures)))


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    main()
