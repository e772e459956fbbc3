#!/usr/bin/env python3
"""What labelling was worth: every method against random selection, and what comes next."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from espnet_egl import options


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_worth", __doc__ or "")
    parser.add_argument(
        "--curve_file", required=True, help="curve.tsv of a simulation or of rounds"
    )
    parser.add_argument("--test_set", default="test", help="Whose error rates")
    parser.add_argument(
        "--against", default="random", help="The method to compare with, where it is there"
    )
    parser.add_argument("--output_file", help="The tables in Markdown; also printed")

    group = parser.add_argument_group("What comes next")
    group.add_argument(
        "--seed_hours", type=float, default=0.0, help="Of the seed set; 0: nothing is foretold"
    )
    group.add_argument(
        "--seed_shape_file", help="Or its speech_shape of stage 10, in samples", metavar="FILE"
    )
    group.add_argument("--fs", default="16k", help="Of these samples")
    group.add_argument(
        "--speed_perturb_factors",
        default="",
        help="Copies of them, no hours of speech",
    )
    group.add_argument(
        "--price_per_hour", type=float, default=0.0, help="Of transcribing, if not as in the curve"
    )
    group.add_argument("--price_per_clip", type=float, default=0.0, help="Beside it, likewise")
    return parser


def worth(args: argparse.Namespace) -> None:
    """Run the command; prints the tables."""
    from espnet_egl.files import write_lines
    from espnet_egl.loop.tables import tables
    from espnet_egl.loop.training import parse_factors, parse_rate, total_samples
    from espnet_egl.selection.budget import Prices

    prices = Prices(args.price_per_hour, args.price_per_clip)
    hours = args.seed_hours
    if args.seed_shape_file is not None and not hours:
        copies = sum(1 / factor for factor in parse_factors(args.speed_perturb_factors))
        hours = total_samples(args.seed_shape_file) / parse_rate(args.fs) / 3600 / copies
    lines = tables(args.curve_file, args.test_set, args.against, hours, prices)
    print("\n".join(lines))
    if args.output_file is not None:
        write_lines(args.output_file, lines)


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), worth, cmd)


if __name__ == "__main__":
    main()
