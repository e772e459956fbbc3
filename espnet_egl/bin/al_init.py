#!/usr/bin/env python3
"""Put the stages into a recipe, show the one-word change of run.sh, or undo it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from espnet_egl import options


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_init", __doc__ or "")
    parser.add_argument("recipe", help="Like egs2/mini_an4/asr1")
    for name, text in (
        ("--apply", "Change run.sh, too; run.sh.bak keeps it as it was"),
        ("--remove", "Undo all of it"),
        ("--dry_run", "Say what would be done, and do nothing"),
    ):
        parser.add_argument(
            name, type=options.str2bool, nargs="?", const=True, default=False, help=text
        )
    return parser


def init(args: argparse.Namespace) -> None:
    """Run the command; says what is to do, does it, and says that it is done."""
    from pathlib import Path

    from espnet_egl import recipe
    from espnet_egl.errors import ConfigError

    if args.apply and args.remove:
        raise ConfigError("give either --apply or --remove")
    directory = Path(args.recipe)
    steps = recipe.removal(directory) if args.remove else recipe.plan(directory, args.apply)
    for step in steps:
        print(f"{step}\n{recipe.difference(step)}", end="")
    if args.dry_run:
        print("Nothing was done (--dry_run).")
        return
    recipe.carry_out(steps)
    print("Done.")
    if not args.remove:
        print(
            "\nThe audio without transcripts goes into a Kaldi data directory data/pool "
            "(wav.scp, utt2spk).\nThen, with the options of training: ./run.sh --stage 20\n"
            "What conf/al.yaml says counts with --al_config conf/al.yaml."
        )


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), init, cmd)


if __name__ == "__main__":
    main()
