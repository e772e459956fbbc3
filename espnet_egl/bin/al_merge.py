#!/usr/bin/env python3
"""Join the shards' tables and check that every utterance of the pool is there once."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict

from espnet_egl import options


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_merge", __doc__ or "")
    parser.add_argument("--logdir", required=True, help="Holds keys.JOB.scp and output.JOB")
    parser.add_argument(
        "--nj", type=int, help="The number of shards (default: what al_prepare planned)"
    )
    parser.add_argument("--output_dir", required=True, help="Where the joined tables go")
    parser.add_argument(
        "--left_out",
        action="append",
        default=[],
        help="A table as skipped.tsv, of files that did not come into the pool (repeatable)",
    )
    parser.add_argument(
        "--calibration",
        help="Of al_calibrate: calibrated confidences go to calibrated/ of the output directory",
    )
    return parser


def merge(args: argparse.Namespace) -> None:
    """Run the command."""
    from pathlib import Path

    from espnet_egl.data.split import GONE, check_split, read_split
    from espnet_egl.scoring.growth import merge_pool
    from espnet_egl.scoring.records import join_manifests
    from espnet_egl.scoring.verification import describe, read_verified, write_verified
    from espnet_egl.store.files import write_lines

    calibration = None
    if args.calibration is not None:
        from espnet_egl.fitted.calibration import Calibration

        calibration = Calibration.load(args.calibration)
    logdir, output_dir = Path(args.logdir), Path(args.output_dir)
    numbers = check_split(logdir, args.nj)
    shards = [logdir / f"output.{number}" for number in numbers]
    manifest = join_manifests(shards)
    verified = read_verified(shards)
    summary = merge_pool(logdir, numbers, output_dir, args.left_out)
    write_verified(output_dir, [list(row.values()) for row in verified])
    if (split := read_split(logdir)) is not None:
        rows = (logdir / GONE).read_text(encoding="utf-8").splitlines()
        write_lines(output_dir / GONE, rows)
        manifest["arrivals"] = [asdict(arrival) for arrival in split.arrivals]
    write_lines(
        output_dir / "manifest.json",
        [json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False)],
    )
    summary.write(output_dir, shards=len(numbers), verified=len(verified))
    logging.info(
        f"{summary.describe()}: {args.output_dir}/scores.tsv, {args.output_dir}/skipped.tsv"
    )
    logging.info(describe(verified))
    if calibration is not None:
        calibration.apply(output_dir, logdir, output_dir / "calibrated")


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), merge, cmd)


if __name__ == "__main__":
    main()
