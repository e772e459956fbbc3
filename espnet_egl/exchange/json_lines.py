"""Files with a JSON object a line, packed by gzip where their name ends in ``.gz``."""

from __future__ import annotations

import gzip
import json
import reprlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from espnet_egl.errors import DataError
from espnet_egl.exchange.texts import read_text
from espnet_egl.store.files import atomic_open, parse_json


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object, with its file and line for messages; those of one list with their number.

    Raises:
        DataError: The file cannot be read, or a line is no object; the message names it.
    """
    for where, value in _values(path, read_text(path)):
        if not isinstance(value, dict):
            raise DataError(f"{where}: not an object, one of {{}} a line is wanted")
        yield where, value


def _values(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    """The values of the lines; where the whole text is one list over several lines, its entries."""
    if text.lstrip().startswith("["):
        try:
            whole = parse_json(text)
        except ValueError:
            # Lines, of which the first is wrong: say which.
            whole = None
        if isinstance(whole, list) and all(isinstance(value, dict) for value in whole):
            yield from ((f"{path}: entry {n}", value) for n, value in enumerate(whole, 1))
            return
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            yield where, parse_json(line)
        except ValueError as e:
            raise DataError(f"{where}: not JSON: {e}") from e


def write_objects(path: Path, objects: Iterable[dict[str, Any]]) -> None:
    """Write them at once; the same objects give the same bytes."""
    lines = (json.dumps(value, ensure_ascii=False) + "\n" for value in objects)
    data = "".join(lines).encode()
    with atomic_open(path, "wb") as f:
        f.write(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def text_of(value: dict[str, Any], name: str, where: str) -> str:
    """A field that holds a text, or nothing.

    Raises:
        DataError: It holds something else.
    """
    text = value.get(name)
    if text is not None and not isinstance(text, str):
        raise DataError(f"{where}: {name} is {reprlib.repr(text)}, not a text")
    return text or ""
