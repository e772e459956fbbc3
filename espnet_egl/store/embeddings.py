"""Gradient embeddings beside the score table: row i of the one belongs to row i of the other.

A row has the projected gradient at the best hypothesis, GRADIENT numbers; and where the method
``fisher`` was asked for FACTORS times as many behind it, of which see :func:`factors_of`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from espnet_egl.errors import DataError
from espnet_egl.store.files import atomic_open

NAME = "embeddings.npy"
GRADIENT = 256
# Of a clip's Fisher information.
FACTORS = 4
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


def gradients_of(rows: np.ndarray) -> np.ndarray:
    """(N, GRADIENT) projected gradients at the best hypotheses, of rows (N, ...)."""
    return rows[:, :GRADIENT]


def factors_of(rows: np.ndarray) -> np.ndarray | None:
    """(N, FACTORS, GRADIENT) V_x of every row, where they are there.

    V_x^T V_x is about the expectation of g g^T over the hypotheses, g their projected gradients.
    """
    if rows.shape[1] != GRADIENT * (1 + FACTORS):
        return None
    # In this order it stays on disk until it is used.
    return rows.reshape(len(rows), 1 + FACTORS, GRADIENT)[:, 1:]
