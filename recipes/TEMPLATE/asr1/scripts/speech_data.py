"""What the recipes' data preparations share: clips, noise at a given SNR, Kaldi directories."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio


@dataclass(frozen=True)
class Clip:
    """One utterance: id ``<speaker>-...``, waveform (samples,) in [-1, 1], and what is known.

    ``maps`` become ``utt2<name>`` files; ``text`` is empty for clips without speech.
    """

    uid: str
    speaker: str
    wave: np.ndarray
    text: str
    maps: dict[str, str] = field(default_factory=dict)


def add_noise(
    wave: np.ndarray, kind: str, snr: float, rng: np.random.Generator, voices: np.ndarray
) -> np.ndarray:
    """Mix ``wave`` with noise at ``snr`` dB: ``white``, ``pink``, or ``babble`` of ``voices``."""
    noise = make_noise(kind, len(wave), rng, voices)
    mixed = torchaudio.functional.add_noise(
        torch.from_numpy(wave.astype(np.float32)),
        torch.from_numpy(noise.astype(np.float32)),
        torch.tensor(float(snr)),
    ).numpy()
    # Louder than the 16-bit files can hold: turned down, which leaves the SNR as it is.
    return mixed * min(1.0, 0.99 / np.abs(mixed).max())


def make_noise(kind: str, length: int, rng: np.random.Generator, voices: np.ndarray) -> np.ndarray:
    """Noise of ``length`` samples."""
    if kind == "white":
        return rng.standard_normal(length)
    if kind == "pink":
        spectrum = np.fft.rfft(rng.standard_normal(length))
        return np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), length)
    starts = rng.integers(0, len(voices) - length, size=5)
    return sum((voices[s : s + length] for s in starts), start=np.zeros(length))


def resample(wave: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Change the sampling rate."""
    if rate == wanted:
        return wave
    return torchaudio.functional.resample(
        torch.from_numpy(wave.astype(np.float32)), rate, wanted
    ).numpy()


def write_data_dir(
    directory: Path, clips: list[Clip], rate: int, wav_dir: Path, hide_text: Path | None = None
) -> None:
    """Write a Kaldi data directory and its wav files.

    ``hide_text``: the transcripts go to this directory's ``text``, not to the data directory:
    a pool has none, and simulations need them somewhere. What is not speech has its id there alone.
    """
    for folder in (directory, wav_dir, *([hide_text] if hide_text else [])):
        folder.mkdir(parents=True, exist_ok=True)
    clips = sorted(clips, key=lambda clip: clip.uid)
    for clip in clips:
        soundfile.write(wav_dir / f"{clip.uid}.wav", clip.wave, rate, subtype="PCM_16")
    tables = {
        "wav.scp": {c.uid: str((wav_dir / f"{c.uid}.wav").absolute()) for c in clips},
        "utt2spk": {c.uid: c.speaker for c in clips},
        "utt2dur": {c.uid: f"{len(c.wave) / rate:.3f}" for c in clips},
    }
    for name in sorted({name for clip in clips for name in clip.maps}):
        tables[f"utt2{name}"] = {c.uid: c.maps[name] for c in clips}
    speakers: dict[str, list[str]] = {}
    for clip in clips:
        speakers.setdefault(clip.speaker, []).append(clip.uid)
    tables["spk2utt"] = {speaker: " ".join(uids) for speaker, uids in speakers.items()}
    for name, table in tables.items():
        _write_table(directory / name, table)
    texts = {c.uid: c.text for c in clips if c.text or hide_text}
    _write_table((hide_text or directory) / "text", texts)


def _write_table(path: Path, table: dict[str, str]) -> None:
    lines = (f"{key} {table[key]}".rstrip() + "\n" for key in sorted(table))
    path.write_text("".join(lines), encoding="utf-8")


def write_sets(data_dir: Path, sets: dict[str, list[Clip]], rate: int) -> None:
    """Write every set below ``data_dir``; the one named ``pool`` without its transcripts."""
    for name, clips in sets.items():
        hide = data_dir / "pool_truth" if name == "pool" else None
        write_data_dir(data_dir / name, clips, rate, data_dir / "wav" / name, hide)
        minutes = sum(len(c.wave) for c in clips) / rate / 60
        speakers = len({c.speaker for c in clips})
        print(f"{name}: {len(clips)} utterances, {minutes:.1f} minutes, {speakers} speakers")
