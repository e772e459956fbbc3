#!/usr/bin/env python3
"""Which clips the acquisition methods select: their length, words, speakers and noise.

Of selections as stage 21 leaves them, all from the pool of a recipe that knows its transcripts
and its noise (needs the recipe's data: run.sh --stop_stage 1):

    python3 bench/which_clips.py recipes/fsdd/asr1/exp/al_clips/r1/select_*
    python3 bench/which_clips.py recipes/fsdd/asr1/exp/al_fsdd/sim/cells/*/20pct/seed0/r1/select

Prints a table in Markdown, a row a selection, named by its method, and the pool's.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rankings import markdown

from espnet_egl.data.kaldi import read_durations, read_table, read_utterances
from espnet_egl.errors import DataError
from espnet_egl.store.files import read_manifest

ROOT = Path(__file__).resolve().parents[1]


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("select_dir", type=Path, nargs="+", help="What stage 21 selected")
    parser.add_argument(
        "--data_dir",
        type=Path,
        default=ROOT / "recipes" / "fsdd" / "asr1" / "data",
        help="With the recipe's pool, pool_truth and train",
    )
    return parser


def read_pool(data_dir: Path) -> pd.DataFrame:
    """What the recipe knows of every clip.

    Returns:
        Indexed by utterance: ``seconds``; ``words`` that are said; ``unknown``: whether the
        speaker is none of train; ``noisy``: whether noise was added, however faint.

    Raises:
        DataError: A file of the data is missing or malformed, or a clip is not in all of them.
    """
    tables = {
        "seconds": read_durations(data_dir / "pool" / "utt2dur").all(),
        "text": read_table(data_dir / "pool_truth" / "text"),
        "spk": read_table(data_dir / "pool" / "utt2spk"),
        "snr": read_table(data_dir / "pool" / "utt2snr"),
    }
    pool = pd.DataFrame({name: pd.Series(table) for name, table in tables.items()})
    if not (lacking := pool.index[pool.isna().any(axis=1)]).empty:
        raise DataError(
            f"{data_dir}: '{lacking[0]}' is not in all of pool/utt2dur, utt2spk, utt2snr and "
            "pool_truth/text; make the recipe's data anew (stage 1)"
        )
    known = set(read_table(data_dir / "train" / "utt2spk").values())
    return pd.DataFrame(
        {
            "seconds": pool["seconds"],
            "words": pool["text"].str.split().str.len(),
            "unknown": ~pool["spk"].isin(known),
            "noisy": pool["snr"] != "clean",
        }
    )


def selected(pool: pd.DataFrame, select_dir: Path) -> pd.DataFrame:
    """The pool's rows that were selected.

    Raises:
        DataError: ``select_dir`` is no data directory, or not from this pool.
    """
    uids = read_utterances(select_dir)
    if strange := set(uids) - set(pool.index):
        raise DataError(
            f"{select_dir}: '{min(strange)}' is not in the pool; give the data that it was "
            "selected from with --data_dir"
        )
    return pool.loc[uids]


def make_up(clips: pd.DataFrame) -> dict[str, int | float]:
    """A row of the table; shares are of clips, not of hours."""
    return {
        "clips": len(clips),
        "mean s": float(clips["seconds"].mean()),
        "words": int(clips["words"].sum()),
        "speakers unknown to the seed model, %": round(100 * clips["unknown"].mean()),
        "noisy, %": round(100 * clips["noisy"].mean()),
    }


def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    pool = read_pool(args.data_dir)
    found = [(read_manifest(d)["method"], make_up(selected(pool, d))) for d in args.select_dir]
    rows = [*sorted(found, key=lambda row: row[0]), ("the pool", make_up(pool))]
    # Of objects: whole numbers beside the mean would become fractions.
    table = pd.DataFrame([row for _, row in rows], dtype=object)
    print(markdown(table.set_axis(pd.Index([name for name, _ in rows], name="method"))))


if __name__ == "__main__":
    main()
