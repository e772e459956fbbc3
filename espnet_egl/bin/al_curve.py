#!/usr/bin/env python3
"""Add the error rates of a retrained model to the learning curve."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from humanfriendly.text import pluralize

from espnet_egl import options
from espnet_egl.loop.returns import PARTS


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_curve", __doc__ or "")
    parser.add_argument(
        "--result",
        type=options.data_triplet,
        action="append",
        required=True,
        help="<test set>,<its text>,<the text that was recognised> (repeatable)",
    )
    parser.add_argument(
        "--labelled_dir",
        action="append",
        default=[],
        help="What the model was trained on beside the seed set (repeatable)",
    )
    parser.add_argument(
        "--part",
        default="all",
        choices=PARTS,
        help="Of what is labelled, what the model was trained on",
    )
    parser.add_argument("--curve_file", required=True, help="curve.tsv, made or added to")
    parser.add_argument("--seed", type=int, default=0, help="Random seed of the round")
    parser.add_argument(
        "--interval_over",
        default="utterances",
        choices=("utterances", "speakers"),
        help="What the bootstrap draws; speakers (utt2spk beside the text) if they differ much",
    )

    options.add_cleaning_arguments(parser)
    group = parser.add_argument_group("What the point is called")
    group.add_argument("--corpus", default="", help="Of the recipe")
    group.add_argument("--select_dir", help="What stage 21 left; none: the seed model's point")
    group.add_argument("--round", type=int, default=0, help="Of active learning; 0: the seed model")
    group.add_argument("--name", help="Of the method, if another than the selection's")
    group.add_argument("--tag", default="", help="Stands after the method, without --name")
    group.add_argument(
        "--self_trained",
        type=options.str2bool,
        default=False,
        help="Whether the model trained itself on the rest of the pool, too: +self",
    )
    group.add_argument("--budget", help="If another than the selection's, as of several rounds")
    group.add_argument("--train_seconds", type=float, default=0.0, help="That training took")

    options.add_measured_price_arguments(parser.add_argument_group("Cost related"))
    return parser


def curve(args: argparse.Namespace) -> None:
    """Run the command; prints the points."""
    from espnet_egl.loop.curve import Cleaning, Point, add_points, read_results
    from espnet_egl.loop.returns import read_cost, read_handled
    from espnet_egl.store.files import read_manifest

    seconds: dict[str, float] = {}
    for directory in args.labelled_dir:
        seconds |= read_handled(directory, args.part)
    hours = sum(seconds.values()) / 3600
    made_with = {} if args.select_dir is None else read_manifest(args.select_dir)
    cost = read_cost(args.labelled_dir, args.part, made_with, options.prices_conf(args))
    method = budget = ""
    if args.select_dir is not None:
        # The seed model's point has no name: it is every method's.
        by_itself = "+self" if args.self_trained else ""
        method = args.name or f"{made_with['method']}{by_itself}{args.tag}"
        budget = args.budget or made_with["budget"]
    if args.part != "all":
        method = f"{method}:{args.part}"
    cleaning = Cleaning(args.cleaner, args.hyp_cleaner, args.non_linguistic_symbols)
    points = []
    for test_set, reference, hypothesis in args.result:
        rates = read_results(
            reference, hypothesis, args.seed, args.interval_over == "speakers", cleaning
        )
        points.append(
            Point(
                corpus=args.corpus,
                method=method,
                seed=str(args.seed),
                round=str(args.round),
                budget=budget,
                test_set=test_set,
                utterances=str(len(seconds)),
                hours=f"{hours:.6f}",
                cost=f"{cost:.2f}",
                cer=f"{rates.cer:.2f}",
                wer=f"{rates.wer:.2f}",
                wer_lo=f"{rates.wer_lo:.2f}",
                wer_hi=f"{rates.wer_hi:.2f}",
                seconds=f"{args.train_seconds:.0f}",
            )
        )
        print(
            f"{test_set}: WER {rates.wer:.2f} % (95 % interval {rates.wer_lo:.2f}-"
            f"{rates.wer_hi:.2f}), CER {rates.cer:.2f} %, with "
            f"{pluralize(len(seconds), 'labelled utterance')}, {hours:.3g} h"
        )
    add_points(args.curve_file, points)


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), curve, cmd)


if __name__ == "__main__":
    main()
