#!/usr/bin/env python3
"""Write a sample of a training set as a data directory: what the model knows is estimated by it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from humanfriendly.text import pluralize

from espnet_egl import options


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_sample", __doc__ or "")
    parser.add_argument("--data_dir", required=True, help="The training set")
    parser.add_argument("--clips", type=int, default=500, help="Of the sample, at most")
    parser.add_argument(
        "--output_dir", required=True, help="sample/ of it is the sample, clips its set's size"
    )
    return parser


def sample(args: argparse.Namespace) -> None:
    """Run the command; prints the sizes."""
    from espnet_egl.errors import ConfigError
    from espnet_egl.selection.information import write_sample

    if args.clips < 1:
        raise ConfigError("--clips must be at least 1")
    drawn, count = write_sample(args.data_dir, args.output_dir, args.clips)
    print(f"{drawn} of {pluralize(count, 'clip')} of {args.data_dir}")


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), sample, cmd)


if __name__ == "__main__":
    main()
