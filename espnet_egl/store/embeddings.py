"""Gradient embeddings beside the score table: row i of the one belongs to row i of the other."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from espnet_egl.errors import DataError
from espnet_egl.store.files import atomic_open

NAME = "embeddings.npy"
DTYPE = np.dtype("<f4")


def to_text(embedding: Sequence[float]) -> str:
    """For a line of the journal."""
    return base64.b64encode(np.asarray(embedding, DTYPE).tobytes()).decode()


def from_text(text: str) -> np.ndarray:
    """(S,) from a line of the journal."""
    return np.frombuffer(base64.b64decode(text), DTYPE)


def write(path: str | Path, rows: Iterable[np.ndarray], count: int) -> None:
    """Write (count, S) at once, row by row; nothing if there are no rows."""
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        return
    with atomic_open(path, "wb") as f:
        header = {"descr": DTYPE.str, "fortran_order": False, "shape": (count, len(first))}
        np.lib.format.write_array_header_1_0(f, header)
        f.write(first.tobytes())
        f.writelines(row.tobytes() for row in rows)


def read(path: str | Path) -> np.ndarray:
    """(rows, S), read as it is used.

    Raises:
        DataError: It is no array of numbers.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as e:  # NumPy reads a header as Python's words, and raises as Python does
        raise DataError(f"{path}: not an array of numbers ({e}); score the pool again") from e
