#!/usr/bin/env python3
"""Select the utterances to transcribe under a budget."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from espnet_egl import __version__, options


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_select", __doc__ or "")
    parser.add_argument("--score_file", required=True, help="scores.tsv of stage 20")
    parser.add_argument("--data_dir", required=True, help="The pool's Kaldi data directory")
    parser.add_argument("--method", default="egl", help="The acquisition method that decides")
    parser.add_argument(
        "--budget", default="20%", help="500utt, 2.5h, or 20%% (of the pool's hours)"
    )
    parser.add_argument(
        "--output_dir", required=True, help="Becomes a Kaldi data directory with selection.tsv"
    )
    return parser


def select(args: argparse.Namespace) -> None:
    """Run the command; prints what was selected."""
    from pathlib import Path

    from espnet_egl.data.kaldi import subset_data_dir
    from espnet_egl.files import check_directory, claim_directory, file_hash
    from espnet_egl.selection import select as selection
    from espnet_egl.tables import read_scores

    table = read_scores(args.score_file)
    chosen = selection.select(table, args.method, args.budget)
    settings = {
        "method": args.method,
        "budget": args.budget,
        "scores_sha256": file_hash(args.score_file),
        "espnet_egl": __version__,
    }
    advice = (
        "It may be with the annotators already. Choose another --al_select_tag, or remove the "
        "directory."
    )
    check_directory(args.output_dir, settings, advice)
    durations = dict(zip(chosen["utterance"], chosen["seconds"], strict=True))
    subset_data_dir(args.data_dir, args.output_dir, chosen["utterance"], durations)
    selection.write_selection(Path(args.output_dir) / "selection.tsv", chosen)
    # Claimed last: a selection that failed half way must not refuse the mended run.
    claim_directory(args.output_dir, settings, advice)
    print(f"\n{selection.describe(table, chosen, args.method, args.budget)}\n")
    print(f"The selection is a Kaldi data directory: {Path(args.output_dir).absolute()}")


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), select, cmd)


if __name__ == "__main__":
    main()
