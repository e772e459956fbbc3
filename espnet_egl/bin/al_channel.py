#!/usr/bin/env python3
"""Choose which channel of a pool's recordings is read; prints the data directory to go on with."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from espnet_egl import options


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_channel", __doc__ or "")
    parser.add_argument("--data_dir", required=True, help="The pool, a Kaldi data directory")
    parser.add_argument(
        "--output_dir", required=True, help="Where a data directory goes that names the channels"
    )
    options.add_channel_argument(parser)
    options.add_pipe_arguments(parser)
    return parser


def choose(args: argparse.Namespace) -> Path:
    """The data directory to go on with."""
    from espnet_egl.data.channel_dir import choose_channel

    directory = f"{args.output_dir}_{args.channel}"
    return choose_channel(
        args.data_dir, args.channel, directory, args.allow_pipes, args.pipe_timeout
    )


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), lambda args: print(choose(args)), cmd)


if __name__ == "__main__":
    main()
