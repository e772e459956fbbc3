#!/usr/bin/env python3
"""Set aside what is transcribed already, and plan the shards of what is to be scored."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_egl import options

if TYPE_CHECKING:
    from espnet_egl.data.arrivals import Plan


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_prepare", __doc__ or "")
    audio = parser.add_mutually_exclusive_group(required=True)
    audio.add_argument("--key_file", help="The pool's wav.scp, segments or feats.scp")
    audio.add_argument(
        "--data_dir",
        help="The pool's data directory: data.args then tells al_score how to read it",
    )
    parser.add_argument(
        "--audio_format", default="", help="Of --data_dir, if it does not say itself"
    )
    parser.add_argument(
        "--pool_dir",
        action="append",
        default=[],
        help="Data directory of the pool, to know its recordings by (repeatable)",
    )
    parser.add_argument(
        "--exclude_dir",
        action="append",
        default=[],
        help="Data directory of a transcribed set: what is in it is left out (repeatable)",
    )
    parser.add_argument(
        "--al_dir", help="Of all rounds: what was selected in those before --round is left out"
    )
    parser.add_argument("--round", type=int, default=1, help="From 1 on")
    parser.add_argument("--nj", type=int, default=4, help="The number of new shards at most")
    parser.add_argument("--output_dir", required=True, help="Where keys.JOB.scp go")
    options.add_advice_argument(parser)
    return parser


def prepare(args: argparse.Namespace) -> None:
    """Run the command; prints the numbers of the first and the last shard to score."""
    plan = planned(args)
    logging.info(f"The pool: {plan.arrival.describe()}")
    print(plan.first, plan.last)


def planned(args: argparse.Namespace) -> Plan:
    """Write the plan, and what al_score is told of it."""
    from espnet_egl.data.arrivals import plan_shards
    from espnet_egl.data.directory import key_file, score_words, selected_before
    from espnet_egl.store.files import write_lines

    words: list[str] = []
    if args.data_dir is not None:
        words = score_words(args.data_dir, args.audio_format)
        args.key_file = key_file(args.data_dir)
    exclude = [*args.exclude_dir]
    if args.al_dir is not None:
        exclude += selected_before(args.al_dir, args.round)
    plan = plan_shards(args.key_file, args.nj, args.output_dir, args.pool_dir, exclude, args.advice)
    if words := [*words, *plan.score_words()]:
        write_lines(Path(args.output_dir) / "data.args", words)
    return plan


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), prepare, cmd)


if __name__ == "__main__":
    main()
