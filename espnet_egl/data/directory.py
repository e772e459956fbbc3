"""What of a Kaldi data directory is scored, and how it is read: said once, for every recipe."""

from __future__ import annotations

from pathlib import Path

from espnet_egl.errors import DataError


def key_file(directory: str | Path) -> Path:
    """The table whose ids are the utterances.

    Raises:
        DataError: The directory has no audio.
    """
    for name in ("segments", "wav.scp", "feats.scp"):
        if (path := Path(directory) / name).exists():
            return path
    raise DataError(f"{directory} has neither wav.scp nor feats.scp")


def score_words(directory: str | Path, audio_format: str = "") -> list[str]:
    """Words of ``al_score`` that name the audio of a directory.

    Args:
        directory: With wav.scp or feats.scp; segments, utt2dur and utt2speech where it has them.
        audio_format: As ESPnet dumped it, if the directory does not say itself: ``flac``,
            ``flac.ark``, ``multi_flac``, ...
    """
    directory = Path(directory)
    scp, kind = "wav.scp", "sound"
    if (path := directory / "audio_format").exists():
        audio_format = path.read_text(encoding="utf-8").strip()
    if not (directory / "wav.scp").exists():
        scp, kind = "feats.scp", "kaldi_ark"
    elif "ark" in audio_format and not _is_raw(directory):
        kind = "kaldi_ark"
    elif "multi" in audio_format:
        kind = "multi_columns_sound"
    words = ["--data_path_and_name_and_type", f"{directory / scp},speech,{kind}"]
    for name in ("segments", "utt2dur", "utt2speech"):
        if (directory / name).exists():
            words += [f"--{name}", str(directory / name)]
    return words


def format_of(directory: str | Path, audio_format: str = "") -> str:
    """What ``audio_format`` should say in a directory of some of its clips; empty: nothing.

    Args:
        directory: As for :func:`score_words`.
        audio_format: Likewise.
    """
    directory = Path(directory)
    if (directory / "audio_format").exists():
        return (directory / "audio_format").read_text(encoding="utf-8").strip()
    # As they came: not in ESPnet's arks, wherever the clips are listed.
    return "wav" if "ark" in audio_format and _is_raw(directory) else audio_format


def _is_raw(directory: Path) -> bool:
    """Whether recordings are as they came: in data/, or cut by segments, which ESPnet undoes."""
    return directory.parts[:1] == ("data",) or (directory / "segments").exists()


def selected_before(al_dir: str | Path, number: int) -> list[Path]:
    """What was selected in the rounds before one, under whatever tag: asked once, never again."""
    rounds = (Path(al_dir) / f"r{n}" for n in range(1, number))
    return [path for round_dir in rounds for path in sorted(round_dir.glob("select*"))]
