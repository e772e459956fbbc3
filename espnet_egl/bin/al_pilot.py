#!/usr/bin/env python3
"""What a pilot says: does labelling pay here, and does it pay to choose?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from espnet_egl import options


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_pilot", __doc__ or "")
    parser.add_argument("--select_dir", required=True, help="What stage 21 left")
    parser.add_argument("--labelled_dir", required=True, help="What stage 23 left")
    parser.add_argument("--reference", required=True, help="The test set's text")
    parser.add_argument("--before", required=True, help="As the seed model recognised it")
    parser.add_argument("--all", required=True, help="As the model trained on all of it did")
    parser.add_argument("--chosen", required=True, help="... on what was chosen")
    parser.add_argument("--random", required=True, help="... on what was drawn at random")
    parser.add_argument("--self", help="... on all, and by its own hypotheses on more")
    parser.add_argument("--self_dir", help="With it: what these are, of al_self_train")
    parser.add_argument("--test_set", default="test", help="What it is called")
    options.add_cleaning_arguments(parser)
    options.add_measured_price_arguments(parser.add_argument_group("Cost related"))
    parser.add_argument(
        "--output_file", help="The answer in Markdown, also printed; its figures beside it, .json"
    )
    return parser


def pilot(args: argparse.Namespace) -> None:
    """Run the command; prints the answer."""
    from pathlib import Path

    from espnet_egl.errors import DataError
    from espnet_egl.loop.curve import Cleaning
    from espnet_egl.loop.pilot import Part, Pilot, measure, tell
    from espnet_egl.loop.returns import PARTS, read_cost, read_handled
    from espnet_egl.loop.self_training import read_taken
    from espnet_egl.store.files import read_manifest, write_lines
    from espnet_egl.store.tables import read_rows

    handled = {part: read_handled(args.labelled_dir, part) for part in PARTS}
    if not (handled["chosen"] and handled["random"]):
        raise DataError(f"{args.labelled_dir}: a pilot needs both chosen and random clips")
    cleaning = Cleaning(args.cleaner, args.hyp_cleaner, args.non_linguistic_symbols)
    texts = cleaning.read(Path(args.labelled_dir) / "text")
    drafts = {
        row["utterance"]: row["best_hypothesis"]
        for row in read_rows(Path(args.select_dir) / "selection.tsv")
    }
    made_with = read_manifest(args.select_dir)
    alone = None
    if args.self is not None:
        taken = read_taken(args.self_dir)
        alone = Part(taken.clips, taken.seconds, cleaning.read(args.self, recognised=True))
    figures = measure(
        Pilot(
            references=cleaning.read(args.reference),
            before=cleaning.read(args.before, recognised=True),
            parts={
                part: Part(
                    len(found),
                    sum(found.values()),
                    cleaning.read(getattr(args, part), recognised=True),
                )
                for part, found in handled.items()
            },
            method=made_with["method"],
            drawn={uid: texts.get(uid, "") for uid in handled["random"]},
            drawn_before=cleaning.of(drafts, recognised=True),
            cost=read_cost([args.labelled_dir], "all", made_with, options.prices_conf(args)),
            worked=_worked(args.labelled_dir),
            test_set=args.test_set,
            alone=alone,
        )
    )
    lines = tell(figures)
    print("\n" + "\n".join(lines) + "\n")
    if args.output_file is not None:
        figures.write(Path(args.output_file).with_suffix(".json"))
        write_lines(args.output_file, "\n\n".join(["# The pilot", *lines]).split("\n"))


def _worked(labelled_dir: str) -> float:
    """Seconds of annotators' work; 0 where their tool does not tell it of every clip."""
    from espnet_egl.errors import DataError
    from espnet_egl.loop.returns import read_worked

    try:
        return read_worked(labelled_dir)
    except DataError:
        return 0.0


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), pilot, cmd)


if __name__ == "__main__":
    main()
