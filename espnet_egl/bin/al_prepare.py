#!/usr/bin/env python3
"""Set aside what is transcribed already, and split the pool into shards."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from espnet_egl import options


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
    parser.add_argument("--nj", type=int, default=4, help="The number of shards at most")
    parser.add_argument("--output_dir", required=True, help="Where keys.JOB.scp go")
    return parser


def prepare(args: argparse.Namespace) -> None:
    """Run the command; prints the number of shards."""
    print(split(args))


def split(args: argparse.Namespace, **more: str) -> int:
    """Write the shards, of which the number is returned, and what al_score is told of the audio.

    Args:
        args: Of the command.
        more: Other arguments of :func:`~espnet_egl.data.shards.split_keys`.
    """
    from espnet_egl.data.directory import key_file, score_words, selected_before
    from espnet_egl.data.shards import split_keys
    from espnet_egl.store.files import write_lines

    if args.data_dir is not None:
        words = score_words(args.data_dir, args.audio_format)
        write_lines(Path(args.output_dir) / "data.args", words)
        args.key_file = key_file(args.data_dir)
    exclude = [*args.exclude_dir]
    if args.al_dir is not None:
        exclude += selected_before(args.al_dir, args.round)
    return split_keys(args.key_file, args.nj, args.output_dir, args.pool_dir, exclude, **more)


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), prepare, cmd)


if __name__ == "__main__":
    main()
