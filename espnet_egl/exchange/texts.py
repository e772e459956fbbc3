"""Text files as the tools of annotators write them."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from pathlib import Path

from espnet_egl.errors import DataError

GZIP = b"\x1f\x8b"


def read_text(path: Path) -> str:
    """A file's text: UTF-8, or UTF-16 with its mark; packed by gzip or not.

    Raises:
        DataError: It cannot be read, or is in another encoding.
    """
    try:
        data = path.read_bytes()
        if data.startswith(GZIP) or path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as e:
        raise DataError(f"{path}: cannot be read ({getattr(e, 'strerror', None) or e})") from e
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as e:
        raise DataError(f"{path}: not UTF-8 ({e}); save it as UTF-8") from e


def read_cells(
    path: Path, text: str, delimiter: str, kind: str
) -> tuple[list[str], list[tuple[int, dict[str | None, str | None]]]]:
    """The columns of a table as a spreadsheet saves it, and its lines with their numbers.

    Args:
        path: For messages.
        text: The table.
        delimiter: What stands between its cells.
        kind: Its name, for messages.

    Returns:
        What stands beyond the columns is under None; a cell that is missing is None.

    Raises:
        DataError: A quote is not closed.
    """
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        names = list(reader.fieldnames or ())
        return names, [(reader.line_num, row) for row in reader]
    except csv.Error as e:
        raise DataError(f"{path}: not {kind}, or a quote is not closed: {e}") from e
