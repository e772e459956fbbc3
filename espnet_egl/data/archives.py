"""Kaldi archives of sound, by the library that each release of ESPnet brings for them."""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from typing import Any, BinaryIO

import numpy as np


def refuse_pickles() -> None:
    """Let kaldiio, which ESPnet 202511 reads archives with, unpickle nothing.

    It takes an entry that begins with ``PKL`` for a pickled object, which may run anything.
    """
    matio = sys.modules.get("kaldiio.matio")
    if matio is not None:
        vars(matio)["pickle"] = _NoPickle


class _NoPickle:
    """In the place of the module ``pickle``."""

    @staticmethod
    def load(*_: Any, **__: Any) -> Any:
        raise ValueError("a pickled object stands in the archive: it is not loaded")


def write_ark_entry(file: BinaryIO, uid: str, wave: np.ndarray, rate: int, container: str) -> int:
    """Append a sound to an ark, framed as ESPnet's format_wav_scp.py does.

    Kaldi's own framing, without ``write_function``, is read as integers instead of [-1, 1].

    Args:
        file: The open ark.
        uid: Its key.
        wave: Waveform (samples,) in [-1, 1].
        rate: In Hz.
        container: ``FLAC`` or ``WAV``, of 16 bits.

    Returns:
        What stands behind the colon in wav.scp.
    """
    # 202611 has omniio in the place of kaldiio.
    io = importlib.import_module("omniio.kaldi" if find_spec("omniio") else "kaldiio")
    offset = file.tell() + len(f"{uid} ".encode())
    kwargs = {"format": container, "subtype": "PCM_16"}
    io.save_ark(
        file, {uid: (wave, rate)}, append=True, write_function="soundfile", write_kwargs=kwargs
    )
    return offset
