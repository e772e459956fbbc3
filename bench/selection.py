#!/usr/bin/env python3
"""Stage 21 on a pool as large as the paper's: seconds and memory of the command itself.

    python3 bench/selection.py                                  # 1.1 million utterances
    python3 bench/selection.py --rows 100000 --options '--diversity kmeans++'

Prints a table and, last, one JSON line.
"""

from __future__ import annotations

import argparse
import json
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from espnet_egl.gradients.projection import DIMENSIONS
from espnet_egl.store import embeddings


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_100_000)
    parser.add_argument("--options", default="", help="More options of al_select")
    parser.add_argument("--work_dir", type=Path, default=Path("bench/work/selection"))
    return parser


def make_pool(directory: Path, rows: int, with_embeddings: bool) -> None:
    """A score table as stage 20 writes it, of clips of 1-15 s by two thousand speakers."""
    draw = np.random.default_rng(0)
    uids = [f"spk{i % 2000:04}-utt{i:08}" for i in range(rows)]
    confidence = draw.beta(8, 2, rows).round(6)
    columns = {
        "utterance": uids,
        "seconds": draw.uniform(1, 15, rows).round(3),
        "frames": draw.integers(25, 375, rows),
        "hypotheses": 100,
        "mass": draw.beta(2, 1, rows).round(6),
        "confidence": confidence,
        "best_hypothesis": [f"the words of utterance {i % 900_000} are many" for i in range(rows)],
        "score_egl": draw.lognormal(3, 2, rows).round(6),
        "score_confidence": (1 - confidence).round(6),
        "score_random": draw.random(rows).round(8),
        "egl_stderr": draw.lognormal(0, 1, rows).round(6),
        "audio_hash": [f"{i % (rows - 1000):016x}" for i in range(rows)],
    }
    directory.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(columns).sort_values("utterance")
    table.to_csv(directory / "scores.tsv", sep="\t", index=False)
    for name, value in (("wav.scp", "/corpus/{}.flac"), ("utt2spk", "{:.7}")):
        lines = (f"{uid} {value.format(uid)}\n" for uid in table["utterance"])
        (directory / name).write_text("".join(lines))
    if with_embeddings:
        points = draw.normal(size=(rows, DIMENSIONS)).astype(embeddings.DTYPE)
        embeddings.write(directory / embeddings.NAME, points, rows)


def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    pool = args.work_dir / str(args.rows)
    diverse = "--diversity" in args.options
    if not (pool / (embeddings.NAME if diverse else "scores.tsv")).exists():
        make_pool(pool, args.rows, diverse)
    shutil.rmtree(pool / "out", ignore_errors=True)
    command = [sys.executable, "-m", "espnet_egl.bin.al_select", "--output_dir", str(pool / "out")]
    command += ["--score_file", str(pool / "scores.tsv"), "--data_dir", str(pool)]
    started = time.perf_counter()
    subprocess.run([*command, *shlex.split(args.options)], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    selected = len((pool / "out" / "selection.tsv").read_text().splitlines()) - 1
    print(f"{'utterances':>12}{'selected':>12}{'seconds':>10}{'GiB':>8}")
    print(f"{args.rows:12}{selected:12}{seconds:10.1f}{memory:8.2f}")
    figures = {"rows": args.rows, "options": args.options, "selected": selected}
    print(json.dumps({**figures, "seconds": round(seconds, 2), "gib": round(memory, 3)}))


if __name__ == "__main__":
    main()
