#!/usr/bin/env python3
"""Rounds over a pool whose transcripts are hidden until selected: what would labelling buy?"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from espnet_egl import options

# Options of al.sh that change no point of the curve: what is run, by how many jobs and where, and
# what is told of it.
FREE = {"--stage", "--stop_stage", "--nj", "--inference_nj", "--al_nj", "--al_gpu", "--al_dry_run"}
FREE |= {"--al_simulate", "--al_simulate_nj", "--al_methods", "--al_budgets", "--al_seeds"}
FREE |= {"--al_first_seed", "--al_worth_args", "--al_report_lang", "--al_report_args"}


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_simulate", __doc__ or "")
    parser.add_argument("--truth", required=True, help="The pool's transcripts, Kaldi's text")
    parser.add_argument("--score_dir", required=True, help="What stage 20 left of the whole pool")
    parser.add_argument("--output_dir", required=True, help="Where curve.tsv and the cells go")
    parser.add_argument(
        "--methods", nargs="+", default=["random", "egl", "confidence"], help="What selects"
    )
    parser.add_argument(
        "--budgets", nargs="+", default=["5%", "10%", "20%", "40%"], help="Of every method"
    )
    parser.add_argument("--rounds", type=int, default=1, help="In which a budget is spent")
    parser.add_argument("--seeds", type=int, default=5, help="How often with other random numbers")
    parser.add_argument("--first_seed", type=int, default=0, help="The first of them")
    parser.add_argument("--nj", type=int, default=1, help="Cells at a time")
    parser.add_argument("--tag", default="", help="Stands after the methods' names in curve.tsv")
    parser.add_argument(
        "--command",
        action="append",
        required=True,
        help="What runs the recipe's stages: a program, then its options (one each)",
    )
    return parser


def simulate(args: argparse.Namespace) -> None:
    """Run the command; prints where the learning curve is."""
    import json
    from pathlib import Path

    from espnet_egl.errors import ConfigError, DataError
    from espnet_egl.loop.simulation import Simulation, plan, run_all
    from espnet_egl.scoring.records import RUN
    from espnet_egl.store.files import claim_directory, file_hash, lock, write_lines

    if args.rounds < 1 or args.nj < 1:
        raise ConfigError("--rounds and --nj must be at least 1")
    cells = plan(args.methods, args.budgets, args.seeds, args.first_seed, args.rounds)
    output_dir = Path(args.output_dir)
    settings = {
        "truth_sha256": file_hash(args.truth),
        "scores_sha256": file_hash(Path(args.score_dir) / "scores.tsv"),
        "rounds": args.rounds,
        "tag": args.tag,
        "command": _determining(args.command),
    }
    claim_directory(output_dir, settings, "Choose another --al_tag, or remove the directory.")
    asked = ("methods", "budgets", "seeds", "first_seed", "nj")
    with lock(output_dir / "lock") as held:
        record = {name: getattr(args, name) for name in asked}
        write_lines(output_dir / RUN, [json.dumps(record, indent=2, ensure_ascii=False)])
        simulation = Simulation(
            directory=output_dir,
            score_dir=Path(args.score_dir),
            command=tuple(args.command),
            rounds=args.rounds,
            tag=args.tag,
            inherited=(held,),
        )
        failed = run_all(simulation, cells, args.nj)
    done = f"{len(cells) - len(failed)} of {len(cells)}"
    print(f"Cells that are done, {done}: {output_dir / 'curve.tsv'}")
    if failed:
        cell, message = failed[0]
        raise DataError(
            f"{len(failed)} of {len(cells)} cells failed, the first {cell.path}: {message}\n"
            "Run the same command again: what is done stays done"
        )


def _determining(command: Sequence[str]) -> list[str]:
    """A command without what may change between two runs of a simulation.

    Its options are spelled with underlines, as ``al.sh`` reads them.
    """
    words = [_spelled(word) for word in command]
    values = {i + 1 for i, word in enumerate(words) if word in FREE}
    return [w for i, w in enumerate(words) if w not in FREE and i not in values]


def _spelled(word: str) -> str:
    """An option's name with underlines; values as they are."""
    if re.fullmatch("--[a-z][a-z0-9_-]*", word) is None:
        return word
    return "--" + word[2:].replace("-", "_")


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), simulate, cmd)


if __name__ == "__main__":
    main()
