"""Active learning as stages of an ESPnet3 recipe (``egs3``).

In a recipe's run.py, ``from espnet_egl.espnet3 import ASRSystem, launch`` takes the place of
ESPnet's two imports. Nothing of ESPnet3 is imported before one of these names is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from espnet_egl.errors import ConfigError

_HOME = {"ASRSystem": "system", "launch": "launching"}


def __getattr__(name: str) -> Any:
    """What stands in ``_HOME``, imported when it is wanted.

    Raises:
        ConfigError: This ESPnet has no ESPnet3, or not all that it needs is installed.
    """
    if name not in _HOME:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    try:
        import_module("espnet3.contract.stages")
        import_module("espnet3.systems.esp2_asr.system")
    except ModuleNotFoundError as e:
        raise ConfigError(
            f"ESPnet3 cannot be imported ({e}): it needs Python 3.12 or later and "
            "pip install 'espnet[train]>=202611'"
        ) from e
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


__all__ = ["ASRSystem", "launch"]
