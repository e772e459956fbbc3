"""Every phrase of the report, in every language."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path

import pytest

from espnet_egl.errors import ConfigError
from espnet_egl.report.language import html_tag, languages, read_language

PACKAGE = Path(__file__).parents[2] / "espnet_egl"
SOURCES = [*(PACKAGE / "report").glob("*.py"), PACKAGE / "loop" / "tables.py"]
SOURCES.append(PACKAGE / "loop" / "pilot.py")
# Said by worth.Estimate and by makeup.KNOWN, by their values.
OTHERS = {"one seed", "too few points", "{mean:z.2f} ({why})"}
OTHERS |= {
    "{mean:z.2f} ({low:z.2f} to {high:z.2f})",
    "speaker",
    "noise (SNR, dB)",
    "language",
    "recording",
}


def phrases() -> set[str]:
    """What the code says: the first argument of every say(...)."""
    found = set(OTHERS)
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = (
                node.func.attr
                if isinstance(node.func, ast.Attribute)
                else getattr(node.func, "id", "")
            )
            if name == "say" and isinstance(node.args[0], ast.Constant):
                found.add(node.args[0].value)
    template = (PACKAGE / "report" / "page.html.j2").read_text()
    return found | set(re.findall(r"say\([\"'](.*?)[\"']\)", template))


def fields(phrase: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(phrase) if name}


@pytest.mark.parametrize("tag", [tag for tag in languages() if tag != "en"])
def test_a_language_has_every_phrase_and_no_other(tag: str) -> None:
    language = read_language(tag)
    assert set(language.phrases) == phrases()
    for english, translated in language.phrases.items():
        assert fields(translated) == fields(english), english
        assert set(re.findall("_[A-Z]+_", translated)) == set(re.findall("_[A-Z]+_", english))


def test_a_language_without_a_file_is_refused() -> None:
    for tag in ("xx", "../en"):
        with pytest.raises(ConfigError, match="must be one of en, ja"):
            read_language(tag)


def test_only_codes_of_languages_come_into_the_page() -> None:
    assert html_tag("zh_TW") == "zh-TW"
    assert html_tag("noinfo") == html_tag('en" onload="x') == ""
