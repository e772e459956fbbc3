#!/usr/bin/env python3
"""Where every round stands, and what to do next."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from espnet_egl import options


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_state", __doc__ or "")
    parser.add_argument("--al_dir", required=True, help="The recipe's directory of active learning")
    parser.add_argument("--output_file", help="Also written there, as yaml")
    return parser


def state(args: argparse.Namespace) -> None:
    """Run the command; prints the state."""
    import yaml

    from espnet_egl.loop.state import describe
    from espnet_egl.store.files import write_lines

    text = yaml.safe_dump(describe(args.al_dir), sort_keys=False, allow_unicode=True)
    print(text, end="")
    if args.output_file is not None:
        write_lines(args.output_file, text.splitlines())


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), state, cmd)


if __name__ == "__main__":
    main()
