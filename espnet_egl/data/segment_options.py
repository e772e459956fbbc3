"""How long clips are, as options of the commands that cut."""

from __future__ import annotations

import argparse

from espnet_egl.options import positive

# By which recordings are cut.
SEGMENT_RULES = ("min_seconds", "max_seconds", "target_seconds", "padding")


def add_segment_arguments(parser: argparse.ArgumentParser) -> None:
    """Add an option for each of SEGMENT_RULES."""
    add = parser.add_argument_group("Clips related, in seconds").add_argument
    add("--min_seconds", type=positive, default=2.0, help="Of a clip; no pause in it is longer")
    add("--max_seconds", type=positive, default=20.0, help="Of a clip, at most")
    add("--target_seconds", type=positive, default=10.0, help="Of most clips")
    add("--padding", type=float, default=0.3, help="Silence kept before and behind speech")
