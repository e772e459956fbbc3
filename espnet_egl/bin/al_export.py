#!/usr/bin/env python3
"""Hand the selected utterances over to annotators."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from espnet_egl import options


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_export", __doc__ or "")
    parser.add_argument("--select_dir", required=True, help="What stage 21 left")
    parser.add_argument("--nbest_file", help="nbest.tsv of stage 20, for more than one draft")
    parser.add_argument("--format", default="tsv", help="The exporter")
    parser.add_argument("--output_dir", required=True, help="Where the annotators' files go")
    return parser


def export(args: argparse.Namespace) -> None:
    """Run the command; prints the file to hand over."""
    from pathlib import Path

    from espnet_egl.exchange import exporters
    from espnet_egl.exchange.tasks import read_tasks
    from espnet_egl.tables import duration

    exporter = exporters.build(args.format, {})
    tasks = read_tasks(args.select_dir, args.nbest_file)
    path = exporter.export(tasks, Path(args.output_dir))
    total = duration(sum(task.seconds for task in tasks))
    print(f"To transcribe, most valuable first ({len(tasks)} clips, {total}): {path.absolute()}")


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), export, cmd)


if __name__ == "__main__":
    main()
