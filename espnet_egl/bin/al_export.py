#!/usr/bin/env python3
"""Hand the selected utterances over to annotators."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from humanfriendly.text import pluralize

from espnet_egl import options
from espnet_egl.errors import ConfigError


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_export", __doc__ or "")
    parser.add_argument("--select_dir", required=True, help="What stage 21 left")
    parser.add_argument("--nbest_file", help="nbest.tsv of stage 20, for more than one draft")
    parser.add_argument("--format", default="tsv", help="The exporter: see docs/exchange.md")
    parser.add_argument(
        "--format_conf", type=options.yaml_dict, default={}, help="Its options, a yaml mapping"
    )
    parser.add_argument("--output_dir", required=True, help="Where the annotators' files go")

    group = parser.add_argument_group("Audio related")
    group.add_argument(
        "--audio",
        choices=("none", "link", "copy", "cut"),
        help="Hand the clips over as files: link or copy what is a file of its own, cut all; none: "
        "name the recordings (default: the format's)",
    )
    group.add_argument(
        "--audio_format",
        choices=("flac", "wav"),
        help="Of what is written anew (default: the format's)",
    )
    group.add_argument(
        "--context_seconds",
        type=float,
        default=0.0,
        help="Of the recording, heard before and behind a clip, which is marked: "
        "label_studio, elan, textgrid",
    )
    options.add_pipe_arguments(group)
    options.add_ledger_argument(parser)
    options.add_label_studio_arguments(parser)
    return parser


def export(args: argparse.Namespace) -> None:
    """Run the command; prints the file to hand over."""
    from pathlib import Path

    from espnet_egl.exchange import exporters
    from espnet_egl.exchange.clips import audio_files, of_one_channel
    from espnet_egl.exchange.tasks import read_tasks
    from espnet_egl.loop.ledger import check_not_asked, claim, record
    from espnet_egl.loop.shared_ledger import WITHDRAWN
    from espnet_egl.store.tables import SKIPPED_COLUMNS, duration, write_rows

    exporter = exporters.build(args.format, args.format_conf | options.label_studio_conf(args))
    if args.context_seconds < 0:
        raise ConfigError(f"--context_seconds must be at least 0, not {args.context_seconds:g}")
    if args.context_seconds and not exporter.shows_context:
        raise ConfigError(
            f"--context_seconds: the format {args.format} cannot mark the clip in it; "
            "label_studio, elan and textgrid can"
        )
    output_dir = Path(args.output_dir)
    check_not_asked(args.select_dir)
    tasks = read_tasks(args.select_dir, args.nbest_file)
    if (args.audio or exporter.audio) == "none" and of_one_channel(tasks):
        print("Clips are of one channel of their recordings: they are handed over as files.")
    tasks, skipped = audio_files(
        exporter,
        tasks,
        output_dir,
        args.audio,
        args.audio_format,
        args.allow_pipes,
        args.pipe_timeout,
        args.context_seconds,
    )
    if skipped:
        clips = pluralize(len(skipped), "clip")
        print(f"Not handed over, see {output_dir / 'skipped.tsv'}: {clips}.")
    if args.ledger is not None:
        # First: what a kill leaves written down and not handed over is asked by the same command.
        claim(args.ledger, args.select_dir, [task.uid for task in tasks])
    path = exporter.export(tasks, output_dir)
    if lacking := [task.uid for task in exporter.lacking(tasks, path)]:
        clips = pluralize(len(lacking), "clip")
        print(
            f"Not in {path}, which was there before: {clips}, e.g. {lacking[0]}; "
            "move it away to have one with all of them; stage 23 takes both."
        )
        skipped += [(uid, "not_in_file", f"{path} was there before") for uid in lacking]
        write_rows(output_dir / "skipped.tsv", SKIPPED_COLUMNS, skipped)
        if args.ledger is not None:
            record(args.ledger, args.select_dir, dict.fromkeys(lacking, WITHDRAWN))
        tasks = [task for task in tasks if task.uid not in lacking]
    total = duration(sum(task.seconds for task in tasks))
    clips = pluralize(len(tasks), "clip")
    print(f"To transcribe, most valuable first ({clips}, {total}): {path.absolute()}")


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), export, cmd)


if __name__ == "__main__":
    main()
