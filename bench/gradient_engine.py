#!/usr/bin/env python3
"""Gradient lengths: the fast ways against the definition, and against training.

Everything is measured in one run, on the same utterances with the same hypotheses, each
phase in a process of its own so that its peak memory is its own:

    python3 bench/gradient_engine.py                # the FSDD seed model (trained if missing)
    python3 bench/gradient_engine.py --model large  # 22 M parameters at random, BPE 5000
    python3 bench/gradient_engine.py --model hybrid # the same with its decoder, 35 M

Prints tables and, last, one JSON line.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
FSDD = ROOT / "recipes" / "fsdd" / "asr1"
FSDD_EXP = FSDD / "exp" / "asr_train_asr_ctc_conformer_raw_en_char"

# Utterances, of these by the definition, samples of a batch.
SIZES = {"fsdd": (100, 100, 300_000), "large": (8, 2, 500_000), "hybrid": (4, 2, 500_000)}
PHASES = ("hypotheses", "reference", "exact", "estimate", "pass", "train", "parts")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="fsdd", choices=tuple(SIZES))
    parser.add_argument("--fsdd", help="The Free Spoken Digit Dataset, to train on if need be")
    parser.add_argument("--utterances", type=int, help="default: as many as take minutes")
    parser.add_argument("--reference", type=int, help="of these, how many by the definition")
    parser.add_argument("--hypotheses", type=int, default=100)
    parser.add_argument("--directions", type=int, default=3, help="of the estimate")
    parser.add_argument("--batch_bins", type=int, help="of training and of the engine")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work_dir", type=Path, help="default: bench/work/<model>")
    parser.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    return parser


# ---- models and data ----


def prepare(args: argparse.Namespace) -> None:
    """The model's files and a pool in the work directory."""
    if args.model == "fsdd":
        if not (FSDD_EXP / "valid.loss.best.pth").exists():
            options = ["--fsdd", args.fsdd] if args.fsdd else []
            subprocess.run([FSDD / "run.sh", *options], check=True)
        return
    from espnet2.tasks.asr import ASRTask

    audio, model = args.work_dir / "audio", args.work_dir / "model"
    if (model / "model.pth").exists():
        return
    audio.mkdir(parents=True, exist_ok=True)
    model.mkdir(parents=True, exist_ok=True)
    make_speech(audio, args.utterances)
    import yaml

    options = ASRTask.get_parser().parse_args(["--output_dir", str(model)])
    vars(options).update(large_model())
    if args.model == "hybrid":
        vars(options).update(transformer_decoder())
    torch.manual_seed(0)
    network = ASRTask.build_model(options).eval()
    sharpen(network, audio)
    torch.save(network.state_dict(), model / "model.pth")
    (model / "config.yaml").write_text(yaml.safe_dump(vars(options)), encoding="utf-8")


def sharpen(network: Any, audio: Path) -> None:
    """Peaked posteriors, 85 % of the frames blank, as a trained model has them."""
    import soundfile

    head = network.ctc.ctc_lo
    with torch.no_grad():
        head.weight *= 10
        wave, _ = soundfile.read(sorted(audio.glob("*.wav"))[-1], dtype="float32")
        hidden, _ = network.encode(torch.from_numpy(wave)[None], torch.tensor([len(wave)]))
        head.bias[0] = float(head(hidden)[0, :, 1:].max(-1).values.quantile(0.85))


def large_model() -> dict[str, Any]:
    """The Conformer of ESPnet's librispeech_100 recipe without its decoder, with BPE 5000."""
    return {
        "token_list": ["<blank>", "<unk>", *(f"▁t{i}" for i in range(4997)), "<sos/eos>"],
        "token_type": "word",
        "frontend_conf": {"n_fft": 512, "win_length": 400, "hop_length": 160},
        "normalize": "utterance_mvn",
        "encoder": "conformer",
        "encoder_conf": {
            "output_size": 256,
            "attention_heads": 4,
            "linear_units": 1024,
            "num_blocks": 12,
            "input_layer": "conv2d",
            "macaron_style": True,
            "rel_pos_type": "latest",
            "pos_enc_layer_type": "rel_pos",
            "selfattention_layer_type": "rel_selfattn",
            "activation_type": "swish",
            "use_cnn_module": True,
            "cnn_module_kernel": 31,
        },
        "model_conf": {"ctc_weight": 1.0},
        "init": None,
        "optim": "adam",
    }


def transformer_decoder() -> dict[str, Any]:
    """What librispeech_100 has beside it."""
    return {
        "decoder": "transformer",
        "decoder_conf": {"attention_heads": 4, "linear_units": 2048, "num_blocks": 6},
        "model_conf": {"ctc_weight": 0.3, "lsm_weight": 0.1, "length_normalized_loss": False},
    }


def make_speech(directory: Path, count: int) -> None:
    """5 to 15 s of noise with changing tones; lengths are what costs time."""
    import soundfile

    generator = np.random.default_rng(0)
    lines = []
    for i in range(count):
        seconds = 5 + 10 * i / max(1, count - 1)
        clock = np.arange(int(seconds * 16000)) / 16000
        tone = np.sin(2 * np.pi * (200 + 50 * i + 40 * clock) * clock)
        wave = 0.3 * tone + 0.1 * generator.standard_normal(len(clock))
        path = directory / f"utt{i:04d}.wav"
        soundfile.write(path, wave.clip(-1, 1), 16000)
        lines.append(f"utt{i:04d} {path}\n")
    (directory / "wav.scp").write_text("".join(lines), encoding="utf-8")


def load(args: argparse.Namespace, nbest: int = 1) -> Any:
    """The recogniser."""
    from espnet_egl.model.loading import load_recognizer

    if args.model == "fsdd":
        model = FSDD_EXP / "valid.loss.best.pth"
        return load_recognizer(
            FSDD_EXP / "config.yaml", model, None, "--beam_size 18 --ctc_weight 1.0", nbest=nbest
        )
    model = args.work_dir / "model" / "model.pth"
    # With random weights the search would end nowhere: as many tokens as 10 s of speech have.
    ctc_weight = 1.0 if args.model == "large" else 0.3
    conf = f"--beam_size 10 --ctc_weight {ctc_weight} --maxlenratio -40"
    return load_recognizer(model.with_name("config.yaml"), model, None, conf, nbest=nbest)


def read_pool(args: argparse.Namespace, recognizer: Any) -> Any:
    """The first utterances of the pool."""
    from espnet_egl.data.kaldi import read_table
    from espnet_egl.data.pool import Pool

    directory = FSDD / "data" / "pool" if args.model == "fsdd" else args.work_dir / "audio"
    scp = directory / "wav.scp"
    keys = list(read_table(scp))
    step = max(1, len(keys) // args.utterances)
    scp = absolute_scp(args, scp)
    pool = [(str(scp), "speech", "sound")]
    return Pool(pool, keys[::step][: args.utterances], recognizer.rate)


def absolute_scp(args: argparse.Namespace, scp: Path) -> Path:
    """A copy of wav.scp whose paths mean the same from anywhere."""
    from espnet_egl.data.kaldi import read_table, write_table

    base = FSDD if args.model == "fsdd" else Path.cwd()
    found = {uid: str((base / path).resolve()) for uid, path in read_table(scp).items()}
    write_table(args.work_dir / "wav.scp", found)
    return args.work_dir / "wav.scp"


# ---- phases ----


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = function()
    return result, time.perf_counter() - started


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run_hypotheses(args: argparse.Namespace) -> dict[str, Any]:
    """Beam search alone; then its lists filled up to the wanted number.

    With a vocabulary of 19 ESPnet's search returns fewer than 100; a wider one would find
    neighbours of what it has, so that the most probable of them are added.
    """
    from espnet_egl.hypotheses.rescoring import rescore
    from espnet_egl.model.modes import scoring_mode

    recognizer = load(args, args.hypotheses)
    lists, seconds = {}, 0.0
    for utterance in read_pool(args, recognizer):
        with torch.no_grad(), scoring_mode(recognizer.model):
            encoded = recognizer.encode(utterance.speech)
            found, took = timed(lambda e=encoded: recognizer.search(e))
            seconds += took
            nbest = rescore(recognizer, encoded, found, "ctc")
            tokens = [list(h.tokens) for h in nbest.hypotheses]
            searched = len(tokens)
            more = neighbours(tokens, 300, encoded.frames, recognizer.model.vocab_size)
            likely = rescore(recognizer, encoded, more, "ctc").hypotheses
            filled = [*tokens, *(h.tokens for h in likely)][: args.hypotheses]
            # By probability again, with the exact one.
            nbest = rescore(recognizer, encoded, filled, "ctc")
        lists[utterance.uid] = {
            "hypotheses": [h.tokens for h in nbest.hypotheses],
            "weights": nbest.weights,
            "searched": searched,
            "seconds": utterance.seconds,
        }
    (args.work_dir / "lists.json").write_text(json.dumps(lists), encoding="utf-8")
    return {"seconds": seconds, "searched": np.mean([v["searched"] for v in lists.values()])}


def neighbours(found: list[list[int]], count: int, frames: int, vocabulary: int) -> list[Any]:
    """Other transcripts, each a seeded edit of one symbol away from one that was found."""
    from espnet_egl.hypotheses.rescoring import has_ctc_alignment

    draw = random.Random(0)
    unique: dict[tuple[int, ...], None] = {}
    known = {tuple(y) for y in found}
    while len(unique) < count:
        tokens = list(draw.choice(found))
        place = draw.randrange(len(tokens) + 1)
        insert = [draw.randrange(2, vocabulary - 1)] if draw.random() < 2 / 3 else []
        tokens[place : place + draw.randrange(2)] = insert
        if tuple(tokens) not in known and has_ctc_alignment(tokens, frames):
            unique[tuple(tokens)] = None
    return [list(y) for y in unique]


def read_lists(args: argparse.Namespace) -> dict[str, Any]:
    return json.loads((args.work_dir / "lists.json").read_text(encoding="utf-8"))


def run_reference(args: argparse.Namespace) -> dict[str, Any]:
    """The definition: a forward and a backward pass for every hypothesis."""
    from espnet_egl.gradients.parameters import select_parameters
    from espnet_egl.gradients.reference import expected_gradient_length

    recognizer, lists = load(args), read_lists(args)
    parameters = select_parameters(recognizer.model)
    values, seconds = {}, {}
    chosen = list(read_pool(args, recognizer))
    for utterance in chosen[:: max(1, len(chosen) // args.reference)][: args.reference]:
        found = lists[utterance.uid]
        values[utterance.uid], seconds[utterance.uid] = timed(
            lambda u=utterance, f=found: expected_gradient_length(
                recognizer, u.speech, f["hypotheses"], f["weights"], parameters
            )
        )
    return {"values": values, "seconds": seconds}


def run_engine(args: argparse.Namespace, mode: str) -> dict[str, Any]:
    """The same hypotheses through the engine, audio in memory, as in the reference."""
    from espnet_egl.gradients.engine import GradientEngine
    from espnet_egl.scoring.scorer import Scorer

    recognizer, lists = load(args), read_lists(args)
    utterances = list(read_pool(args, recognizer))
    engine = GradientEngine(recognizer, mode=mode, directions=args.directions)
    scorer = Scorer(recognizer, None, {}, engine, args.batch_bins)  # type: ignore[arg-type]

    def measure() -> dict[str, Any]:
        values = {}
        for batch in scorer.batches(utterances):
            found = [lists[u.uid] for u in batch]
            with engine.encode([u.speech for u in batch]) as encoded:
                results = encoded.expected_gradient_lengths(
                    [f["hypotheses"] for f in found], [f["weights"] for f in found]
                )
            for utterance, result in zip(batch, results, strict=True):
                values[utterance.uid] = [result.value, result.stderr, result.passes]
        return values

    values, seconds = timed(measure)
    return {"values": values, "seconds": seconds}


def run_pass(args: argparse.Namespace) -> dict[str, Any]:
    """A whole scoring pass from samples: from reading audio to the written table."""
    import shutil

    from espnet_egl.acquisition.egl import EGL
    from espnet_egl.gradients.engine import GradientEngine
    from espnet_egl.hypotheses.ctc_sampling import CTCSampleSource
    from espnet_egl.scoring.scorer import Scorer
    from espnet_egl.scoring.shard import score_pool

    recognizer = load(args)
    before = peak_bytes()
    pool = read_pool(args, recognizer)
    engine = GradientEngine(recognizer, mode="estimate", directions=args.directions)
    source = CTCSampleSource(size=args.hypotheses)
    scorer = Scorer(recognizer, source, {"egl": EGL()}, engine, args.batch_bins)
    output = args.work_dir / "pass"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    scorer.prepare()
    summary, seconds = timed(lambda: score_pool(pool, scorer, output))
    assert summary.scored == len(read_lists(args)), summary
    return {"seconds": seconds, "peak": peak_bytes() - before}


def run_parts(args: argparse.Namespace) -> dict[str, Any]:
    """Where an estimate's time goes, beside one step of training on the same batches.

    The first round warms up and is not counted.
    """
    from espnet_egl.gradients.engine import GradientEngine
    from espnet_egl.scoring.scorer import Scorer

    recognizer, lists = load(args), read_lists(args)
    engine = GradientEngine(recognizer, mode="estimate", directions=args.directions)
    scorer = Scorer(recognizer, None, {}, engine, args.batch_bins)  # type: ignore[arg-type]
    batches = scorer.batches(list(read_pool(args, recognizer)))
    spent: Counter[str] = Counter()
    for _ in range(2):
        spent.clear()
        for batch in batches:
            found = [lists[u.uid] for u in batch]
            spent += time_estimate(engine, batch, found)
            spent += time_training(recognizer, batch, found)
    with torch.profiler.profile() as profiled:
        for batch in batches:
            time_estimate(engine, batch, [lists[u.uid] for u in batch])
    operators = {e.key: e.self_cpu_time_total for e in profiled.key_averages()}
    total = sum(operators.values())
    largest = sorted(operators, key=lambda key: -operators[key])[:12]
    return {"seconds": spent, "operators": {key: operators[key] / total for key in largest}}


def time_estimate(engine: Any, batch: Sequence[Any], found: Sequence[Any]) -> Counter[str]:
    """Seconds an estimate of a batch takes, with all of its backward passes together."""
    spent: Counter[str] = Counter()
    started = time.perf_counter()
    with engine.encode([u.speech for u in batch]) as encoded:
        spent["forward pass, watched"] = time.perf_counter() - started
        recording = encoded._recording
        backward, passes = recording.backward, []

        def pull_back(*a: Any, **k: Any) -> Any:
            result, seconds = timed(lambda: backward(*a, **k))
            passes.append(seconds)
            return result

        recording.backward = pull_back
        _, seconds = timed(
            lambda: encoded.expected_gradient_lengths(
                [f["hypotheses"] for f in found], [f["weights"] for f in found]
            )
        )
    spent["hypotheses to directions"] = seconds - sum(passes)
    spent["one backward pass with norms"] = sum(passes) / len(passes)
    return spent


def time_training(recognizer: Any, batch: Sequence[Any], found: Sequence[Any]) -> Counter[str]:
    """Seconds the forward and backward pass of training on a batch take."""
    from espnet_egl.model.likelihoods import pad

    model = recognizer.model
    speech = torch.nn.utils.rnn.pad_sequence(
        [torch.as_tensor(u.speech) for u in batch], batch_first=True
    )
    lengths = torch.tensor([len(u.speech) for u in batch])
    text, text_lengths = pad(
        [f["hypotheses"][0] or [2] for f in found], speech.device, fill=model.ignore_id
    )
    model.train()
    (loss, _, _), forward = timed(
        lambda: model(speech=speech, speech_lengths=lengths, text=text, text_lengths=text_lengths)
    )
    _, backward = timed(loss.backward)
    model.zero_grad()
    model.eval()
    return Counter({"training: forward pass": forward, "training: backward pass": backward})


def run_train(args: argparse.Namespace) -> dict[str, Any]:
    """One epoch of ESPnet's own training over the same audio, batches as large as the engine's."""
    from espnet2.tasks.asr import ASRTask
    from espnet2.train.trainer import Trainer

    from espnet_egl.data.kaldi import write_table

    recognizer, lists = load(args), read_lists(args)
    utterances = list(read_pool(args, recognizer))
    work = args.work_dir
    best = {uid: found["hypotheses"][0] or [2] for uid, found in lists.items()}
    names = recognizer.train_args.token_list
    text = {uid: " ".join(names[t] for t in tokens) for uid, tokens in best.items()}
    shapes = {u.uid: str(len(u.speech)) for u in utterances}
    write_table(work / "text", text)
    write_table(work / "shape", shapes)
    scp = work / "wav.scp"
    write_table(work / "train.scp", {u: p for u, p in _table(scp).items() if u in text})
    config = FSDD_EXP / "config.yaml" if args.model == "fsdd" else work / "model" / "config.yaml"
    before = peak_bytes()
    epochs: list[float] = []

    class Timed(Trainer):
        @classmethod
        def train_one_epoch(cls, *a: Any, **k: Any) -> Any:
            result, seconds = timed(lambda: Trainer.train_one_epoch(*a, **k))
            epochs.append(seconds)
            return result

        @classmethod
        def validate_one_epoch(cls, *a: Any, **k: Any) -> None:
            return None

    class Task(ASRTask):
        trainer = Timed

    options = _training_options(config)
    options.update(
        output_dir=str(work / "train"),
        token_type="word",
        bpemodel=None,
        init_param=[],
        resume=False,
        max_epoch=1,
        batch_type="numel",
        batch_bins=args.batch_bins,
        train_shape_file=[str(work / "shape")],
        valid_shape_file=[str(work / "shape")],
        train_data_path_and_name_and_type=[
            (str(work / "train.scp"), "speech", "sound"),
            (str(work / "text"), "text", "text"),
        ],
        best_model_criterion=[("train", "loss", "min")],
        ngpu=0,
        num_workers=1,
        fold_length=[],
        num_att_plot=0,
        use_tensorboard=False,
        use_matplotlib=False,
    )
    options["valid_data_path_and_name_and_type"] = options["train_data_path_and_name_and_type"]
    arguments = ASRTask.get_parser().parse_args(["--output_dir", str(work / "train")])
    vars(arguments).update(options)
    Task.main(args=arguments)
    return {"seconds": epochs[0], "peak": peak_bytes() - before}


def _table(path: Path) -> dict[str, str]:
    from espnet_egl.data.kaldi import read_table

    return read_table(path)


def _training_options(config: Path) -> dict[str, Any]:
    import yaml

    options = yaml.safe_load(config.read_text(encoding="utf-8"))
    return {k: v for k, v in options.items() if k not in ("required", "version", "distributed")}


# ---- the table ----


def summarize(args: argparse.Namespace, found: dict[str, Any]) -> dict[str, Any]:
    """The figures of the JSON line."""
    from scipy.stats import spearmanr

    reference = found["reference"]["values"]
    seconds = found["reference"]["seconds"]
    uids = list(reference)
    truth = np.array([reference[u] for u in uids])
    # The others did all utterances, the reference perhaps some: by the second of audio.
    audio = {uid: entry["seconds"] for uid, entry in read_lists(args).items()}
    per_second = sum(seconds.values()) / sum(audio[u] for u in uids)
    count = len(found["exact"]["values"])
    epoch = found["train"]["seconds"]
    figures: dict[str, Any] = {"model": args.model, "utterances": count, "referenced": len(uids)}
    for mode in ("exact", "estimate"):
        values = np.array([found[mode]["values"][u] for u in uids])
        error = np.abs(values[:, 0] / truth - 1)
        figures[f"{mode}_speedup"] = per_second / (found[mode]["seconds"] / sum(audio.values()))
        figures[f"{mode}_max_rel_err"] = error.max()
        figures[f"{mode}_median_rel_err"] = np.median(error)
        figures[f"{mode}_directions_mean"] = values[:, 2].mean()
    top = max(1, round(0.2 * len(uids)))
    best = {tuple(np.argsort(-v)[:top]) for v in (truth, values[:, 0])}
    common = set.intersection(*map(set, best))
    figures["estimate_spearman"] = spearmanr(truth, values[:, 0])[0] if len(uids) > 2 else None
    figures["estimate_top20_overlap"] = len(common) / top
    covered = np.abs(values[:, 0] - truth) <= 2 * values[:, 1] + 1e-6 * truth
    figures["stderr_coverage"] = covered.mean()
    figures["directions_mean"] = figures["exact_directions_mean"]
    figures["beam_vs_epoch"] = found["hypotheses"]["seconds"] / epoch
    figures["pass_vs_epoch"] = found["pass"]["seconds"] / epoch
    figures["peak_mem_vs_train"] = found["pass"]["peak"] / found["train"]["peak"]
    return {
        k: v if isinstance(v, str | type(None)) else float(f"{v:.4g}") for k, v in figures.items()
    }


def report(found: dict[str, Any], figures: dict[str, Any]) -> None:
    from espnet_egl.store.tables import duration

    count = figures["utterances"]
    reference = np.mean(list(found["reference"]["seconds"].values()))
    print(f"\n{'':28}{'s an utterance':>16}{'all':>16}")
    rows = [("the definition", reference), ("exact", found["exact"]["seconds"] / count)]
    rows += [("estimate", found["estimate"]["seconds"] / count)]
    rows += [("whole pass, ctc_sample", found["pass"]["seconds"] / count)]
    rows += [("beam search alone", found["hypotheses"]["seconds"] / count)]
    rows += [("training epoch", found["train"]["seconds"] / count)]
    for name, seconds in rows:
        print(f"{name:28}{seconds:16.4f}{duration(seconds * count):>16}")
    print()
    for name, seconds in found["parts"]["seconds"].items():
        print(f"{name:34}{1000 * seconds / count:10.2f} ms an utterance")
    print("\nOf the estimate's time:")
    for name, share in found["parts"]["operators"].items():
        print(f"{name:34}{share:10.1%}")
    print()


def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    utterances, reference, batch_bins = SIZES[args.model]
    args.utterances = args.utterances or utterances
    args.reference = min(args.reference or reference, args.utterances)
    args.batch_bins = args.batch_bins or batch_bins
    args.work_dir = (args.work_dir or ROOT / "bench" / "work" / args.model).resolve()
    torch.set_num_threads(args.threads)
    if args.phase:
        logging.disable(logging.WARNING)
        phases: dict[str, Callable[[argparse.Namespace], Any]] = {
            "hypotheses": run_hypotheses,
            "reference": run_reference,
            "exact": lambda a: run_engine(a, "exact"),
            "estimate": lambda a: run_engine(a, "estimate"),
            "pass": run_pass,
            "train": run_train,
            "parts": run_parts,
        }
        print(json.dumps(phases[args.phase](args)))
        return
    args.work_dir.mkdir(parents=True, exist_ok=True)
    prepare(args)
    found = {}
    for phase in PHASES:
        print(f"{phase} ...", file=sys.stderr, flush=True)
        words = [sys.executable, __file__, "--phase", phase]
        for name, value in vars(args).items():
            if name != "phase" and value is not None:
                words += [f"--{name}", str(value)]
        done = subprocess.run(
            words,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found[phase] = json.loads(done.stdout.splitlines()[-1])
    figures = summarize(args, found)
    report(found, figures)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
