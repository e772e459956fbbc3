#!/usr/bin/env python3
"""Join the shards' tables and check that every utterance of the pool is there once."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from espnet_egl import options


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_merge", __doc__ or "")
    parser.add_argument("--logdir", required=True, help="Holds keys.JOB.scp and output.JOB")
    parser.add_argument("--nj", type=int, required=True, help="The number of shards")
    parser.add_argument("--output_dir", required=True, help="Where the joined tables go")
    parser.add_argument(
        "--calibration",
        help="Of al_calibrate: calibrated confidences go to calibrated/ of the output directory",
    )
    return parser


def merge(args: argparse.Namespace) -> None:
    """Run the command."""
    from pathlib import Path

    from espnet_egl.data.kaldi import read_table
    from espnet_egl.scoring import merge_shards

    calibration = None
    if args.calibration is not None:
        from espnet_egl.calibration import Calibration

        calibration = Calibration.load(args.calibration)
    logdir, jobs = Path(args.logdir), range(1, args.nj + 1)
    keys = {uid for job in jobs for uid in read_table(logdir / f"keys.{job}.scp")}
    summary = merge_shards(
        [logdir / f"output.{job}" for job in jobs], args.output_dir, keys, logdir / "skipped.tsv"
    )
    logging.info(
        f"{summary.scored} utterances scored ({summary.seconds / 3600:.2f} h of audio), "
        f"{sum(summary.skipped.values())} skipped {dict(summary.skipped)}: "
        f"{args.output_dir}/scores.tsv, {args.output_dir}/skipped.tsv"
    )
    if calibration is not None:
        calibration.apply(args.output_dir, logdir, Path(args.output_dir) / "calibrated")


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), merge, cmd)


if __name__ == "__main__":
    main()
