#!/usr/bin/env python3
"""What the acquisition methods choose, and how well they tell the truth.

Scores the pool of a recipe whose transcripts exist by every method, the oracles among them
(needs the recipe's seed model: run.sh), and compares the rankings:

    python3 bench/rankings.py recipes/fsdd/asr1
    python3 bench/rankings.py recipes/demo/asr1

Prints tables in Markdown; plots of rank against rank go to --plot.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from espnet_egl.report.plots import rank_figure
from espnet_egl.report.rankings import choices, correlations, overlaps

METHODS = (
    *("egl", "badge", "confidence", "entropy", "pctc", "margin", "nbest_entropy"),
    *("expected_wer", "committee", "longest", "random"),
)
LEARNT = ("predicted_gl", "predicted_wer")
ORACLES = ("true_gl", "true_wer")
SHARES = (0.1, 0.2, 0.3)


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path, help="With a trained model and data/pool_truth")
    parser.add_argument("--hyp_source", default="beam", choices=("beam", "ctc_sample"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--fit_set", help="The predictions, too, fitted to this transcribed set, e.g. test"
    )
    parser.add_argument(
        "--junk",
        action="store_true",
        help="Without the oracles, who leave out what has no transcript: how much of what has no "
        "speech is selected, with and without filters",
    )
    parser.add_argument("--plot", type=Path, help="Where the plots go, e.g. docs/rankings_fsdd.png")
    return parser


def score(args: argparse.Namespace) -> Path:
    """Stage 20 as a user runs it; what is scored already is not scored again."""
    if args.junk:
        return score_junk(args)
    directory = f"exp/al_rankings_{args.hyp_source}" + (f"_{args.fit_set}" if args.fit_set else "")
    methods = [*METHODS[1:], *(LEARNT if args.fit_set else ()), *ORACLES]
    command = [
        *("./run.sh", "--stage", "20", "--stop_stage", "20", "--al_dir", directory),
        *("--al_method", METHODS[0], "--al_score_methods", " ".join(methods)),
        *("--al_hyp_source", args.hyp_source, "--al_seed", str(args.seed)),
        *("--al_oracle_text", "data/pool_truth/text", "--al_score_args", "--vad true"),
        *("--egl_weights", "raw"),
    ]
    if args.fit_set:
        command += ["--al_fit_set", args.fit_set]
    subprocess.run(command, cwd=args.recipe, check=True, stdout=sys.stderr)
    return args.recipe / directory / "r1" / "score" / "scores.tsv"


def score_junk(args: argparse.Namespace) -> Path:
    """The same of all of the pool, by methods that need no transcripts."""
    command = [
        *("./run.sh", "--stage", "20", "--stop_stage", "20", "--al_dir", "exp/al_junk"),
        *(
            "--al_method",
            "egl",
            "--al_score_methods",
            "badge confidence entropy nbest_entropy random",
        ),
        *("--al_score_args", "--vad true", "--egl_weights", "raw"),
    ]
    subprocess.run(command, cwd=args.recipe, check=True, stdout=sys.stderr)
    return args.recipe / "exp" / "al_junk" / "r1" / "score" / "scores.tsv"


def junk(table: pd.DataFrame, methods: Sequence[str], speakers: dict[str, str]) -> pd.DataFrame:
    """Clips of 20 % of the hours, and which of them are junk, by kind."""
    from espnet_egl.selection.filters import Filters
    from espnet_egl.selection.select import Rules, select

    rows = {}
    kinds = dict(zip(table["utterance"], table["kind"], strict=True))
    for method in methods:
        row: dict[str, int] = {}
        for name, filters in (
            ("", Filters(drop_duplicates=False)),
            (", filtered", Filters(min_speech=0.1)),
        ):
            found = select(table, Rules(method, "20%", filters=filters), speakers).chosen
            chosen = found["utterance"].map(kinds)
            row[f"clips{name}"] = len(chosen)
            row[f"silence or noise{name}"] = int(chosen.isin(["silence", "noise"]).sum())
            row[f"near duplicates{name}"] = int((chosen == "duplicate").sum())
        rows[method] = row
    return pd.DataFrame(rows).T


def read_pool(args: argparse.Namespace, path: Path) -> pd.DataFrame:
    """The score table, with what is known of the utterances."""
    from espnet_egl.data.kaldi import read_table
    from espnet_egl.store.tables import read_scores

    table = read_scores(path)
    if args.hyp_source == "beam":
        # As --egl_weights renormalized would have it.
        table["score_egl_renormalized"] = table["score_egl"] / table["mass"]
    for name in ("spk", "snr", "kind"):
        known = args.recipe / "data" / "pool" / f"utt2{name}"
        if known.exists():
            table[name] = table["utterance"].map(read_table(known))
    return table


def markdown(table: pd.DataFrame, digits: int = 2) -> str:
    """A table for the documentation."""
    cells = table.map(lambda v: f"{v:.{digits}f}" if isinstance(v, float) else str(v))
    lines = [[table.index.name or "", *map(str, table.columns)], ["---"] * (1 + len(table.columns))]
    lines += [[str(name), *row] for name, row in zip(cells.index, cells.values, strict=True)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def chosen(table: pd.DataFrame, method: str, share: float) -> pd.DataFrame:
    """The best of a method that fit a share of the pool's hours."""
    found = choices(table, [method], f"{100 * share:g}%")[method]
    return table[table["utterance"].isin(found.index)]


def make_up(table: pd.DataFrame, methods: Sequence[str], share: float) -> pd.DataFrame:
    """What a selection consists of."""
    rows: dict[str, dict[str, Any]] = {}
    for method in (*methods, "the pool"):
        part = table if method == "the pool" else chosen(table, method, share)
        row: dict[str, Any] = {"clips": len(part), "mean s": float(part["seconds"].mean())}
        row["WER %"] = float(100 * part["score_true_wer"].mean())
        if "kind" in part:
            row["junk %"] = float(100 * (part["kind"] != "speech").mean())
        row["no speech %"] = float(100 * (part["speech_seconds"] < 0.1).mean())
        row["duplicates %"] = float(100 * part.duplicated("audio_hash").mean())
        shares = part["spk"].value_counts(normalize=True)
        row["largest speaker %"] = float(100 * shares.iloc[0])
        if "snr" in part:
            snr = pd.to_numeric(part["snr"], errors="coerce")
            row["noisy %"] = float(100 * (snr < 15).mean())
        rows[method] = row
    return pd.DataFrame(rows).T


def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    path = score(args)
    table = read_pool(args, path)
    methods = [
        m
        for m in ("egl", "egl_renormalized", *METHODS[1:], *LEARNT, *ORACLES)
        if f"score_{m}" in table
    ]
    if args.junk:
        speakers = dict(zip(table["utterance"], table["spk"], strict=True))
        print(markdown(junk(table, methods, speakers)))
        return
    matrix = correlations(table, methods)
    print(f"{len(table)} utterances, {table['seconds'].sum() / 60:.1f} minutes\n")
    print(f"Rank correlation (Spearman):\n\n{markdown(matrix)}\n")
    for share in SHARES:
        print(f"Audio in common at {share:.0%} of the hours:\n")
        found = choices(table, methods, f"{100 * share:g}%")
        print(markdown(overlaps(found)) + "\n")
    print(f"What 20 % of the hours consist of:\n\n{markdown(make_up(table, methods, 0.2), 1)}\n")
    if args.plot:
        others = [m for m in methods if m != "egl"]
        rank_figure(table, ["egl", *others], "egl").savefig(args.plot, dpi=80)
    truth = {o: matrix[o].round(4).to_dict() for o in ORACLES}
    print(json.dumps({"recipe": args.recipe.parent.name, "utterances": len(table), **truth}))


if __name__ == "__main__":
    main()
