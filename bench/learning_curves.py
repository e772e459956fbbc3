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

import pandas as pd
from matplotlib import rc_context

from espnet_egl import options
from espnet_egl.loop import worth
from espnet_egl.loop.tables import tables
from espnet_egl.report.plots import curve_figure, style
from espnet_egl.selection.budget import Prices


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("al_dir", type=Path, nargs="*", help="Of simulations")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--test_set", default="test")
    parser.add_argument("--against", default="random")
    parser.add_argument("--seed_hours", type=float, default=0.0, help="Of the seed set")
    options.add_price_arguments(parser)
    return parser


def join(directories: Sequence[Path], output_dir: Path) -> None:
    """One table of the rows of all simulations; the seed model's stands once."""
    for name in ("curve.tsv", "times.tsv"):
        paths = sorted(path for d in directories for path in d.glob(f"sim*/{name}"))
        rows = pd.concat(pd.read_csv(p, sep="\t", dtype=str, keep_default_na=False) for p in paths)
        rows.drop_duplicates().to_csv(output_dir / name, sep="\t", index=False, lineterminator="\n")


def plot(path: Path, test_set: str, against: str, out: Path) -> None:
    """A panel a method: mean over seeds and 95 % interval, beside what it is compared with."""
    points = worth.read_points(path, test_set)
    with rc_context(style()):
        curve_figure(points, "hours", test_set, against).savefig(out, dpi=120)


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
    prices = Prices(args.price_per_hour, args.price_per_clip)
    lines = tables(curve, args.test_set, args.against, args.seed_hours, prices)
    (args.output_dir / "worth.md").write_text("\n".join(lines) + "\n")
    plot(curve, args.test_set, args.against, args.output_dir / "curves.png")
    print("\n".join(lines))
    print(times(args.output_dir / "times.tsv"))


if __name__ == "__main__":
    main()
