"""espeak-ng's library, as the wheel espeakng-loader brings it, speaking into arrays."""

from __future__ import annotations

import ctypes

import espeakng_loader
import numpy as np

AUDIO_OUTPUT_SYNCHRONOUS = 2
CHARS_UTF8 = 1
RATE, PITCH = 1, 3  # espeak_PARAMETER

Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class Espeak:
    """A speech synthesizer; one a process, for the library keeps its state globally.

    Attributes:
        rate: Sampling rate of what it speaks, in Hz.
    """

    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        self.rate = self._library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, data, 0)
        if self.rate <= 0:
            raise RuntimeError(f"espeak-ng cannot be initialised with its data in {data!r}")
        self._chunks: list[np.ndarray] = []
        self._callback = Callback(self._receive)  # kept: the library holds only a pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: ctypes._Pointer, count: int, _: ctypes.c_void_p) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
        return 0

    def say(self, text: str, voice: str, speed: int, pitch: int) -> np.ndarray:
        """Speak ``text``.

        Args:
            text: What to say.
            voice: E.g. ``en-gb-scotland+f2``: a language and a variant of the voice.
            speed: Words a minute, 80 to 450.
            pitch: 0 to 100.

        Returns:
            (samples,) float32 in [-1, 1].
        """
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice '{voice}'")
        self._library.espeak_SetParameter(RATE, speed, 0)
        self._library.espeak_SetParameter(PITCH, pitch, 0)
        # Its voices waver at random, seeded with the time of day: seeded here, they repeat.
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        self._chunks = []
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, CHARS_UTF8, None, None)
        self._library.espeak_Synchronize()
        return np.concatenate(self._chunks).astype(np.float32) / 32768
