#!/usr/bin/env python3
"""Join the seed set and everything labelled so far into one training set."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from espnet_egl import options
from espnet_egl.loop.returns import PARTS
from espnet_egl.scoring import prompting


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_train_data", __doc__ or "")
    parser.add_argument(
        "--seed_dir", help="The training set, as ESPnet formatted it; none: what is labelled, alone"
    )
    parser.add_argument(
        "--labelled_dir",
        action="append",
        required=True,
        help="What stage 23 left (repeatable: of every round)",
    )
    parser.add_argument("--output_dir", required=True, help="Becomes the joined training set")
    parser.add_argument(
        "--part",
        default="all",
        choices=PARTS,
        help="Of what is labelled: all, what a method chose, or what was drawn at random",
    )
    parser.add_argument(
        "--self_dir", help="What the model trains itself on beside it, of al_self_train"
    )
    parser.add_argument(
        "--self_train_ratio",
        type=options.positive,
        default=3.0,
        help="Clips of it for one that is transcribed, at most: where there are more, what is "
        "transcribed is repeated",
    )
    parser.add_argument("--fs", default="16k", help="The model's sampling rate")
    parser.add_argument(
        "--audio_format",
        default="flac",
        help="How asr.sh dumped the seed set: as files (wav, flac) or in arks (wav.ark, flac.ark)",
    )
    parser.add_argument("--min_seconds", type=float, default=0.1, help="Shortest clip")
    parser.add_argument("--max_seconds", type=float, default=20.0, help="Longest clip")
    parser.add_argument(
        "--speed_perturb_factors",
        default="",
        help='As the seed set was perturbed, e.g. "0.9 1.0 1.1": what is labelled is, too',
    )
    prompting.add_arguments(parser)
    options.add_pipe_arguments(parser)
    parser.add_argument(
        "--model_dir", help="Where it is trained; one that holds a model of other data is refused"
    )
    parser.add_argument("--train_options", default="", help="Of that model, whatever they are")
    parser.add_argument(
        "--train_file",
        action="append",
        default=[],
        help="Another file that it hangs on (repeatable): its config, its tokens, the model it "
        "goes on from",
    )
    parser.add_argument(
        "--only_check",
        type=options.str2bool,
        default=False,
        help="Only see that the model in --model_dir is of the transcripts that are there now",
    )
    return parser


def model_settings(args: argparse.Namespace) -> dict[str, Any]:
    """What determines the model, for its manifest."""
    from pathlib import Path

    from espnet_egl.store.files import file_hash

    seed_dirs = [] if args.seed_dir is None else [args.seed_dir]
    texts = [Path(directory) / "text" for directory in [*seed_dirs, *args.labelled_dir]]
    by_itself: dict[str, Any] = {}
    if args.self_dir is not None:
        texts.append(Path(args.self_dir) / "text")
        by_itself = {"self_train_ratio": args.self_train_ratio}
    return {
        **by_itself,
        "text_sha256": [file_hash(path) for path in texts],
        "part": args.part,
        "train_options": args.train_options,
        "speed_perturb_factors": args.speed_perturb_factors,
        "train_file_sha256": [file_hash(path) for path in args.train_file],
        **prompting.settings(args),
    }


def join(args: argparse.Namespace) -> None:
    """Run the command; prints the sizes."""
    from espnet_egl.loop.training import (
        check_transcripts,
        join_sets,
        parse_factors,
        parse_rate,
        put_aside,
    )
    from espnet_egl.store.files import claim_directory

    if args.model_dir is not None:
        # ESPnet goes on from a checkpoint, or takes it for done, whatever it was trained on.
        settings = model_settings(args)
        if args.only_check:
            check_transcripts(args.model_dir, settings)
            return
        put_aside(args.model_dir, settings)
        advice = "To train anew by these, move the directory away."
        claim_directory(args.model_dir, settings, advice)
    seed, added, skipped = join_sets(
        args.seed_dir,
        args.labelled_dir,
        args.output_dir,
        parse_rate(args.fs),
        args.min_seconds,
        args.max_seconds,
        args.allow_pipes,
        args.part,
        parse_factors(args.speed_perturb_factors),
        args.pipe_timeout,
        args.audio_format,
        prompting.read(args),
        args.self_dir,
        args.self_train_ratio,
    )
    left_out = f", {skipped} left out, see skipped.tsv" if skipped else ""
    print(
        f"Training set {args.output_dir}: {seed} of the seed set, {added} labelled"
        f"{_by_itself(args)}{left_out}"
    )


def _by_itself(args: argparse.Namespace) -> str:
    if args.self_dir is None:
        return ""
    from espnet_egl.loop.self_training import read_texts

    return f", {len(read_texts(args.self_dir))} by the model itself"


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), join, cmd)


if __name__ == "__main__":
    main()
