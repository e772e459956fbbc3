"""How sure Silero is of speech, and how loud it is, window by window, of recordings of any length.

What is kept of a second of audio are 32 windows, two numbers each: a megabyte an hour.
"""

from __future__ import annotations

from array import array
from typing import Any, NamedTuple

import numpy as np
import torch

from espnet_egl.data.segmenting import WINDOW
from espnet_egl.data.vad import RATE, load_detector

# Samples of a window. At 8 kHz, its other rate, the detector hears less of the same words.
_SIZE = RATE * WINDOW // 1000
# The detector remembers what it heard, and after a long noise it hears no speech any more. So it
# begins anew with every chunk, two blocks of four seconds, of which it is given the second before,
# too. Chunks begin a block apart: each block is heard twice. docs/segments.md has figures.
_BLOCK, _BEFORE = 125, 31
# So many chunks at a time, for speed.
_BATCH = 16


class Heard(NamedTuple):
    """What was heard of a recording.

    Attributes:
        probabilities: Of speech, (windows,).
        power: Mean square, (windows,).
        samples: How many there were of a channel.
        rate: Their rate, in Hz; 0 if there were none.
    """

    probabilities: np.ndarray
    power: np.ndarray
    samples: int
    rate: int

    @property
    def length(self) -> int:
        """In milliseconds, of which the last one may be broken."""
        return -(-1000 * self.samples // self.rate) if self.rate else 0


class Listener:
    """Listens to one recording at a time; how it is cut into blocks makes no difference.

    Raises:
        ConfigError: The package silero-vad is missing.
    """

    def __init__(self) -> None:
        _, self._model = load_detector()
        self._begin()

    def _begin(self) -> None:
        self._probabilities, self._power = array("f"), array("f")
        self._samples = self._rate = 0
        self._resampler: Any = None
        # What was not listened to yet, behind what is heard once more, or before it.
        self._waiting = np.zeros((_BEFORE + _BLOCK) * _SIZE, np.float32)
        self._once = np.zeros(_BLOCK, np.float32)

    def hear(self, wave: np.ndarray, rate: int) -> None:
        """The next block.

        Args:
            wave: Samples (samples,) in [-1, 1].
            rate: In Hz, the same for all blocks of a recording.
        """
        if self._rate == 0:
            self._rate = rate
            self._resampler = None if rate == RATE else _Resampler(rate, RATE)
        self._samples += len(wave)
        wave = wave.astype(np.float32, copy=False)
        self._take(wave if self._resampler is None else self._resampler(wave))

    def _take(self, wave: np.ndarray) -> None:
        self._waiting = np.concatenate([self._waiting, wave])
        while len(self._waiting) >= (_BEFORE + (_BATCH + 1) * _BLOCK) * _SIZE:
            self._listen(_BATCH)

    def _listen(self, chunks: int) -> None:
        """Hear so many blocks of what is waiting, and the one before them once more."""
        count = _BEFORE + (chunks + 1) * _BLOCK
        windows = self._waiting[: count * _SIZE].reshape(count, _SIZE)
        self._waiting = self._waiting[chunks * _BLOCK * _SIZE :]
        new = windows[_BEFORE + _BLOCK :]
        self._power.extend(np.square(new, dtype=np.float64).mean(axis=1).tolist())
        rows = np.arange(chunks)[None] * _BLOCK + np.arange(_BEFORE + 2 * _BLOCK)[:, None]
        self._model.reset_states()
        with torch.inference_mode():
            steps = torch.from_numpy(windows[rows])  # (windows of a chunk, chunks, samples)
            found = torch.stack([self._model(step, RATE)[:, 0] for step in steps])
        heard = found[_BEFORE:].T.numpy()  # (chunks, windows of two blocks)
        before = np.concatenate([self._once[None], heard[:-1, _BLOCK:]])
        self._once = heard[-1, _BLOCK:]
        self._probabilities.extend(np.maximum(before, heard[:, :_BLOCK]).flatten().tolist())

    def finish(self) -> Heard:
        """What was heard since the last time."""
        if self._resampler is not None:
            self._take(self._resampler.finish())
        samples = len(self._waiting) - (_BEFORE + _BLOCK) * _SIZE
        windows = len(self._power) + -(-samples // _SIZE)
        chunks = -(-samples // (_BLOCK * _SIZE)) + 1
        self._waiting = np.pad(self._waiting, (0, chunks * _BLOCK * _SIZE - samples))
        self._listen(chunks)
        heard = Heard(
            # The first block stands for what is before the recording.
            np.array(self._probabilities[_BLOCK : _BLOCK + windows], np.float32),
            np.array(self._power[:windows], np.float32),
            self._samples,
            self._rate,
        )
        self._begin()
        return heard


class _Resampler:
    """From one rate to another in a stream, by SoX's library."""

    def __init__(self, source: int, target: int):
        import soxr

        self._stream = soxr.ResampleStream(source, target, 1, dtype="float32")

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        return self._stream.resample_chunk(wave)

    def finish(self) -> np.ndarray:
        return self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
