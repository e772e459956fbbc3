"""Active learning for speech recognition as a plugin to ESPnet.

The names of :mod:`espnet_egl.api` are here, too; what they need, PyTorch and ESPnet, is imported
when the first of them is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from espnet_egl.api import *  # noqa: F403


# As in espnet_egl.api, which nothing but their use may import.
_OF_API = frozenset(
    (
        *("AbsAcquisition", "EGLError", "Evidence", "Exported", "Hypothesis", "NBest"),
        *("Recognizer", "Rules", "ScoredUtterance", "Scorer", "Selection", "Skipped", "Utterance"),
        *("export", "load_model", "make_clip", "make_scorer", "read_clips", "read_pool"),
        *("read_scores", "score", "select", "table_of", "write_selection"),
    )
)


def __getattr__(name: str) -> Any:
    if name not in _OF_API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("espnet_egl.api"), name)
