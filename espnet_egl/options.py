"""Command lines in ESPnet's manner: ``--config`` yaml below, the command line above.

Imports nothing heavy, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml
from espnet2.utils.config_argparse import ArgumentParser as ESPnetArgumentParser
from espnet2.utils.types import str2bool

from espnet_egl.errors import ConfigError
from espnet_egl.running import run
from espnet_egl.store.files import parse_yaml, read_yaml

COMMANDS = (
    *("al_prepare", "al_score", "al_merge", "al_calibrate", "al_fit"),
    *("al_select", "al_export", "al_import", "al_train_data", "al_curve"),
    *("al_pilot", "al_simulate", "al_worth", "al_report", "al_state"),
    *("al_init", "al_score_dir", "al_channel", "al_segment"),
    *("al_self_pool", "al_self_train", "al_sample"),
)

# What al.sh tells of a directory that holds results of other settings.
AL_SH_ADVICE = "Choose another --al_tag or --al_round, or remove the directory."

# Command -> the words it was called by, where these are others.
_called_as: dict[str, str] = {}


@contextmanager
def called_as(command: str, words: str) -> Iterator[None]:
    """Within the block, help and errors of the command name it as the user did."""
    _called_as[command] = words
    try:
        yield
    finally:
        del _called_as[command]


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Tells the defaults that say something and that the text does not tell already."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        told = action.required or "(default: " in (action.help or "")
        if told or action.default in (None, "", []):
            return action.help
        return super()._get_help_string(action)


class ArgumentParser(ESPnetArgumentParser):
    """ESPnet's parser, with ``--config`` files shared by all stages and checked values.

    A file has a section for every command that needs options, e.g.::

        al_score:
            nbest: 100
        al_select:
            budget: 20%

    Unknown sections, unknown keys and values of the wrong type are errors.

    Attributes:
        command: The name of its section.
    """

    command = ""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """As argparse's, after the defaults were taken from ``--config``."""
        args = list(sys.argv[1:] if args is None else args)
        known, _ = argparse.ArgumentParser.parse_known_args(
            _config_only(), args, argparse.Namespace()
        )
        if known.config is not None:
            self.set_defaults(**self.read_section(known.config))
        return argparse.ArgumentParser.parse_known_args(self, args, namespace)

    def read_section(self, path: str) -> dict[str, Any]:
        """This command's section of a ``--config`` file, checked; else the program ends."""
        try:
            options = read_sections(path).get(self.command) or {}
        except ConfigError as e:
            self.error(f"--config {e}")
        if not isinstance(options, dict):
            self.error(f"--config {path}: section {self.command} must hold 'option: value' lines")
        return {key: self._checked(path, key, value) for key, value in options.items()}

    def _checked(self, path: str, key: str, value: Any) -> Any:
        actions = [a for a in self._actions if a.dest == key and key != "config"]
        if not actions:
            self.error(f"--config {path}: unknown option '{key}' in section {self.command}")
        action = actions[0]
        # What was satisfied here need not stand on the command line.
        action.required = False
        many = action.nargs in ("+", "*") or isinstance(action, argparse._AppendAction)
        mapping = isinstance(value, dict)
        if value is None or (isinstance(value, list) and not many) or (mapping and not action.type):
            self.error(f"--config {path}: {key}: one value is wanted, not {value!r}")
        try:
            if isinstance(value, list):
                return [self._get_value(action, str(v)) for v in value]
            if mapping:
                return self._get_value(action, yaml.dump(value))
            value = self._get_value(action, str(value))
            self._check_value(action, value)
        except argparse.ArgumentError as e:
            self.error(f"--config {path}: {key}: {e.message}")
        return [value] if action.nargs in ("+", "*") else value


def read_sections(path: str) -> dict[str, Any]:
    """What a ``--config`` file says of every command.

    Raises:
        ConfigError: It cannot be read, or holds anything but sections of commands.
    """
    sections = read_yaml(path) or {}
    if not isinstance(sections, dict):
        raise ConfigError(f"{path}: must hold sections: {', '.join(COMMANDS)}")
    if unknown := sections.keys() - set(COMMANDS):
        raise ConfigError(
            f"{path}: unknown section '{min(map(str, unknown))}'; "
            f"sections are {', '.join(COMMANDS)}"
        )
    return sections


def _config_only() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, fromfile_prefix_chars="@")
    parser.add_argument("--config")
    return parser


def make_parser(command: str, description: str) -> ArgumentParser:
    """A parser with the options every command has."""
    parser = ArgumentParser(
        prog=_called_as.get(command, command),
        description=description,
        formatter_class=_HelpFormatter,
        # A slip of the pen is no other option, and a later release may have a longer name.
        allow_abbrev=False,
        # @file: more arguments, one a line. What clusters would let a shell read is safe there.
        fromfile_prefix_chars="@",
    )
    parser.command = command
    parser.add_argument(
        "--log_level",
        default="INFO",
        choices=("CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG"),
        help="The verbose level of logging",
    )
    return parser


def add_cleaning_arguments(parser: argparse.ArgumentParser) -> None:
    """How texts are prepared to be scored, as in stage 13 of asr.sh."""
    group = parser.add_argument_group("Text related")
    group.add_argument("--cleaner", help="ESPnet's text cleaner, of references")
    group.add_argument("--hyp_cleaner", help="Likewise of what was recognised")
    group.add_argument("--non_linguistic_symbols", help="A file, one a line: they do not count")


# An argparse parser, or a group of one.
Arguments = argparse._ActionsContainer


def add_pipe_arguments(group: Arguments) -> None:
    """Whether, and for how long, the commands in wav.scp are run; for all that read audio."""
    group.add_argument(
        "--allow_pipes",
        type=str2bool,
        default=True,
        help="Run commands in wav.scp; false for lists from others",
    )
    group.add_argument(
        "--pipe_timeout",
        type=positive,
        default=300.0,
        help="Seconds that such a command may take",
    )


def add_advice_argument(parser: argparse.ArgumentParser) -> None:
    """What to do about a directory of other settings, in words of the command that a user gave."""
    parser.add_argument("--advice", default=AL_SH_ADVICE, help=argparse.SUPPRESS)


def add_ledger_argument(parser: argparse._ActionsContainer) -> None:
    """Where several pools, models and teams write down what was asked."""
    parser.add_argument(
        "--ledger",
        help="A file that other directories write to as well: what is in it, by id or by audio, is "
        "not asked again",
    )


def add_channel_argument(parser: argparse.ArgumentParser) -> None:
    """Which channel of recordings with several is read."""
    parser.add_argument(
        "--channel",
        type=channel,
        default="first",
        help="Of recordings with several: first; mean, of all; the number of one, from 1 on; each: "
        "an utterance of every channel, call1-ch1 and call1-ch2 of call1",
    )


def channel(text: str) -> Any:
    """``first``, ``mean``, ``each``, or a number from 1 on."""
    if text in ("first", "mean", "each"):
        return text
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"'{text}' is neither first, mean, each, nor the number of a channel from 1 on"
        )
    return int(text)


def add_price_arguments(group: Arguments, known: str = "") -> None:
    """What transcribing costs.

    Args:
        group: Gets the options.
        known: Where the prices are told already: what these are in place of.
    """
    default = None if known else 0.0
    instead = f", if other than {known}" if known else ""
    group.add_argument(
        "--price_per_hour",
        type=float,
        default=default,
        help=f"Of transcribing an hour of audio{instead}",
    )
    group.add_argument(
        "--price_per_clip", type=float, default=default, help=f"Beside it, of every clip{instead}"
    )


def add_measured_price_arguments(group: Arguments) -> None:
    """Of what was labelled: the selection's prices, others, or those of time that was measured."""
    add_price_arguments(group, "the selection's")
    group.add_argument(
        "--price_per_annotator_hour",
        type=float,
        help="Of annotators' time, where their tool measured it, in place of the selection's "
        "prices, which only estimate it",
    )


def prices_conf(args: argparse.Namespace) -> dict[str, float]:
    """What of these was given."""
    given = {name: value for name, value in vars(args).items() if name.startswith("price_per_")}
    return {name: value for name, value in given.items() if value is not None}


def add_label_studio_arguments(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Where a server of Label Studio is, and what on it."""
    group = parser.add_argument_group("Label Studio related")
    group.add_argument(
        "--ls_url",
        help="The server, e.g. http://localhost:8080; its key is read from LABEL_STUDIO_API_KEY",
    )
    group.add_argument("--ls_project", help="The project: its title, or its number")
    return group


def label_studio_conf(args: argparse.Namespace) -> dict[str, Any]:
    """What of them was given, without ``ls_``."""
    given = {k.removeprefix("ls_"): v for k, v in vars(args).items() if k.startswith("ls_")}
    return {name: value for name, value in given.items() if value is not None}


def add_worth_arguments(parser: argparse.ArgumentParser) -> None:
    """What a learning curve is compared with and continued from."""
    parser.add_argument(
        "--against", default="random", help="The method to compare with, where it is there"
    )
    group = parser.add_argument_group("What comes next")
    group.add_argument(
        "--seed_hours", type=float, default=0.0, help="Of the seed set; 0: nothing is foretold"
    )
    group.add_argument(
        "--seed_shape_file", help="Or its speech_shape of stage 10, in samples", metavar="FILE"
    )
    group.add_argument("--fs", default="16k", help="Sampling rate of the audio")
    group.add_argument(
        "--speed_perturb_factors",
        default="",
        help="Of the seed set's copies, which are no hours of speech",
    )
    add_price_arguments(group)


def yaml_dict(text: str) -> dict[str, Any]:
    """An option's value written as a yaml mapping, e.g. ``{my_method: {alpha: 2}}``."""
    try:
        value = parse_yaml(text, "this")
    except ConfigError as e:
        raise argparse.ArgumentTypeError(str(e)) from e
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"not a yaml mapping: {text}")
    return value


def positive(text: str) -> float:
    """A number above zero, and below infinity."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above zero")
    return value


def data_triplet(text: str) -> tuple[str, str, str]:
    """``path,name,type`` as in ``--data_path_and_name_and_type``."""
    parts = text.split(",")
    if len(parts) != 3:
        raise argparse.ArgumentTypeError(f"'{text}' is not <path>,<name>,<type>")
    return parts[0].strip(), parts[1].strip(), parts[2].strip()


__all__ = ["ArgumentParser", "data_triplet", "make_parser", "run", "str2bool", "yaml_dict"]
