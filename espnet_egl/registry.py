"""Name -> class registries whose entries are imported only when they are asked for.

The counterpart of ESPnet's ``ClassChoices``. Built-in entries are given as
``module:Class``; a package of a third party adds its own through an entry point of the
registry's group, e.g. in its setup.py::

    entry_points={"espnet_egl.acquisition": ["my_method = my_package.my_module:MyMethod"]}

Nothing of a third party is imported before its name is used.
"""

from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from espnet_egl.errors import ConfigError


class Registry:
    """A lazy registry of classes.

    Args:
        kind: What the entries are, for messages, e.g. ``acquisition method``.
        group: The entry-point group third parties register under.
        builtin: Name -> ``module:Class``.
    """

    def __init__(self, kind: str, group: str, builtin: dict[str, str]):
        self.kind = kind
        self.group = group
        self._builtin = builtin

    def _third_party(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group)}

    def names(self) -> list[str]:
        """All names, built-in ones first."""
        return [*self._builtin, *(n for n in self._third_party() if n not in self._builtin)]

    def check(self, name: str) -> None:
        """Raise unless there is such a name; nothing is imported.

        Raises:
            ConfigError: There is none.
        """
        if name not in self.names():
            raise ConfigError(
                f"unknown {self.kind} '{name}': choose from {', '.join(self.names())}"
            )

    def get(self, name: str) -> type[Any]:
        """The class registered under ``name``.

        Raises:
            ConfigError: No such name, or its module cannot be imported.
        """
        if name in self._builtin:
            module, _, attribute = self._builtin[name].partition(":")
            return getattr(importlib.import_module(module), attribute)
        self.check(name)
        point = self._third_party()[name]
        try:
            return point.load()
        except (ImportError, AttributeError) as e:
            raise ConfigError(
                f"{self.kind} '{name}' is registered as {point.value}, which cannot be "
                f"imported ({e}): repair or uninstall the package that registers it"
            ) from e

    def build(self, name: str, conf: dict[str, Any]) -> Any:
        """An instance of the class ``name`` made with the keyword arguments ``conf``.

        Raises:
            ConfigError: No such name, or the class does not take these arguments.
        """
        cls = self.get(name)
        try:
            return cls(**conf)
        except TypeError as e:
            raise ConfigError(f"{self.kind} '{name}' does not take {conf}: {e}") from e
