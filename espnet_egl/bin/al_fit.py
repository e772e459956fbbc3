#!/usr/bin/env python3
"""Fit to transcribed utterances: predictions of the true gradient length and word error rate
from the other scores, and the temperature of the posterior."""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Sequence

from humanfriendly.text import pluralize

from espnet_egl import options


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_fit", __doc__ or "")
    parser.add_argument(
        "--score_dir",
        required=True,
        help="A transcribed set's scores.tsv and nbest.tsv, scored with --text and the methods "
        "egl, true_gl and true_wer",
    )
    parser.add_argument("--text", required=True, help="Its transcripts, in Kaldi's format")
    parser.add_argument("--output_file", required=True, help="For --fitted of al_score")
    parser.add_argument("--seed", type=int, default=0, help="Of the cross-validation's folds")
    return parser


def fit(args: argparse.Namespace) -> None:
    """Run the command; prints how well each score tells the truth."""
    from pathlib import Path

    import yaml

    from espnet_egl.data.kaldi import read_table
    from espnet_egl.errors import DataError
    from espnet_egl.fitted import prediction
    from espnet_egl.fitted.temperature import fit_temperature
    from espnet_egl.store.files import write_lines
    from espnet_egl.store.tables import methods_of, read_nbest, read_scores, score_column

    directory = Path(args.score_dir)
    table = read_scores(directory / "scores.tsv")
    predictors = {}
    for target in prediction.TARGETS:
        try:
            predictors[target] = prediction.fit(table, target, args.seed)
        except DataError as e:
            # A set without errors, for example: no one who only wants the other one minds.
            logging.warning(f"No prediction of {target}: {e}")
    nbest = read_nbest(directory / "nbest.tsv")
    temperature = fit_temperature(nbest, read_table(args.text))
    fitted = {"temperature": temperature, **prediction.write_predictors(predictors)}
    write_lines(args.output_file, yaml.safe_dump(fitted, sort_keys=False).splitlines())
    print(f"Rank correlations with the truth over {pluralize(len(table), 'utterance')}:\n")
    print(f"{'':16}{'true_gl':>10}{'true_wer':>10}")
    for method in methods_of(table):
        if method not in prediction.TARGETS:
            found = (
                table[score_column(method)].corr(table[score_column(t)], method="spearman")
                for t in prediction.TARGETS
            )
            print(f"{method:16}" + "".join(f"{value:z10.3f}" for value in found))
    found = (predictors[t].spearman if t in predictors else math.nan for t in prediction.TARGETS)
    print(f"{'predicted':16}" + "".join(f"{value:z10.3f}" for value in found))
    print(f"\nTemperature of the posterior: {temperature:.3g}\nWritten: {args.output_file}")


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), fit, cmd)


if __name__ == "__main__":
    main()
