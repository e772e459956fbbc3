"""Clips that a browser plays, cut from whatever a data directory points to."""

from __future__ import annotations

import hashlib
import io
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from espnet_egl.data.pipes import PIPE_TIMEOUT
from espnet_egl.data.pool import Pool
from espnet_egl.progress import progress
from espnet_egl.store.files import atomic_open
from espnet_egl.types import Skipped

FOLDER = "audio"
# Why clips were not scored that cannot be heard either: they are not read, and waited for, again.
UNHEARD = {"unreadable_audio", "missing_recording", "empty_audio", "not_finite_audio", "too_long"}
UNHEARD |= {"truncated_audio", "bad_segment", "pipe_not_allowed", "pipe_timeout", "failed_pipe"}
# What clips are called, and nothing else in the folder is ours.
NAME = re.compile(r"[0-9a-f]{16}\.flac")


def cut(
    data_dir: str | Path,
    uids: Sequence[str],
    folder: Path,
    rate: int,
    allow_pipes: bool = True,
    pipe_timeout: float = PIPE_TIMEOUT,
    context: float = 0.0,
) -> dict[str, str]:
    """Write clips as FLAC of 16 bits.

    Args:
        data_dir: A Kaldi data directory that has them.
        uids: Utterances.
        folder: Where the clips go.
        rate: Their sampling rate.
        allow_pipes: Whether commands in wav.scp are run.
        pipe_timeout: How long such a command may take, in seconds.
        context: Seconds of the recording around a clip that is a segment of one.

    Returns:
        Utterance -> name of its file, with ``#t=START,END`` where the clip is not all of it (W3C's
        media fragments, in seconds: a browser plays that part); without those whose audio cannot
        be read, and empty where the directory has features alone.

    Raises:
        DataError: The directory lacks one of them.
    """
    data_dir = Path(data_dir)
    if not (data_dir / "wav.scp").exists():
        logging.warning(f"{data_dir} has no wav.scp: the report has no audio of it")
        return {}
    segments = data_dir / "segments"
    pool = Pool(
        [(str(data_dir / "wav.scp"), "speech", _audio_type(data_dir))],
        sorted(uids),  # neighbours one after the other: a recording is decoded once
        rate,
        segments=segments if segments.exists() else None,
        allow_pipes=allow_pipes,
        pipe_timeout=pipe_timeout,
        context=context,
    )
    names = {}
    for clip in progress((pool[i] for i in range(len(pool))), len(pool), unit="clip"):
        if isinstance(clip, Skipped):
            logging.warning(f"no audio of '{clip.uid}' in the report: {clip.detail}")
            continue
        # An id may hold what a path must not.
        name = hashlib.sha256(f"{data_dir.name} {clip.uid}".encode()).hexdigest()[:16] + ".flac"
        speech = clip.speech if clip.speech.ndim == 1 else clip.speech[:, 0]
        content = io.BytesIO()
        wave = np.clip(speech, -1, 1)
        soundfile.write(content, wave, rate, format="FLAC", subtype="PCM_16")
        with atomic_open(folder / name, "wb") as f:
            f.write(content.getvalue())
        place = f"#t={clip.before:.3f},{clip.before + clip.seconds:.3f}"
        is_all = len(wave) / rate - clip.seconds < 0.01
        names[clip.uid] = name if is_all else name + place
    return names


def tidy(folder: Path, kept: Sequence[str]) -> None:
    """Remove the clips of an earlier report that this one does not have."""
    for path in folder.glob("*.flac") if folder.exists() else ():
        if NAME.fullmatch(path.name) and path.name not in kept:
            path.unlink()


def _audio_type(data_dir: Path) -> str:
    """As al.sh tells it, of a directory that asr.sh has dumped."""
    path = data_dir / "audio_format"
    if not path.exists():
        return "sound"
    text = path.read_text(encoding="utf-8")
    if "multi" in text:
        return "multi_columns_sound"
    return "kaldi_ark" if "ark" in text else "sound"
