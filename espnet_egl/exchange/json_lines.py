"""Files with a JSON object a line, packed by gzip where their name ends in ``.gz``."""

from __future__ import annotations

import gzip
import json
import reprlib
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from espnet_egl.errors import DataError
from espnet_egl.store.files import atomic_open, parse_json


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object, with its file and line for messages.

    Raises:
        DataError: The file cannot be read, or a line is no object; the message names it.
    """
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise DataError(f"{path}: not UTF-8 ({e}); save it as UTF-8") from e
    except (OSError, EOFError, zlib.error) as e:
        raise DataError(f"{path}: cannot be read ({e})") from e
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            value = parse_json(line)
        except ValueError as e:
            raise DataError(f"{where}: not JSON: {e}") from e
        if not isinstance(value, dict):
            raise DataError(f"{where}: not an object, one of {{}} a line is wanted")
        yield where, value


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
