#!/usr/bin/env python3
"""Join the seed set and everything labelled so far into one training set."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from espnet_egl import options


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_train_data", __doc__ or "")
    parser.add_argument(
        "--seed_dir", required=True, help="The training set, as ESPnet formatted it"
    )
    parser.add_argument(
        "--labelled_dir",
        action="append",
        required=True,
        help="What stage 23 left (repeatable: of every round)",
    )
    parser.add_argument("--output_dir", required=True, help="Becomes the joined training set")
    parser.add_argument("--fs", default="16k", help="The model's sampling rate")
    parser.add_argument("--min_seconds", type=float, default=0.1, help="Shortest clip")
    parser.add_argument("--max_seconds", type=float, default=20.0, help="Longest clip")
    parser.add_argument(
        "--allow_pipes", type=options.str2bool, default=True, help="Run commands in wav.scp"
    )
    return parser


def join(args: argparse.Namespace) -> None:
    """Run the command; prints the sizes."""
    import humanfriendly

    from espnet_egl.errors import ConfigError
    from espnet_egl.loop.training import join_sets

    try:
        rate = humanfriendly.parse_size(args.fs)
    except humanfriendly.InvalidSize as e:
        raise ConfigError(f"--fs {args.fs}: write it as 16k or 16000") from e
    seed, added, skipped = join_sets(
        args.seed_dir,
        args.labelled_dir,
        args.output_dir,
        rate,
        args.min_seconds,
        args.max_seconds,
        args.allow_pipes,
    )
    left_out = f", {skipped} left out, see skipped.tsv" if skipped else ""
    print(f"Training set {args.output_dir}: {seed} of the seed set, {added} labelled{left_out}")


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), join, cmd)


if __name__ == "__main__":
    main()
