"""ESPnet3's launcher, for systems with stages of active learning."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.readers import MultiplexedPath
from importlib.resources import files
from types import ModuleType
from typing import Any

from espnet3.contract.stages import stage_names
from espnet3.systems import launch as espnet3

from espnet_egl.espnet3.system import STAGES, ASRSystem


def launch(
    system_cls: type = ASRSystem,
    *,
    conf_package: str = "egs3.TEMPLATE.esp2_asr",
    argv: Sequence[str] | None = None,
    parser: argparse.ArgumentParser | None = None,
) -> None:
    """As ``espnet3.systems.launch.launch``, with the defaults of ``--al_config``.

    Args:
        system_cls: The system, commonly :class:`.ASRSystem` or derived from it.
        conf_package: ESPnet's package of the other roles' defaults.
        argv: Instead of the command line.
        parser: Instead of :func:`build_parser`'s.
    """
    espnet3.launch(
        system_cls,
        conf_package=_defaults(conf_package),
        argv=argv,
        parser=parser or build_parser(system_cls),
    )


def build_parser(system_cls: type) -> argparse.ArgumentParser:
    """ESPnet3's parser, for which ``--stages all``, or none, leaves active learning out.

    Between its stages people work: they run only when asked for.
    """
    names = stage_names(system_cls)
    usual = [name for name in names if name not in STAGES]

    class Stages(argparse.Action):
        def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
            asked = [name for v in values for name in (usual if v == "all" else [v])]
            setattr(namespace, self.dest, asked)

    # Of one option given twice, argparse takes the second.
    parser = argparse.ArgumentParser(
        parents=[espnet3.build_parser(system_cls)], conflict_handler="resolve"
    )
    parser.add_argument(
        "--stages",
        choices=[*names, "all"],
        nargs="+",
        default=usual,
        action=Stages,
        help="Which stages to run, several too; all: every one but those of active learning",
    )
    return parser


class _Joined:
    """Reads the resources of several packages as if they were one package's."""

    def __init__(self, *packages: str):
        self.packages = packages

    def get_resource_reader(self, name: str) -> _Joined:
        """Of importlib's loaders."""
        return self

    def files(self) -> MultiplexedPath:
        """Of importlib's readers."""
        return MultiplexedPath(*(files(package) for package in self.packages))


def _defaults(conf_package: str) -> ModuleType:
    """A package with ``conf_package``'s default configs and ours: ESPnet3 looks into one alone."""
    module = ModuleType("espnet_egl.espnet3.defaults")
    module.__spec__ = ModuleSpec(module.__name__, _Joined(conf_package, __package__))  # type: ignore[arg-type]
    return module
