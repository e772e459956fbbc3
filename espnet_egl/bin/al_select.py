#!/usr/bin/env python3
"""Select the utterances to transcribe under a budget."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from espnet_egl import __version__, options

if TYPE_CHECKING:
    from espnet_egl.selection.select import Rules


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_select", __doc__ or "")
    parser.add_argument("--score_file", required=True, help="scores.tsv of stage 20")
    parser.add_argument("--data_dir", required=True, help="The pool's Kaldi data directory")
    parser.add_argument(
        "--output_dir", required=True, help="Becomes a Kaldi data directory with selection.tsv"
    )
    parser.add_argument("--seed", type=int, default=0, help="Of all that is drawn")

    group = parser.add_argument_group("Budget related")
    group.add_argument(
        "--budget",
        default="20%",
        help="500utt, 2.5h, 20%% (of the pool's hours), or 1500EUR with the prices below",
    )
    group.add_argument(
        "--budget_total",
        help="In place of --budget: what all rounds and selections of --al_dir may ask together",
    )
    options.add_price_arguments(group)

    group = parser.add_argument_group("Ranking related")
    group.add_argument(
        "--method", default="egl", help="The acquisition method that decides, or several: a+b"
    )
    group.add_argument(
        "--fusion",
        default="rank",
        choices=("rank", "alternate"),
        help="Of several methods: by the sum of their ranks, or each takes its best in turn",
    )
    group.add_argument(
        "--rank_by",
        default="score",
        choices=("score", "score_per_second"),
        help="score_per_second takes the most score for a budget of hours, and prefers short clips",
    )
    group.add_argument(
        "--diversity",
        default="none",
        choices=("none", "kmeans++", "fisher"),
        help="kmeans++ spreads the selection over gradient embeddings (method badge); fisher "
        "chooses the batch that covers the pool's Fisher information best (method fisher)",
    )
    group.add_argument(
        "--diversity_pool",
        type=float,
        default=3.0,
        help="The best worth so many budgets are candidates for kmeans++",
    )
    group.add_argument(
        "--seed_score_dir",
        help="For fisher: scores of a sample of the training set (al_sample), which is known",
    )
    group.add_argument(
        "--target_score_dir",
        help="For fisher: scores of a target set, whose information is covered in place of the "
        "pool's",
    )
    group.add_argument(
        "--random_share",
        type=float,
        default=0.0,
        help="Of the budget, drawn at random: estimates the pool's true error rate",
    )
    group.add_argument("--cap", help="What one value of --cap_map gets at most: 5utt, 0.1h, 10%%")
    group.add_argument(
        "--cap_map", default="utt2spk", help="A file of --data_dir, or a path: utterance, value"
    )

    group = parser.add_argument_group("Filters")
    group.add_argument("--min_seconds", type=float, default=0.0, help="Shortest clip")
    group.add_argument("--max_seconds", type=float, default=0.0, help="Longest clip; 0: any")
    group.add_argument(
        "--min_speech",
        type=float,
        default=0.0,
        help="Seconds of speech at least (score with --vad true)",
    )
    group.add_argument(
        "--drop_duplicates",
        type=options.str2bool,
        default=True,
        help="Of clips with the same audio, or the same best hypothesis, speaker and duration, "
        "keep the one ranked first",
    )
    group.add_argument(
        "--duplicate_tolerance", type=float, default=0.02, help="Of the duration, in seconds"
    )
    group.add_argument(
        "--exclude_dir",
        action="append",
        default=[],
        help="A Kaldi data directory that is labelled already, e.g. an earlier selection",
    )
    group.add_argument(
        "--al_dir", help="Of all rounds: what was handed over from it is not selected again"
    )
    options.add_ledger_argument(group)
    group.add_argument(
        "--ask_again",
        type=options.str2bool,
        default=False,
        help="Select also what was handed over already",
    )
    group.add_argument("--block_file", help="Utterances that nobody wants, one a line")
    return parser


def select(args: argparse.Namespace) -> None:
    """Run the command; prints what was selected."""
    from pathlib import Path

    from espnet_egl import api
    from espnet_egl.data.kaldi import read_table
    from espnet_egl.selection import select as selection
    from espnet_egl.selection.information import read_background
    from espnet_egl.store import embeddings
    from espnet_egl.store.files import check_directory, claim_directory
    from espnet_egl.store.tables import read_scores

    table = read_scores(args.score_file)
    rules = read_rules(args)
    utt2spk = Path(args.data_dir) / "utt2spk"
    speakers = read_table(utt2spk) if utt2spk.exists() else None
    projected = Path(args.score_file).with_name(embeddings.NAME)
    wanted = args.diversity != "none" and projected.exists()
    found = selection.select(
        table,
        rules,
        speakers,
        embeddings.read(projected) if wanted else None,
        read_background(args.seed_score_dir, args.target_score_dir),
    )
    made_with = settings(args, rules)
    advice = (
        "It may be with the annotators already. Choose another --al_select_tag, or remove the "
        "directory."
    )
    check_directory(args.output_dir, made_with, advice)
    gone = selection.read_gone(args.score_file)
    api.write_selection(found, args.data_dir, args.output_dir, gone)
    # Claimed last: a selection that failed half way must not refuse the mended run.
    claim_directory(args.output_dir, made_with, advice)
    print(f"\n{selection.describe(table, found, rules)}\n")
    print(f"The selection is a Kaldi data directory: {Path(args.output_dir).absolute()}")


def read_rules(args: argparse.Namespace) -> Rules:
    """The options with the files they name.

    Raises:
        DataError: A file is missing or malformed.
    """
    from espnet_egl.data.kaldi import read_ids, read_utterances
    from espnet_egl.loop.ledger import asked_before
    from espnet_egl.selection.budget import Prices
    from espnet_egl.selection.filters import Filters
    from espnet_egl.selection.select import Rules

    prices = Prices(args.price_per_hour, args.price_per_clip)
    before = asked_before(
        args.output_dir,
        args.budget,
        args.budget_total,
        prices,
        args.al_dir,
        args.ledger,
        args.ask_again,
        args.data_dir,
    )
    args.budget = before.budget
    filters = Filters(
        args.min_seconds,
        args.max_seconds,
        args.min_speech,
        frozenset(uid for path in args.exclude_dir for uid in read_utterances(path)),
        frozenset(read_ids(args.block_file)) if args.block_file else frozenset(),
        args.drop_duplicates,
        args.duplicate_tolerance,
        before.uids,
        before.audio,
    )
    names = ["method", "budget", "fusion", "rank_by", "random_share", "cap"]
    names += ["diversity", "diversity_pool", "seed"]
    return Rules(
        **{name: getattr(args, name) for name in names},
        prices=prices,
        filters=filters,
        cap_map=_read_cap_map(args),
    )


def _read_cap_map(args: argparse.Namespace) -> dict[str, str]:
    from pathlib import Path

    from espnet_egl.data.kaldi import read_table

    if args.cap is None:
        return {}
    inside = Path(args.data_dir) / args.cap_map
    return read_table(inside if inside.exists() else args.cap_map)


def settings(args: argparse.Namespace, rules: Rules) -> dict[str, Any]:
    """What determines the selection, for the manifest."""
    from pathlib import Path

    from espnet_egl.store import embeddings
    from espnet_egl.store.files import file_hash, text_hash

    free = {"score_file", "data_dir", "output_dir", "config", "log_level"}
    free |= {"exclude_dir", "block_file", "al_dir", "ledger"}
    # Where they are not given, a selection is as those of earlier versions were.
    free |= {name for name in ("budget_total", "ask_again") if not getattr(args, name)}
    free |= {"seed_score_dir", "target_score_dir"}
    found = {name: value for name, value in vars(args).items() if name not in free}
    for name in ("seed_score_dir", "target_score_dir"):
        if (directory := getattr(args, name)) is not None:
            found[f"{name}_sha256"] = file_hash(Path(directory) / embeddings.NAME)
    return {
        **found,
        "labelled_sha256": text_hash("\n".join(sorted(rules.filters.labelled))),
        "block_file_sha256": file_hash(args.block_file) if args.block_file else None,
        "scores_sha256": file_hash(args.score_file),
        "espnet_egl": __version__,
    }


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), select, cmd)


if __name__ == "__main__":
    main()
