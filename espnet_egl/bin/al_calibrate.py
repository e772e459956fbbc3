#!/usr/bin/env python3
"""Learn from a scored, transcribed set how often words of a confidence are right."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from espnet_egl import options


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_calibrate", __doc__ or "")
    parser.add_argument(
        "--score_dir", required=True, help="Stage 20 of transcribed data the model has not seen"
    )
    parser.add_argument("--text", required=True, help="Its transcripts: Kaldi's text")
    parser.add_argument("--output_file", required=True, help="For al_merge --calibration")
    return parser


def calibrate(args: argparse.Namespace) -> None:
    """Run the command; prints what the calibration is worth."""
    from espnet_egl.fitted.calibration import Calibration

    calibration = Calibration.fit(args.score_dir, args.text)
    calibration.save(args.output_file)
    print(f"\n{'':30}{'AUC-ROC':>10}{'ECE':>10}{'NCE':>10}")
    for name, fitted in (
        ("words", calibration.word),
        ("utterances", calibration.utterance),
        ("words of utterances", calibration.accuracy),
    ):
        if fitted is None:
            continue
        for when, quality in (("before", fitted.before), ("after", fitted.after)):
            values = "".join(f"{value:z10.3f}" for value in vars(quality).values())
            print(f"{name + ', ' + when:30}{values}")
    print(f"\nGive it to al_merge: --calibration {args.output_file}")


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), calibrate, cmd)


if __name__ == "__main__":
    main()
