"""Text files as the tools of annotators write them."""

from __future__ import annotations

import codecs
import gzip
import zlib
from pathlib import Path

from espnet_egl.errors import DataError

GZIP = b"\x1f\x8b"


def read_text(path: Path) -> str:
    """A file's text: UTF-8, or UTF-16 with its mark, as spreadsheets save it; packed by gzip or not.

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
