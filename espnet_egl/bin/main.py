"""``espnet-egl COMMAND``: the commands under one name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

COMMANDS = {
    "doctor": ("al_doctor", "what of this machine and recipe works, and what to do about the rest"),
    "init": ("al_init", "put the stages into a recipe"),
    "segment": ("al_segment", "cut long recordings at pauses into clips"),
    "score": ("al_score_dir", "score a folder of audio with a packed model, without a recipe"),
    "worth": ("al_worth", "what labelling was worth, from a learning curve"),
    "report": (
        "al_report",
        "a page to read: what was selected, what it bought, every clip to hear",
    ),
    "state": ("al_state", "where every round of a recipe stands"),
}
HELP = "usage: espnet-egl COMMAND ...\n\n" + "".join(
    f"  {name:8}{text}\n" for name, (_, text) in COMMANDS.items()
)


def main(cmd: Sequence[str] | None = None) -> None:
    """Hand the command line to the command."""
    words = list(sys.argv[1:] if cmd is None else cmd)
    if not words or words[0] in ("-h", "--help"):
        print(HELP + "\nespnet-egl COMMAND --help tells its options; --version, the version.")
        return
    if words[0] == "--version":
        from espnet_egl import __version__

        print(__version__)
        return
    if words[0] not in COMMANDS:
        print(f"espnet-egl: no command '{words[0]}'\n\n{HELP}", file=sys.stderr)
        raise SystemExit(2)
    command, _ = COMMANDS[words[0]]
    if words[0] == "doctor":  # also where ESPnet is broken, of which the others' parsers are made
        import_module(f"espnet_egl.bin.{command}").main(words[1:])
        return
    from espnet_egl import options

    with options.called_as(command, f"espnet-egl {words[0]}"):
        import_module(f"espnet_egl.bin.{command}").main(words[1:])
