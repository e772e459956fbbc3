#!/usr/bin/env python3
"""Check what later stages are told before the first one is run: scoring may take days."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from espnet_egl import options

COMMANDS = ("score", "select", "export", "import", "self_train", "train_data")


@dataclass(frozen=True)
class Decision:
    """What counts of the config and of the command lines.

    Attributes:
        said: The method, the budget and what scores may cost, for people.
        diversity: How the selection is spread.
        methods: Those that al_score has, of its own config and command line.
        max_seconds: Of the longest clip that is scored.
    """

    said: str
    diversity: str
    methods: tuple[str, ...]
    max_seconds: float


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_check", __doc__ or "")
    for name in COMMANDS:
        parser.add_argument(
            f"--{name}",
            action="append",
            default=[],
            metavar="WORD",
            help=f"A word of al_{name}'s command line, e.g. --{name}=--config",
        )
    parser.add_argument("--budgets", nargs="*", default=[], help="Likewise, of a simulation")
    parser.add_argument(
        "--pilot",
        type=options.str2bool,
        default=False,
        help="Whether it is one, with its own budget",
    )
    parser.add_argument(
        "--window", type=options.positive, help="Seconds that the model hears, at most"
    )
    return parser


def check(args: argparse.Namespace) -> None:
    """Run the command; prints a :class:`Decision`, a line an attribute."""
    found = decide(args)
    print(found.said, found.diversity, " ".join(found.methods), f"{found.max_seconds:g}", sep="\n")


def what_decides(args: argparse.Namespace) -> str:
    """What :func:`decide` says."""
    return decide(args).said


def decide(args: argparse.Namespace) -> Decision:
    """What counts, once everything is checked.

    Raises:
        ConfigError: A method, a format or the value of an option is unknown.
        BudgetError: A budget cannot be read.
    """
    import math
    import sys

    from espnet_egl.acquisition import acquisition_methods
    from espnet_egl.errors import ConfigError
    from espnet_egl.exchange import exporters, importers
    from espnet_egl.loop.ledger import left_of
    from espnet_egl.scoring.effort import choose, describe
    from espnet_egl.selection.budget import Prices, parse_budget
    from espnet_egl.selection.ranking import split_methods
    from espnet_egl.selection.select import Rules

    if args.config is not None:
        for command in options.read_sections(args.config):
            parser_of(command).read_section(args.config)
    score, select, export, returned, *_ = (
        parsed(f"al_{name}", vars(args)[name], args.config) for name in COMMANDS
    )
    for method in [*score.methods, *split_methods(select.method)]:
        acquisition_methods.check(method)
    exporters.check(export.format)
    importers.check(returned.format)
    Rules(random_share=select.random_share, diversity_pool=select.diversity_pool)
    prices = Prices(select.price_per_hour, select.price_per_clip)
    if select.budget_total is not None and (args.budgets or args.pilot):
        raise ConfigError(
            "--al_budget_total (budget_total of al_select) counts over all rounds: give a pilot "
            "--al_budget, a simulation --al_budgets"
        )
    if args.budgets and (select.ledger or export.ledger or returned.ledger) is not None:
        raise ConfigError(
            "--al_ledger (ledger of al_select, al_export or al_import) is of what people were "
            "asked for: a simulation asks nobody, leave it out"
        )
    if select.budget_total is not None:
        left_of(select.budget_total, [], prices)
    for budget in (select.budget, *args.budgets):
        # How large the pool is, is known only when it was scored.
        parse_budget(budget, sys.maxsize, math.inf, prices)
    cost = describe(score.effort, choose(score.effort, vars(score)))
    return Decision(
        f"{select.method}, {select.budget_total or select.budget}; {cost}",
        select.diversity,
        tuple(score.methods),
        min(score.max_seconds, args.window or math.inf),
    )


def parser_of(command: str) -> options.ArgumentParser:
    """A command's parser; nothing is asked for that only its stage knows."""
    from importlib import import_module

    parser = import_module(f"espnet_egl.bin.{command}").get_parser()
    for action in parser._actions:
        action.required = False
    return parser


def parsed(command: str, words: Sequence[str], config: str | None) -> argparse.Namespace:
    """A command's options."""
    return parser_of(command).parse_args([*(["--config", config] if config else []), *words])


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), check, cmd)


if __name__ == "__main__":
    main()
