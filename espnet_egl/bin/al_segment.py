#!/usr/bin/env python3
"""Cut recordings at pauses into clips; prints the data directory to go on with."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from espnet_egl import options
from espnet_egl.data.segment_options import SEGMENT_RULES, add_segment_arguments

# Runs shards: words of al_segment_shard, where their keys are, their numbers.
Launch = Callable[[Sequence[str], Path, Sequence[int]], None]


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_segment", __doc__ or "")
    parser.add_argument(
        "--data_dir", required=True, help="A Kaldi data directory: wav.scp, perhaps segments"
    )
    parser.add_argument("--output_dir", required=True, help="Where that of the clips goes")
    add_segment_arguments(parser)
    parser.add_argument(
        "--longer_than",
        type=longer_than,
        help="Cut only what is longer, in seconds, and leave the rest whole; scored: than "
        "al_score's --max_seconds, as --config and --score have it (default: cut all)",
    )
    parser.add_argument(
        "--score",
        action="append",
        default=[],
        metavar="WORD",
        help="A word of al_score's command line, e.g. --score=--max_seconds: no clip is "
        "longer than what is scored",
    )
    options.add_channel_argument(parser)
    options.add_pipe_arguments(parser)
    parser.add_argument("--nj", type=int, default=1, help="Processes, or jobs of --cmd")
    parser.add_argument(
        "--cmd", default="", help="Of a recipe's cmd.sh, what runs jobs: run.pl, queue.pl, slurm.pl"
    )
    parser.add_argument("--python", default=sys.executable, help="The Python of these jobs")
    options.add_advice_argument(parser)
    parser.set_defaults(advice="Give another --output_dir, or remove the directory.")
    return parser


def longer_than(text: str) -> float | str:
    """``scored``, or a number above zero."""
    return text if text == "scored" else options.positive(text)


def segment(args: argparse.Namespace, launch: Launch | None = None) -> Path:
    """The data directory to go on with.

    Args:
        args: Of :func:`get_parser`.
        launch: Runs the shards; default: processes of this machine, or jobs of ``--cmd``.
    """
    from espnet_egl.bin.al_check import parsed
    from espnet_egl.data.channel_dir import choose_channel
    from espnet_egl.data.jobs import run_shards
    from espnet_egl.data.recordings import Recordings
    from espnet_egl.data.segment_dir import segment_pool
    from espnet_egl.data.segmenting import Rules

    longest = args.longer_than
    most = None if longest == "scored" else longest
    if longest == "scored" or args.score or args.config:
        scored = parsed("al_score", args.score, args.config).max_seconds
        most = min(scored, most or scored)
        longest = scored if longest == "scored" else longest
    pipes = (args.allow_pipes, args.pipe_timeout)
    output_dir = Path(args.output_dir)
    channels = output_dir / f"channel_{args.channel}"
    data_dir = choose_channel(args.data_dir, args.channel, channels, *pipes)
    rules = {name: vars(args)[name] for name in SEGMENT_RULES}
    if most is not None:  # what is cut because it is too long must not be so again
        rules |= {name: min(rules[name], most) for name in SEGMENT_RULES if name != "padding"}

    def run(logdir: Path, nj: int, earlier: Sequence[Path]) -> None:
        words = ["--data_dir", str(data_dir)]
        words += [w for name, value in rules.items() for w in (f"--{name}", f"{value!r}")]
        words += ["--allow_pipes", str(args.allow_pipes).lower()]
        words += ["--pipe_timeout", f"{args.pipe_timeout!r}"]
        words += ["--earlier", *map(str, earlier)] if earlier else []
        shards = range(1, nj + 1)
        if launch is not None:
            return launch(words, logdir, shards)
        words = [*shlex.split(args.python), "-m", "espnet_egl.bin.al_segment_shard", *words]
        return run_shards(words, logdir, shards, "al_segment", shlex.split(args.cmd))

    found, said = segment_pool(
        data_dir,
        output_dir,
        Rules(**rules),
        args.nj,
        run,
        Recordings(*pipes),
        longest,
        args.advice,
    )
    if said:
        print(f"{output_dir}: {said}", file=sys.stderr)
    return found


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), lambda args: print(segment(args)), cmd)


if __name__ == "__main__":
    main()
