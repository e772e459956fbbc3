#!/usr/bin/env python3
"""Score a folder of audio with a packed model, without a recipe."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from humanfriendly.text import pluralize

from espnet_egl import options
from espnet_egl.data.segment_options import SEGMENT_RULES, add_segment_arguments


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_score_dir", __doc__ or "")
    parser.add_argument(
        "--model",
        required=True,
        help="Packed by stage 14 of asr.sh or s2t.sh, a folder as Hugging Face has it, or a name",
    )
    parser.add_argument(
        "--wav_dir", required=True, help="Audio files, in folders and links below it, too"
    )
    parser.add_argument("--out", default="scores.tsv", help="The score table")
    parser.add_argument(
        "--work_dir", help="Everything else, and what a killed run goes on from (default: OUT.work)"
    )
    options.add_channel_argument(parser)
    parser.add_argument(
        "--segment",
        choices=("auto", "true", "false"),
        default="auto",
        help="Cut files at pauses into clips: true, all; auto, those longer than al_score's "
        "--max_seconds; false, none",
    )
    add_segment_arguments(parser)
    parser.set_defaults(**dict.fromkeys(SEGMENT_RULES))  # al_segment's own, or its section's
    parser.add_argument("--nj", type=int, default=1, help="Processes, which share the cores")
    parser.add_argument(
        "--score_args", default="", help="Options of al_score: '--methods egl entropy --nbest 50'"
    )
    return parser


def score_dir(args: argparse.Namespace) -> None:
    """Run the command; says where the table is."""
    from espnet_egl.bin import al_merge
    from espnet_egl.data.arrivals import plan_shards
    from espnet_egl.data.channel_dir import choose_channel
    from espnet_egl.data.jobs import run_shards
    from espnet_egl.data.segment_tables import SILENCE
    from espnet_egl.data.wav_dir import SKIPPED, write_data_dir
    from espnet_egl.model import packed
    from espnet_egl.store.files import atomic_open

    work = Path(args.work_dir or f"{args.out}.work").absolute()
    model = packed.unpack(args.model, work / "model")
    words = packed.window_options(model["asr_train_config"])
    args.score_args = f"{shlex.join(words)} {args.score_args}"  # the later of two counts
    advice = f"Give another --out or --work_dir, or remove {work}."
    count, left_out = write_data_dir(args.wav_dir, work / "data", (args.out, work))
    data = choose_channel(work / "data", args.channel, work / f"data_{args.channel}", False)
    left_out_tables = [work / "data" / SKIPPED]
    if args.segment != "false":
        data = cut(args, data, work / "data_cut", advice)
        left_out_tables += [data / SKIPPED] if (data / SILENCE).exists() else []
    segments = data / "segments"
    keys = segments if segments.exists() else data / "wav.scp"
    # The folder may have more files than before, or fewer: what is scored stays scored.
    plan = plan_shards(keys, args.nj, work / "logdir", advice=advice)
    others = f"; listed as no audio: {pluralize(left_out, 'other')}" if left_out else ""
    print(f"{pluralize(count, 'audio file')}{others}")
    print(f"Of these: {plan.arrival.describe()}")
    processes = pluralize(len(plan.jobs), "process", "processes")
    print(f"{processes}, log: {work / 'logdir'}/al_score.*.log")
    cmd = [sys.executable, "-m", "espnet_egl.bin.al_score"]
    cmd += ["--data_path_and_name_and_type", f"{data / 'wav.scp'},speech,sound"]
    cmd += ["--allow_pipes", "false"]
    for name in ("segments", "utt2speech"):
        cmd += [f"--{name}", str(data / name)] if (data / name).exists() else []
    cmd += ["--advice", advice]
    cmd += plan.score_words()
    cmd += ["--asr_train_config", model["asr_train_config"]]
    cmd += ["--asr_model_file", model["asr_model_file"], *shlex.split(args.score_args)]
    run_shards(cmd, work / "logdir", plan.jobs)
    merge = ["--logdir", str(work / "logdir"), "--output_dir", str(work)]
    al_merge.main([*merge, *(f"--left_out={table}" for table in left_out_tables)])
    with atomic_open(args.out, "wb") as f:
        f.write((work / "scores.tsv").read_bytes())
    print(f"Scores: {args.out}, not scored: {work / 'skipped.tsv'}")


def cut(args: argparse.Namespace, data: Path, output_dir: Path, advice: str) -> Path:
    """A data directory of clips, where there are files that are too long."""
    from espnet_egl.bin import al_segment

    words = ["--data_dir", str(data), "--output_dir", str(output_dir), "--allow_pipes", "false"]
    words += ["--nj", str(args.nj), "--advice", advice]
    rules = {name: vars(args)[name] for name in SEGMENT_RULES}
    words += [f"--{name}={value!r}" for name, value in rules.items() if value is not None]
    words += [f"--score={word}" for word in shlex.split(args.score_args)]
    words += ["--longer_than", "scored"] if args.segment == "auto" else []
    words += ["--config", args.config] if args.config else []
    return al_segment.segment(al_segment.get_parser().parse_args(words))


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), score_dir, cmd)


if __name__ == "__main__":
    main()
