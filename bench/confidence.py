#!/usr/bin/env python3
"""Measures of confidence compared: do they find wrong words, and bad utterances?

Decodes transcribed data once with a recipe's model and search, then computes every
measure x exponent x normalisation x temperature x aggregation from the same posteriors:

    python3 bench/confidence.py                                    # the FSDD pool
    python3 bench/confidence.py --recipe_dir recipes/demo/asr1     # synthetic speech

Prints a table and, last, one JSON line. AUC-ROC: P(a right word has more confidence than a
wrong one). Spearman: of 1 - confidence with the word error rate of the utterance.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from espnet_egl.data.kaldi import read_table
from espnet_egl.data.pool import Pool
from espnet_egl.errors import ConfigError, UtteranceError
from espnet_egl.fitted.calibration import word_correctness
from espnet_egl.hypotheses.beam import BeamSearchSource
from espnet_egl.hypotheses.forced_alignment import Alignment, align
from espnet_egl.hypotheses.sureness import AGGREGATIONS, LEVELS, ConfidenceMeasure, words_of
from espnet_egl.model.loading import load_recognizer
from espnet_egl.model.modes import scoring_mode
from espnet_egl.types import Hypothesis, Skipped

ROOT = Path(__file__).resolve().parents[1]
ALPHAS = (0.25, 0.33, 0.5, 1.0, 2.0)
TEMPERATURES = (0.5, 1.0, 2.0)


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe_dir", type=Path, default=ROOT / "recipes" / "fsdd" / "asr1")
    parser.add_argument("--asr_exp", default="exp/asr_train_asr_ctc_conformer_raw_en_char")
    parser.add_argument("--asr_model", default="valid.loss.best.pth")
    parser.add_argument("--inference_config", default="conf/decode_asr.yaml")
    parser.add_argument(
        "--data", default="pool", help="data/<data>, transcribed there or in _truth"
    )
    parser.add_argument("--utterances", type=int, help="default: all")
    parser.add_argument("--nbest", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, default=25, help="of the table")
    return parser


@dataclass(frozen=True)
class Decoded:
    """An utterance's best hypothesis, laid over the audio and compared with the truth."""

    hypothesis: Hypothesis
    alignment: Alignment
    words: list[list[int]]
    right: list[bool]
    error_rate: float


def decode(args: argparse.Namespace) -> list[Decoded]:
    """The data with the recipe's search; clips that cannot be scored are left out."""
    recipe = args.recipe_dir
    recognizer = load_recognizer(
        recipe / args.asr_exp / "config.yaml",
        recipe / args.asr_exp / args.asr_model,
        recipe / args.inference_config,
        nbest=args.nbest,
    )
    data = recipe / "data" / args.data
    text = data / "text"
    references = read_table(
        text if text.exists() else data.with_name(f"{data.name}_truth") / "text"
    )
    pool = Pool(
        [(str(data / "wav.scp"), "speech", "sound")],
        list(references)[:: max(1, len(references) // (args.utterances or len(references)))],
        recognizer.rate,
        preprocess=recognizer.preprocess(),
    )
    source, found = BeamSearchSource(), []
    for index, uid in enumerate(pool.keys):
        utterance = pool[index]
        if isinstance(utterance, Skipped):
            continue
        try:
            with torch.no_grad(), scoring_mode(recognizer.model):
                encoded = recognizer.encode(utterance.speech)
                best = source(recognizer, uid, encoded).hypotheses[0]
            alignment = align(recognizer, encoded, best.tokens)
        except UtteranceError:
            continue
        words = words_of(recognizer.to_text, best.tokens)
        hypothesis, reference = [word for word, _ in words], references[uid].split()
        found.append(
            Decoded(
                best,
                alignment,
                [own for _, own in words],
                word_correctness(reference, hypothesis),
                jiwer.wer(" ".join(reference), " ".join(hypothesis)),
            )
        )
    return found


def measures() -> Iterator[ConfidenceMeasure]:
    """What differs before aggregation."""
    for temperature in TEMPERATURES:
        yield ConfidenceMeasure("posterior", temperature=temperature)
        for alpha in ALPHAS:
            yield ConfidenceMeasure("max_prob", alpha, temperature=temperature)
            entropies = ("gibbs",) if alpha == 1 else ("gibbs", "tsallis", "renyi")
            for measure, norm in itertools.product(entropies, ("linear", "exp")):
                yield ConfidenceMeasure(measure, alpha, norm, temperature=temperature)


def compare(data: Sequence[Decoded]) -> list[dict[str, Any]]:
    """One row for every setting."""
    right = [r for d in data for r in d.right]
    errors = [d.error_rate for d in data]
    log_probs = torch.cat([d.alignment.log_probs for d in data])
    symbols = [s for d in data for s in d.alignment.symbols]
    sizes = [len(d.alignment.symbols) for d in data]
    rows = []
    for base in measures():
        try:
            base.check_vocabulary(log_probs.size(1))
        except ConfigError:
            continue
        steps = [part.tolist() for part in base.steps(log_probs, symbols).split(sizes)]
        for aggregation, level, exclude in itertools.product(AGGREGATIONS, LEVELS, (True, False)):
            setting = {
                **vars(base),
                "aggregation": aggregation,
                "level": level,
                "exclude_blank": exclude,
            }
            measure = ConfidenceMeasure(**setting)
            joined = [
                measure.join(own, d.alignment, d.hypothesis, d.words)
                for own, d in zip(steps, data, strict=True)
            ]
            of_utterances = [utterance for utterance, _ in joined]
            rows.append(
                setting
                | {
                    "auc_words": roc_auc_score(right, [w for _, words in joined for w in words]),
                    "auc_utterances": roc_auc_score([e == 0 for e in errors], of_utterances),
                    "spearman": -spearmanr(of_utterances, errors).statistic,
                }
            )
    return rows


STEP = ("measure", "alpha", "norm", "temperature", "aggregation", "exclude_blank")
RESULTS = ("auc_words", "auc_utterances", "spearman")


def show(rows: Sequence[dict[str, Any]], columns: Sequence[str], results: Sequence[str]) -> None:
    """A table."""
    print("| " + " | ".join((*columns, *results)) + " |")
    print("|" + "---|" * (len(columns) + len(results)))
    for row in rows:
        cells = [str(row[name]) for name in columns] + [f"{row[name]:.3f}" for name in results]
        print("| " + " | ".join(cells) + " |")
    print()


def main() -> None:
    args = get_parser().parse_args()
    logging.basicConfig(level="WARNING")
    torch.set_num_threads(args.threads)
    started = time.monotonic()
    data = decode(args)
    decoding = time.monotonic() - started
    right = [r for d in data for r in d.right]
    rows = compare(data)
    print(
        f"\n{args.recipe_dir.parent.name}, {args.data}: {len(data)} utterances, {len(right)} "
        f"words, {np.mean(right):.1%} of them right; decoding took {decoding:.0f} s\n"
    )
    # The level changes nothing of words; of transcripts nothing else changes anything.
    transcripts = [row for row in rows if row["level"] == "transcript"]
    show([row for row in rows if is_default(row)], (*STEP, "level"), RESULTS)
    print("Words:\n")
    transcripts.sort(key=lambda row: -row["auc_words"])
    show(transcripts[: args.rows], STEP, RESULTS[:1])
    print("Utterances:\n")
    others = [row for row in rows if row["level"] != "transcript"]
    others.sort(key=lambda row: -row["spearman"])
    show(transcripts[:1], ("level",), RESULTS[1:])
    show(others[: args.rows], (*STEP, "level"), RESULTS[1:])
    print(json.dumps({"utterances": len(data), "words": len(right), "rows": rows}))


def is_default(row: dict[str, Any]) -> bool:
    """Whether it is what al_score does, at any level."""
    return all(
        row[name] == value for name, value in vars(ConfidenceMeasure()).items() if name in STEP
    )


if __name__ == "__main__":
    main()
