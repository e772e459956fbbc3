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
    parser.add_argument("--output_file", help="The tables in Markdown; also printed")
    options.add_worth_arguments(parser)
    return parser


def worth(args: argparse.Namespace) -> None:
    """Run the command; prints the tables."""
    from espnet_egl.loop.tables import tables
    from espnet_egl.loop.training import parse_factors, read_seed_hours
    from espnet_egl.selection.budget import Prices
    from espnet_egl.store.files import write_lines

    prices = Prices(args.price_per_hour, args.price_per_clip)
    factors = parse_factors(args.speed_perturb_factors)
    hours = read_seed_hours(args.seed_hours, args.seed_shape_file, args.fs, factors)
    lines = tables(args.curve_file, args.test_set, args.against, hours, prices)
    print("\n".join(lines))
    if args.output_file is not None:
        write_lines(args.output_file, lines)


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), worth, cmd)


if __name__ == "__main__":
    main()
