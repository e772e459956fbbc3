#!/usr/bin/env python3
"""Say what of this machine and recipe works, and what to do about the rest."""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from espnet_egl.recipe.doctor import Finding


def get_parser() -> argparse.ArgumentParser:
    # ESPnet's parser, of which the other commands' are made, may be what is broken.
    parser = argparse.ArgumentParser(
        prog="espnet-egl doctor", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--recipe", help="Like egs2/mini_an4/asr1 (default: where you are)")
    parser.add_argument("--config", help="Options of the al_* commands (default: its conf/al.yaml)")
    parser.add_argument("--asr_train_config", help="The model's config.yaml (default: of its exp)")
    parser.add_argument("--asr_model_file", help="The checkpoint (default: one beside it)")
    return parser


def doctor(args: argparse.Namespace) -> bool:
    """Run the command; prints a line for everything that was looked at, and whether all is well."""
    from pathlib import Path

    try:
        from espnet_egl.recipe.doctor import BAD, NOTE, examine, guarded
        from espnet_egl.running import quiet
    except ImportError as e:  # of a package that the examination itself cannot do without
        print(f"NO  packages: {e}: pip install --force-reinstall '{e.name or 'espnet_egl'}'")
        return False

    directory = Path(args.recipe or ".").absolute()
    config, model = (
        None if path is None else Path(path).absolute()
        for path in (args.asr_train_config, args.asr_model_file)
    )
    states = []
    with quiet():
        for finding in itertools.chain(
            examine(directory, args.recipe is not None, config, model),
            guarded("options", lambda: _options(args.config, directory / "conf" / "al.yaml")),
        ):
            print(finding, flush=True)
            states.append(finding.state)
    bad, notes = states.count(BAD), states.count(NOTE)
    print(f"\n{len(states)} looked at: {bad} to mend (NO), {notes} optional or not there yet (--)")
    return bad == 0


def _options(given: str | None, path: Path) -> Iterator[Finding]:
    from espnet_egl.bin import al_check
    from espnet_egl.recipe.doctor import BAD, OK, Finding

    config = given or (str(path) if path.exists() else None)
    words = [] if config is None else ["--config", config]
    # As al.sh checks them before its first stage; a parser's last line is what is wrong.
    with contextlib.redirect_stderr(io.StringIO()) as usage:
        try:
            said = al_check.what_decides(al_check.get_parser().parse_args(words))
        except SystemExit:
            yield Finding("options", BAD, usage.getvalue().strip().splitlines()[-1])
            return
    yield Finding("options", OK, f"{config or 'defaults'}: {said}")


def main(cmd: Sequence[str] | None = None) -> None:
    """Status 1 where something is to be mended."""
    if not doctor(get_parser().parse_args(cmd)):
        sys.exit(1)


if __name__ == "__main__":
    main()
