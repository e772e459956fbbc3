"""What al_score is told of language and task, for models that are prompted."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espnet_egl.model.prompts import Prompts

NAMES = frozenset({"prompt", "utt2lang"})


def add_arguments(group: Any) -> None:
    """``--prompt`` and ``--utt2lang``."""
    group.add_argument(
        "--prompt",
        help="Language and task for models that take them (OWSM, OWSM-CTC), e.g. '<eng><asr>', or "
        "'<eng>' alone; default: lang_sym and task_sym of the decoding",
    )
    group.add_argument(
        "--utt2lang", help="Each clip's language in Kaldi's format, in place of one for all"
    )


def read(args: argparse.Namespace) -> Prompts:
    """The prompts of the clips.

    Raises:
        ConfigError: The prompt is none.
        DataError: The map cannot be read.
    """
    from espnet_egl.data.kaldi import read_table
    from espnet_egl.model.prompts import Prompts

    return Prompts.parse(args.prompt, read_table(args.utt2lang) if args.utt2lang else None)


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """What of them determines the scores, for the manifest; nothing where none is given."""
    from espnet_egl.store.files import file_hash

    found = {"prompt": args.prompt} if args.prompt else {}
    return found | ({"utt2lang_sha256": file_hash(args.utt2lang)} if args.utt2lang else {})
