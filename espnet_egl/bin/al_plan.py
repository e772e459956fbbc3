#!/usr/bin/env python3
"""Say which methods score the pool, and which are fitted to a transcribed set: three lines."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from espnet_egl import options


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_plan", __doc__ or "")
    parser.add_argument("--method", default="", help="That decides, or several: egl+confidence")
    parser.add_argument("--score_methods", default="", help="Computed beside it")
    parser.add_argument("--scored", default="", help="What al_score computes of itself")
    parser.add_argument("--diversity", default="", help="How the selection is spread")
    parser.add_argument("--egl_temperature", default="", help="auto is fitted")
    parser.add_argument(
        "--calibrate", type=options.str2bool, default=False, help="Calibrate confidences?"
    )
    parser.add_argument("--fit_methods", default="", help="What predictions are made of")
    return parser


def plan(args: argparse.Namespace) -> None:
    """Run the command; prints methods, fitted methods, and whether anything is predicted."""
    from espnet_egl.acquisition.plan import plan as decide

    found = decide(
        args.method,
        args.score_methods.split(),
        args.diversity,
        args.scored.split(),
        args.egl_temperature,
        args.calibrate,
        args.fit_methods.split(),
    )
    print(*found.methods)
    print(*found.fit_methods)
    print(str(found.predicts).lower())


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), plan, cmd)


if __name__ == "__main__":
    main()
