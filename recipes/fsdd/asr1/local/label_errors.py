#!/usr/bin/env python3
"""Swap training transcripts, and report how well gradient lengths find the swapped ones."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from espnet_egl.data.kaldi import read_table, write_table


def swap(args: argparse.Namespace) -> None:
    """Move the transcripts of a share of the utterances on to the next of them."""
    text = read_table(args.text)
    rng = np.random.default_rng(args.seed)
    count = max(2, round(args.share * len(text)))
    # Only a transcript that differs is wrong: one of each, then a cycle through all.
    by_text = {text[uid]: uid for uid in rng.permutation(sorted(text))}
    chosen = [by_text[t] for t in rng.permutation(sorted(by_text))[:count]]
    swapped = dict(zip(chosen, [text[uid] for uid in [*chosen[1:], chosen[0]]], strict=True))
    write_table(args.output_text, {**text, **swapped})
    write_table(args.output_map, {uid: str(int(uid in swapped)) for uid in text})
    print(f"swapped {len(swapped)} of {len(text)} transcripts")


def report(args: argparse.Namespace) -> None:
    """How many of the swapped ones are among as many of the largest gradient lengths."""
    swapped = {uid for uid, flag in read_table(args.map).items() if flag == "1"}
    table = pd.read_csv(args.lengths, sep="\t", dtype={"utterance": str})
    table["swapped"] = table["utterance"].isin(swapped)
    for name in ("gradient_length", "loss"):
        ranked = table.sort_values(name, ascending=False)
        found = int(ranked["swapped"].head(len(swapped)).sum())
        print(
            f"by {name}: {found} of the {len(swapped)} swapped transcripts are among the "
            f"{len(swapped)} largest of {len(table)} ({100 * found / len(swapped):.0f} %; "
            f"chance: {100 * len(swapped) / len(table):.0f} %)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("swap", help="Make a text with wrong transcripts")
    command.add_argument("--text", type=Path, required=True)
    command.add_argument("--share", type=float, default=0.05)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--output_text", type=Path, required=True)
    command.add_argument("--output_map", type=Path, required=True)
    command.set_defaults(function=swap)
    command = commands.add_parser("report", help="Where the wrong transcripts rank")
    command.add_argument("--lengths", type=Path, required=True)
    command.add_argument("--map", type=Path, required=True)
    command.set_defaults(function=report)
    args = parser.parse_args()
    args.function(args)


if __name__ == "__main__":
    main()
