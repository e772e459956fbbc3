#!/usr/bin/env python3
"""Gradient length of every transcribed utterance: the largest are likely transcription errors.

Takes the options of espnet2.bin.asr_train, best from the config.yaml that training left:

    python3 -m espnet_egl.bin.asr_gradient_length --config exp/asr_x/config.yaml \\
        --init_param exp/asr_x/valid.loss.best.pth --output_dir exp/asr_x/gradient_length
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from espnet_egl.errors import EGLError


def get_parser() -> argparse.ArgumentParser:
    from espnet_egl.gradients.trainer import GradientLengthTask

    return GradientLengthTask.get_parser()


def main(cmd: Sequence[str] | None = None) -> None:
    from espnet_egl.gradients.trainer import GradientLengthTask

    try:
        GradientLengthTask.main(args=GradientLengthTask.parse_args(cmd))
    except EGLError as e:
        print(f"asr_gradient_length: error: {e}", file=sys.stderr)
        raise SystemExit(1) from e


if __name__ == "__main__":
    main()
