"""Words of espeak-ng, joined to recordings: a detector of speech hears no tones."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

DEMO = Path(__file__).parents[1] / "recipes" / "demo" / "asr1" / "local"
RATE = 8000
TEXTS = "seven monday orange window paper yellow garden number river butter"


@cache
def words() -> list[np.ndarray]:
    """Twenty words, each by itself."""
    pytest.importorskip("espeakng_loader", reason="the extra 'demo' is not installed")
    import soxr

    sys.path.insert(0, str(DEMO))
    try:
        from espeak import Espeak
    finally:
        sys.path.remove(str(DEMO))
    espeak = Espeak()
    voices = ("en-us", "en-gb-scotland")
    said = (espeak.say(text, voice, 150, 50) for voice in voices for text in TEXTS.split())
    return [soxr.resample(0.3 * wave / np.abs(wave).max(), espeak.rate, RATE) for wave in said]


def spoken(seed: int, count: int, pause: tuple[float, float] = (0.1, 1.6)) -> np.ndarray:
    """Words in any order, with pauses of so many seconds and a little noise: (samples,)."""
    draw = np.random.default_rng(seed)
    parts = []
    for _ in range(count):
        silence = np.zeros(int(RATE * draw.uniform(*pause)))
        parts += [silence, words()[draw.integers(len(words()))]]
    wave = np.concatenate([*parts, np.zeros(RATE)])
    return (wave + 0.001 * draw.standard_normal(len(wave))).astype(np.float32)
