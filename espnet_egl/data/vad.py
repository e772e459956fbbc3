"""How much of a clip is speech, by Silero's voice activity detector."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch

from espnet_egl.errors import ConfigError
from espnet_egl.types import Utterance

# What the detector was trained for, in Hz.
RATE = 16000


def load_detector() -> tuple[Any, Any]:
    """The package silero_vad and its model.

    Raises:
        ConfigError: The package is missing.
    """
    threads = torch.get_num_threads()
    try:
        import silero_vad
    except ImportError as e:
        raise ConfigError(
            "to tell speech from silence needs silero-vad: pip install silero-vad"
        ) from e
    # The import sets them to one, for the whole process.
    torch.set_num_threads(threads)
    return silero_vad, silero_vad.load_silero_vad()


class KnownSpeech:
    """Seconds of speech as a table has them, and by the detector where it has none.

    Args:
        table: Utterance id -> seconds.
        rate: Sampling rate of the utterances, in Hz.
    """

    def __init__(self, table: Mapping[str, float], rate: int):
        self.table, self.rate = table, rate

    @cached_property
    def _detector(self) -> SpeechDetector:
        return SpeechDetector(self.rate)

    def __call__(self, utterance: Utterance) -> float:
        """Seconds of speech, at most the utterance's own."""
        known = self.table.get(utterance.uid)
        return self._detector(utterance) if known is None else min(known, utterance.seconds)


class SpeechDetector:
    """Measures speech.

    Args:
        rate: Sampling rate of the utterances, in Hz.

    Raises:
        ConfigError: The package silero-vad is missing.
    """

    def __init__(self, rate: int):
        silero_vad, self._model = load_detector()
        self._find = silero_vad.get_speech_timestamps
        self.rate = rate

    def __call__(self, utterance: Utterance) -> float:
        """Seconds of speech, at most the utterance's own; features count as speech throughout."""
        if utterance.speech.ndim != 1:
            return utterance.seconds
        from torchaudio.functional import resample

        wave = resample(torch.as_tensor(utterance.speech).float(), self.rate, RATE)
        with torch.no_grad():
            found = self._find(wave, self._model, sampling_rate=RATE)
        return min(utterance.seconds, sum(s["end"] - s["start"] for s in found) / RATE)
