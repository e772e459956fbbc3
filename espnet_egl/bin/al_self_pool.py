#!/usr/bin/env python3
"""Write what of a scored pool nobody is asked for: what the model may train itself on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from espnet_egl import options


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_self_pool", __doc__ or "")
    parser.add_argument("--score_file", required=True, help="scores.tsv of stage 20")
    parser.add_argument("--select_dir", required=True, help="What stage 21 left")
    parser.add_argument(
        "--labelled_dir",
        action="append",
        default=[],
        help="What stage 23 left (repeatable: of every round)",
    )
    parser.add_argument("--data_dir", required=True, help="The pool's Kaldi data directory")
    parser.add_argument(
        "--audio_format", default="", help="Of --data_dir, if it does not say itself"
    )
    parser.add_argument("--teacher", required=True, help="The model that is to recognise it")
    parser.add_argument("--output_dir", required=True, help="pool/ of it becomes the directory")
    return parser


def self_pool(args: argparse.Namespace) -> None:
    """Run the command; prints how many clips there are."""
    from espnet_egl.data.directory import format_of
    from espnet_egl.loop.self_training import write_rest

    print(
        write_rest(
            args.score_file,
            args.select_dir,
            args.labelled_dir,
            args.data_dir,
            args.output_dir,
            args.teacher,
            format_of(args.data_dir, args.audio_format),
        )
    )


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), self_pool, cmd)


if __name__ == "__main__":
    main()
