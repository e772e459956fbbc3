"""A folder of audio files as a Kaldi data directory."""

from __future__ import annotations

import re
from pathlib import Path

from espnet_egl.data.decoding import SUFFIXES
from espnet_egl.data.kaldi import write_spk2utt, write_table
from espnet_egl.errors import DataError
from espnet_egl.store.files import safe_name


def write_data_dir(wav_dir: str | Path, output_dir: str | Path) -> int:
    """Write wav.scp and utt2spk of every audio file in a folder and the folders below it.

    An utterance's id is the file's path in the folder without its suffix, with ``-`` for ``/`` and
    ``_`` for what is neither a letter nor a digit; its speaker is the folder it lies in. A file
    whose name has no place in a table, as it holds a line's end or is not UTF-8, is read by a link
    in ``output_dir``.

    Args:
        wav_dir: The folder.
        output_dir: The directory to write.

    Returns:
        How many files there are.

    Raises:
        DataError: There are none, or two have the same id; or a link has no place there either.
    """
    wav_dir, output_dir = Path(wav_dir), Path(output_dir)
    paths = sorted(p for p in wav_dir.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not paths:
        raise DataError(f"{wav_dir}: no audio file is in it ({', '.join(sorted(SUFFIXES))})")
    recordings: dict[str, str] = {}
    speakers: dict[str, str] = {}
    for path in paths:
        inside = path.relative_to(wav_dir).with_suffix("")
        uid = _safe(inside.parts)
        if uid in recordings:
            raise DataError(f"{path} and {recordings[uid]} have the same id '{uid}': rename one")
        link = output_dir.absolute() / "links" / f"{safe_name(uid, uid)}{path.suffix}"
        recordings[uid] = str(_tabular(path.absolute(), link))
        speakers[uid] = _safe(inside.parts[:-1]) or uid
    write_table(output_dir / "wav.scp", recordings)
    write_table(output_dir / "utt2spk", speakers)
    write_spk2utt(output_dir)
    return len(paths)


def _tabular(path: Path, link: Path) -> Path:
    """A path that a line of wav.scp can hold: the file's, or that of a link to it."""
    if str(path).isprintable():
        return path
    if not str(link).isprintable():
        raise DataError(f"{str(path)!r} cannot stand in wav.scp: rename it, or the folder it is in")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(path)
    return link


def _safe(parts: tuple[str, ...]) -> str:
    return "-".join(re.sub(r"[^\w.]", "_", part) for part in parts)
