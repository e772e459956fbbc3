#!/usr/bin/env python3
"""Take the clips that the round's model trains itself on, with its hypotheses as their text."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from espnet_egl import options


def share(text: str) -> float:
    """``10%`` or ``0.1``: above 0, at most 1."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(
            f"'{text}' is no share: write it as 10% or 0.1, above 0 and at most 100%"
        )
    return value


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_self_train", __doc__ or "")
    parser.add_argument("--score_dir", required=True, help="The model's scores of --pool_dir")
    parser.add_argument("--calibration", required=True, help="Of al_calibrate, for that model")
    parser.add_argument("--pool_dir", required=True, help="Of al_self_pool")
    parser.add_argument("--output_dir", required=True, help="Becomes a Kaldi data directory")
    parser.add_argument(
        "--self_train_wer",
        type=share,
        default=0.1,
        help="Share of wrong words in all that is taken, at most, by the calibrated confidence: "
        "10%% or 0.1",
    )
    parser.add_argument(
        "--self_train_share",
        type=share,
        help="In place of it: the most confident clips, so much of the audio: 80%%",
    )
    parser.add_argument(
        "--truth",
        help="The pool's transcripts, in simulations: what is taken does not hang on them",
    )
    return parser


def self_train(args: argparse.Namespace) -> None:
    """Run the command; prints what was taken."""
    import json
    from dataclasses import asdict
    from pathlib import Path

    from espnet_egl.data.kaldi import read_table
    from espnet_egl.loop.self_training import describe, read_taken, read_texts, take, true_wer
    from espnet_egl.store.files import write_lines

    table = take(
        args.score_dir,
        args.calibration,
        args.pool_dir,
        args.output_dir,
        args.self_train_wer,
        args.self_train_share,
    )
    found, true = read_taken(args.output_dir), None
    if args.truth is not None:
        true = true_wer(read_texts(args.output_dir), read_table(args.truth))
    figures = {**asdict(found), "of_clips": len(table), "true_wer": true}
    write_lines(Path(args.output_dir) / "self_training.json", [json.dumps(figures, indent=2)])
    print(f"\n{describe(table, found, true)}\n")


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), self_train, cmd)


if __name__ == "__main__":
    main()
