#!/usr/bin/env python3
"""Tell how far the jobs of a directory are, until they are done; al.sh runs it beside them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from espnet_egl import options


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_watch", __doc__ or "")
    parser.add_argument("--logdir", required=True, help="Has the jobs' keys and outputs")
    parser.add_argument("--first", type=int, required=True, help="The first job")
    parser.add_argument("--last", type=int, required=True, help="The last one")
    parser.add_argument(
        "--process",
        type=int,
        required=True,
        help="With its end this ends, too, be they done or not",
    )
    return parser


def watch(args: argparse.Namespace) -> None:
    """Run the command; SIGTERM, by which al.sh ends it, is no error."""
    import signal
    import sys
    from pathlib import Path

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    from espnet_egl.data import watching

    progress = watching.Progress(Path(args.logdir), range(args.first, args.last + 1))
    watching.watch(progress, watching.end_of(args.process))


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), watch, cmd)


if __name__ == "__main__":
    main()
