"""What is said of a number of things is right of one, too."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "espnet_egl"
# Whatever is counted and said with a plain plural would read "1 clips".
COUNTED = re.compile(
    r" (labelled )?(clips|utterances|recordings|files|hypotheses|transcripts|words|tokens|frames|"
    r"samples|shards|rounds|rows|tasks|embeddings|directions|jobs|processes|speakers|keys|lines|"
    r"others)\b"
)


def plain_plurals(source: str) -> Iterator[str]:
    """In f-strings, a value and behind it a plural; constants in capitals are none that vary."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.JoinedStr):
            continue
        for value, text in zip(node.values, node.values[1:], strict=False):
            if not isinstance(value, ast.FormattedValue) or not isinstance(text, ast.Constant):
                continue
            constant = isinstance(value.value, ast.Name) and value.value.id.isupper()
            if not constant and COUNTED.match(str(text.value)):
                yield f"line {node.lineno}: {ast.unparse(node)}"


def test_a_plain_plural_is_found() -> None:
    assert list(plain_plurals('f"{n} clips, {MOST} utterances"')) != []
    assert list(plain_plurals("f\"{pluralize(n, 'clip')}, {MOST} utterances at most\"")) == []


def test_no_plain_plural_stands_behind_a_number() -> None:
    found = {
        str(path.relative_to(PACKAGE)): list(plain_plurals(path.read_text(encoding="utf-8")))
        for path in PACKAGE.rglob("*.py")
    }
    assert {path: lines for path, lines in found.items() if lines} == {}
