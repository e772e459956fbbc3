#!/usr/bin/env python3
"""Learning curves of simulations: one table of raw rows, what they say, and a plot.

    python3 bench/learning_curves.py recipes/fsdd/asr1/exp/al_fsdd --output_dir docs/results/fsdd

Joins ``curve.tsv`` and ``times.tsv`` of every simulation below the directories (``sim``,
``sim_TAG``) into the output directory, beside ``worth.md`` and ``curves.png``. Without a directory
it reads what was joined before.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from espnet_egl.loop import worth
from espnet_egl.loop.tables import tables
from espnet_egl.selection.budget import FREE

# Of Okabe and Ito: told apart with any colour vision, and in grey.
METHOD, RIVAL = "#0072B2", "#999999"


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("al_dir", type=Path, nargs="*", help="Of simulations")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--test_set", default="test")
    parser.add_argument("--against", default="random")
    parser.add_argument("--seed_hours", type=float, default=0.0, help="Of the seed set")
    return parser


def join(directories: Sequence[Path], output_dir: Path) -> None:
    """One table of the rows of all simulations; the seed model's stands once."""
    for name in ("curve.tsv", "times.tsv"):
        paths = sorted(path for d in directories for path in d.glob(f"sim*/{name}"))
        rows = pd.concat(pd.read_csv(p, sep="\t", dtype=str, keep_default_na=False) for p in paths)
        rows.drop_duplicates().to_csv(output_dir / name, sep="\t", index=False, lineterminator="\n")


def plot(path: Path, test_set: str, against: str, out: Path) -> None:
    """A panel a method: mean over seeds and 95 % interval, beside what it is compared with."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    curves = worth.curves_of(worth.read_points(path, test_set), "hours")
    names = [name for name in curves if name != against]
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3 * columns, 2.6 * rows), sharex=True, sharey=True, squeeze=False
    )
    for axis, name in zip(axes.flat, names, strict=False):
        for method, colour, line in ((against, RIVAL, "--"), (name, METHOD, "-")):
            _draw(axis, list(curves[method].values()), colour, line, method)
        axis.legend(fontsize=8, frameon=False)
        axis.grid(alpha=0.3)
    for axis in list(axes.flat)[len(names) :]:
        axis.set_visible(False)
    figure.supxlabel("labelled, minutes", fontsize=10)
    figure.supylabel(f"WER on {test_set}, %", fontsize=10)
    figure.tight_layout()
    figure.savefig(out, dpi=120)
    plt.close(figure)


def _draw(axis, curves: list[worth.Curve], colour: str, line: str, label: str) -> None:
    # A simulation that is not at its end has seeds with a part of the sizes.
    points = max(len(curve.size) for curve in curves)
    curves = [curve for curve in curves if len(curve.size) == points]
    minutes = 60 * np.mean([curve.size for curve in curves], axis=0)
    found = [worth.estimate(np.array([c.wer[i] for c in curves])) for i in range(points)]
    axis.plot(minutes, [f.mean for f in found], line, color=colour, marker="o", ms=3, label=label)
    ends = [[f.low for f in found], [f.high for f in found]]
    axis.fill_between(minutes, *ends, color=colour, alpha=0.2, lw=0)


def times(path: Path) -> str:
    """Mean training seconds of every budget, over methods and seeds."""
    table = pd.read_csv(path, sep="\t", keep_default_na=False)
    table = table[table["round"] > 0].groupby("budget", sort=False)["seconds"]
    return "\n".join(
        f"{budget}: {group.mean():.0f} s a training on average, {len(group)} trainings"
        for budget, group in table
    )


def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    if args.al_dir:
        join(args.al_dir, args.output_dir)
    curve = args.output_dir / "curve.tsv"
    lines = tables(curve, args.test_set, args.against, args.seed_hours, FREE)
    (args.output_dir / "worth.md").write_text("\n".join(lines) + "\n")
    plot(curve, args.test_set, args.against, args.output_dir / "curves.png")
    print("\n".join(lines))
    print(times(args.output_dir / "times.tsv"))


if __name__ == "__main__":
    main()
