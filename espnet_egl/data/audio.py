"""Audio of one utterance: plain files, Kaldi's pipes and segments, at the model's rate."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from espnet_egl.errors import UtteranceError
from espnet_egl.files import atomic_open


def read_audio(
    rxfilename: str,
    rate: int,
    start: float = 0.0,
    end: float | None = None,
    allow_pipes: bool = True,
) -> tuple[np.ndarray, float]:
    """Read a waveform as ESPnet's recogniser expects it.

    Args:
        rxfilename: What wav.scp says: the path of a file that libsndfile reads, or a
            command that ends in ``|`` and writes such a file to its standard output.
        rate: The sampling rate the model wants; other rates are resampled.
        start: Where to begin, in seconds.
        end: Where to stop, in seconds; None for the end of the recording.
        allow_pipes: Whether commands are run.

    Returns:
        Waveform (samples,) in [-1, 1], float32, of the first channel (what ESPnet's front
        end keeps in inference), and its duration in seconds.

    Raises:
        UtteranceError: It cannot be read, is empty, or holds values that are not finite.
    """
    wave, file_rate = _read(rxfilename, start, end, allow_pipes)
    return _resample(wave, file_rate, rate), len(wave) / file_rate


def write_wave(path: Path, wave: np.ndarray, rate: int) -> None:
    """Write a file at once, in the format of its suffix; one that is there is left as it is.

    Args:
        path: The file, ``.flac`` or ``.wav``.
        wave: Waveform (samples,) in [-1, 1].
        rate: In Hz.
    """
    if not path.exists():
        with atomic_open(path, "wb") as f:
            soundfile.write(f, wave, rate, format=path.suffix[1:].upper())


def write_clip(
    path: Path,
    rxfilename: str,
    start: float = 0.0,
    end: float | None = None,
    allow_pipes: bool = True,
) -> float:
    """Write one clip alone, its first channel at its own rate, as :func:`write_wave` does.

    Args:
        path: The file.
        rxfilename: As for :func:`read_audio`, and so the rest.
        start: See there.
        end: See there.
        allow_pipes: See there.

    Returns:
        Seconds.

    Raises:
        UtteranceError: As :func:`read_audio`.
    """
    wave, rate = _read(rxfilename, start, end, allow_pipes)
    write_wave(path, wave, rate)
    return len(wave) / rate


def _read(
    rxfilename: str, start: float, end: float | None, allow_pipes: bool
) -> tuple[np.ndarray, int]:
    source = _run_pipe(rxfilename[:-1], allow_pipes) if rxfilename.endswith("|") else rxfilename
    try:
        wave, file_rate = _read_samples(source, start, end)
    except (soundfile.LibsndfileError, OSError, ValueError, TypeError) as e:
        raise UtteranceError("unreadable_audio", f"{rxfilename}: {e}") from e
    if len(wave) == 0:
        raise UtteranceError("empty_audio", f"{rxfilename}: no samples")
    if not np.isfinite(wave).all():
        raise UtteranceError("not_finite_audio", f"{rxfilename}: holds NaN or infinite samples")
    return wave, file_rate


def _read_samples(source: Any, start: float, end: float | None) -> tuple[np.ndarray, int]:
    with soundfile.SoundFile(source) as f:
        first = round(start * f.samplerate)
        last = f.frames if end is None else round(end * f.samplerate)
        # Kaldi forgives segments that overshoot by rounding, no more.
        if f.frames and (first >= f.frames or last > f.frames + f.samplerate // 2):
            raise ValueError(
                f"segment {start}-{end} s lies beyond the {f.frames / f.samplerate:.2f} s"
                " of the recording"
            )
        f.seek(min(first, f.frames))
        wave = f.read(min(last, f.frames) - first, dtype="float32", always_2d=True)
        return wave[:, 0], f.samplerate


def _run_pipe(command: str, allow_pipes: bool) -> io.BytesIO:
    if not allow_pipes:
        raise UtteranceError("pipe_not_allowed", f"'{command.strip()} |' was not run")
    # A command in wav.scp is run by the shell: Kaldi's convention, and the user's own data.
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)  # noqa: S603
    if done.returncode != 0:
        message = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise UtteranceError(
            "failed_pipe",
            f"'{command.strip()} |' ended with {done.returncode}: {message[-1] if message else ''}",
        )
    return io.BytesIO(done.stdout)


def _resample(wave: np.ndarray, file_rate: int, rate: int) -> np.ndarray:
    if file_rate == rate:
        return wave
    import torch
    import torchaudio

    return torchaudio.functional.resample(torch.from_numpy(wave), file_rate, rate).numpy()


def change_speed(wave: np.ndarray, rate: int, factor: float) -> np.ndarray:
    """The same waveform played ``factor`` times as fast, its pitch too, as by ``sox speed``.

    Args:
        wave: (samples,) at ``rate``.
        rate: Its sampling rate in Hz.
        factor: Above 1 is faster and shorter.
    """
    import torch
    import torchaudio

    faster, _ = torchaudio.functional.speed(torch.from_numpy(wave), rate, factor)
    return faster.numpy()
