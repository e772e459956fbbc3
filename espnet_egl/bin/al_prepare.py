#!/usr/bin/env python3
"""Set aside what is transcribed already, and split the pool into shards."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from espnet_egl import options


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_prepare", __doc__ or "")
    parser.add_argument(
        "--key_file", required=True, help="The pool's wav.scp, segments or feats.scp"
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
    parser.add_argument("--nj", type=int, default=4, help="The number of shards at most")
    parser.add_argument("--output_dir", required=True, help="Where keys.JOB.scp go")
    return parser


def prepare(args: argparse.Namespace) -> None:
    """Run the command; prints the number of shards."""
    from espnet_egl.data.shards import split_keys

    print(split_keys(args.key_file, args.nj, args.output_dir, args.pool_dir, args.exclude_dir))


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), prepare, cmd)


if __name__ == "__main__":
    main()
