"""The report's language: English as it stands in the code, or translated by a file.

A phrase is looked up by its English words, so that the code reads as the report does. Another
language is one more file in ``strings/``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import yaml

from espnet_egl.errors import ConfigError

STRINGS = Path(str(files(__package__))) / "strings"


@dataclass(frozen=True)
class Language:
    """Calling it says a phrase.

    Attributes:
        tag: As in HTML's ``lang``, e.g. ``ja``.
        direction: ``ltr`` or ``rtl``.
        phrases: English phrase -> translated; what is missing stays English.
    """

    tag: str = "en"
    direction: str = "ltr"
    phrases: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, phrase: str, **values: object) -> str:
        """The phrase with its values filled in.

        >>> Language()("{n} clips", n=3)
        '3 clips'
        """
        return self.phrases.get(phrase, phrase).format(**values)


def languages() -> list[str]:
    """Those that there are files for."""
    return sorted(path.stem for path in STRINGS.glob("*.yaml"))


def read_language(tag: str) -> Language:
    """A language of :func:`languages`.

    Raises:
        ConfigError: There is no such one.
    """
    if tag not in languages():
        raise ConfigError(f"--report_lang must be one of {', '.join(languages())}, not '{tag}'")
    found = yaml.safe_load((STRINGS / f"{tag}.yaml").read_text(encoding="utf-8"))
    return Language(tag, found["direction"], found["phrases"])


def html_tag(text: str) -> str:
    """A recipe's language as HTML's ``lang``; empty where it is no language's code.

    >>> html_tag("zh_TW"), html_tag("noinfo")
    ('zh-TW', '')
    """
    tag = text.replace("_", "-")
    return tag if re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", tag) else ""
