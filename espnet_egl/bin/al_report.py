#!/usr/bin/env python3
"""A page to read: what was selected, what it costs and bought, and what comes next."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from espnet_egl import options


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_report", __doc__ or "")
    parser.add_argument(
        "--output_dir", required=True, help="Gets index.html, audio/, report.md and plots/"
    )
    parser.add_argument(
        "--report_lang", default="en", help="Of the page: a file of espnet_egl/report/strings"
    )

    group = parser.add_argument_group("What it is made from; what is not given is left out")
    group.add_argument("--al_dir", type=Path, help="Of all rounds: what annotators were asked")
    group.add_argument("--score_dir", type=Path, help="What stage 20 left")
    group.add_argument("--select_dir", type=Path, help="What stage 21 left")
    group.add_argument("--annotate_dir", type=Path, help="What stage 22 left")
    group.add_argument("--labelled_dir", type=Path, help="What stage 23 left")
    group.add_argument(
        "--train_dir", type=Path, action="append", default=[], help="Of a model of stage 24"
    )
    group.add_argument("--simulation_dir", type=Path, help="What al_simulate left")
    group.add_argument("--data_dir", type=Path, help="The pool's Kaldi data directory")
    group.add_argument("--curve_file", type=Path, help="curve.tsv of rounds or of a simulation")
    group.add_argument("--test_set", action="append", default=[], help="Of it (default: all)")
    group.add_argument(
        "--pilot_file", type=Path, action="append", default=[], help="The figures of al_pilot"
    )
    group.add_argument(
        "--gradient_length_file", type=Path, help="Of asr_gradient_length: wrong transcripts"
    )
    group.add_argument(
        "--gradient_length_data", type=Path, help="Its Kaldi data directory, for text and audio"
    )
    group.add_argument("--command", default="", help="As it was typed, to be shown")
    group.add_argument(
        "--simulated", type=options.str2bool, default=False, help="Whether rounds are simulated"
    )

    group = parser.add_argument_group("Clips")
    group.add_argument("--max_clips", type=int, default=2000, help="Rows of a table at most")
    group.add_argument("--max_audio", type=int, default=300, help="Of these, how many can be heard")
    group.add_argument("--nbest", type=int, default=5, help="Hypotheses that are shown")
    group.add_argument(
        "--context_seconds",
        type=float,
        default=5.0,
        help="Of a clip that is a segment, so much of the recording before and behind it",
    )
    options.add_pipe_arguments(group)
    group.add_argument(
        "--text_lang", default="", help="Language of transcripts, as in HTML: ja, zh-TW, ..."
    )

    options.add_worth_arguments(parser)
    return parser


def report(args: argparse.Namespace) -> None:
    """Run the command; prints where the page is."""
    from functools import partial

    from espnet_egl.errors import ConfigError
    from espnet_egl.loop.training import parse_factors, parse_rate, read_seed_hours
    from espnet_egl.report import audio, page
    from espnet_egl.report.build import Builder
    from espnet_egl.report.inputs import Inputs
    from espnet_egl.report.language import html_tag, read_language
    from espnet_egl.selection.budget import Prices

    if args.score_dir is None and args.select_dir is None and args.curve_file is None:
        raise ConfigError("nothing to report: give --score_dir, --select_dir or --curve_file")
    if min(args.max_clips, args.nbest) < 1 or min(args.max_audio, args.context_seconds) < 0:
        raise ConfigError(
            "--max_clips and --nbest must be at least 1, "
            "--max_audio and --context_seconds at least 0"
        )
    output_dir = Path(args.output_dir)
    cut = partial(
        audio.cut,
        folder=output_dir / audio.FOLDER,
        rate=parse_rate(args.fs),
        allow_pipes=args.allow_pipes,
        pipe_timeout=args.pipe_timeout,
        context=args.context_seconds,
    )
    inputs = Inputs(
        al_dir=args.al_dir,
        score_dir=args.score_dir,
        select_dir=args.select_dir,
        annotate_dir=args.annotate_dir,
        labelled_dir=args.labelled_dir,
        train_dirs=tuple(args.train_dir),
        simulation_dir=args.simulation_dir,
        data_dir=args.data_dir,
        curve_file=args.curve_file,
        test_sets=tuple(args.test_set),
        pilot_files=tuple(args.pilot_file),
        gradient_length_file=args.gradient_length_file,
        gradient_length_data=args.gradient_length_data,
        config=Path(args.config) if args.config else None,
        command=args.command,
        against=args.against,
        seed_hours=read_seed_hours(
            args.seed_hours,
            args.seed_shape_file,
            args.fs,
            parse_factors(args.speed_perturb_factors),
        ),
        prices=Prices(args.price_per_hour, args.price_per_clip),
        simulated=args.simulated,
        nbest=args.nbest,
        max_clips=args.max_clips,
        max_audio=args.max_audio,
        speech_lang=html_tag(args.text_lang),
        say=read_language(args.report_lang),
    )
    found = Builder(inputs, cut).build()
    written = page.write(found, output_dir, inputs.say)
    audio.tidy(output_dir / audio.FOLDER, [name.split("#")[0] for name in found.audio])
    size = written.stat().st_size / 1e6
    print(f"The report, {size:.1f} MB: {written.absolute()}")


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), report, cmd)


if __name__ == "__main__":
    main()
