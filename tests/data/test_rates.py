"""Sampling rates and lengths as headers claim them, usual or not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from conftest import make_speech
from tolerances import SAMPLE

from espnet_egl.data.audio import read_audio
from espnet_egl.errors import UtteranceError

USUAL = [8000, 11025, 12000, 16000, 22050, 24000, 32000, 37800, 44100, 48000, 88200, 96000, 192000]


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100])
def test_usual_rates_are_resampled_exactly(tmp_path: Path, rate: int) -> None:
    wave = make_speech(0.1).astype(np.float32)
    for file_rate in USUAL:
        path = tmp_path / f"{file_rate}.wav"
        soundfile.write(path, wave, file_rate, subtype="FLOAT")
        expected = torchaudio.functional.resample(torch.from_numpy(wave), file_rate, rate)
        found = read_audio(str(path), rate)[0]
        # A sum of products, in whatever order; the same as no other filter.
        np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=SAMPLE)


@pytest.mark.parametrize("rate", [1, 999, 15999, 16001, 44101, 96001, 2**31 - 1])
def test_no_rate_takes_more_memory_than_there_is(tmp_path: Path, rate: int) -> None:
    wave = np.sin(np.arange(1000) / 100)
    sound = io.BytesIO()
    soundfile.write(sound, wave, 16000, format="WAV")
    content = sound.getvalue()
    path = tmp_path / "a.wav"
    path.write_bytes(content[:24] + rate.to_bytes(4, "little") + content[28:])
    found, seconds = read_audio(str(path), 16000)
    assert seconds == pytest.approx(1000 / rate)
    assert len(found) == pytest.approx(16000 * seconds, abs=1, rel=1e-5)
    if rate in (15999, 16001):
        np.testing.assert_allclose(found[100:900], wave[100:900], atol=0.02)


def test_a_file_that_claims_endless_audio_is_refused(tmp_path: Path) -> None:
    """FLAC's header counts samples in 36 bits, and libsndfile believes it; some systems promise the
    memory, too, and the samples turn out to be missing."""
    sound = io.BytesIO()
    soundfile.write(sound, make_speech(0.1), 8000, format="FLAC")
    content = sound.getvalue()
    path = tmp_path / "a.flac"
    path.write_bytes(content[:21] + bytes([content[21] | 0x0F]) + b"\xff" * 4 + content[26:])
    with pytest.raises(UtteranceError, match=r"unreadable_audio|truncated_audio"):
        read_audio(str(path), 8000)
