#!/usr/bin/env python3
"""Time and memory of --diversity fisher, by the number of candidates.

The factors are drawn: a few directions are common, lengths vary a hundredfold, as those of speech
do. A fifth of the candidates' seconds is the budget, as by al_select's default. One process for
every size, so that the peak is its own; seconds are of the processor, whatever else runs.

    python3 bench/information.py [--candidates 1000 10000 100000] [--output_file FILE]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from espnet_egl.selection.information import cover, total
from espnet_egl.store.embeddings import FACTORS
from espnet_egl.store.tables import write_rows

COLUMNS = ("candidates", "batch", "seconds", "peak_gib", "trace_left", "random_trace_left")
SIDE = 256


def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, Q, S) factors, and (N,) seconds."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal((32, SIDE), dtype=np.float32)
    factors = np.empty((count, FACTORS, SIDE), dtype=np.float32)
    for start in range(0, count, 4096):
        part = factors[start : start + 4096]
        mixed = rng.standard_normal((len(part), FACTORS, 32), dtype=np.float32) ** 3 @ common
        lengths = 10 ** rng.uniform(-2, 0, (len(part), 1, 1)).astype(np.float32)
        lengths = lengths * 0.5 ** np.arange(FACTORS, dtype=np.float32)[None, :, None]
        part[:] = lengths * (mixed + rng.standard_normal(part.shape, dtype=np.float32))
    return factors, rng.uniform(1.0, 15.0, count)


def left(factors: np.ndarray, rows: np.ndarray, wanted: np.ndarray) -> float:
    """The trace, as a share of that of the empty batch."""
    mean = np.trace(wanted) / len(factors) / SIDE
    start = mean * np.eye(SIDE)
    found = np.linalg.solve(start + total(factors[np.sort(rows)]), wanted)
    return float(np.trace(found) / (np.trace(wanted) / mean))


def measure(count: int) -> list[str]:
    factors, costs = draw(count)
    limit, started = 0.2 * costs.sum(), time.process_time()
    wanted = total(factors)
    order = cover(factors, costs, limit, wanted)
    seconds = time.process_time() - started
    batch = order[costs[order].cumsum() <= limit]
    drawn = np.random.default_rng(1).permutation(count)
    drawn = drawn[costs[drawn].cumsum() <= limit]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    traces = [f"{left(factors, rows, wanted):.5f}" for rows in (batch, drawn)]
    return [str(count), str(len(batch)), f"{seconds:.1f}", f"{peak:.2f}", *traces]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, nargs="+", default=[1000, 10000, 100000])
    parser.add_argument("--output_file", type=Path)
    args = parser.parse_args()
    if len(args.candidates) == 1:
        print("\t".join(measure(args.candidates[0])))
        return
    rows = []
    for count in args.candidates:
        cmd = [sys.executable, __file__, "--candidates", str(count)]
        done = subprocess.run(cmd, check=True, stdout=subprocess.PIPE, text=True)
        rows.append(done.stdout.strip().split("\t"))
        print(dict(zip(COLUMNS, rows[-1], strict=True)), flush=True)
    if args.output_file is not None:
        write_rows(args.output_file, COLUMNS, rows)


if __name__ == "__main__":
    main()
