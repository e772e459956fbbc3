"""A folder of audio files as a Kaldi data directory: what is in it is taken, or listed."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from espnet_egl.data.decoding import SUFFIXES
from espnet_egl.data.kaldi import write_spk2utt, write_table
from espnet_egl.errors import DataError
from espnet_egl.store.files import safe_name
from espnet_egl.store.tables import SKIPPED_COLUMNS, write_rows

logger = logging.getLogger(__name__)

# What systems leave in folders; ._NAME is macOS's, with the suffix of the file NAME.
SYSTEM_FILES = frozenset({".ds_store", "desktop.ini", "thumbs.db"})
# What was not taken, and why.
SKIPPED = "skipped.tsv"


def write_data_dir(
    wav_dir: str | Path, output_dir: str | Path, leave_out: Iterable[str | Path] = ()
) -> tuple[int, int]:
    """Write wav.scp and utt2spk of every audio file in a folder and the folders below it.

    Links are followed; a folder that is met again by one is not read again. An utterance's id is
    the file's path in the folder without its suffix, with ``-`` for ``/`` and ``_`` for what is no
    letter, mark or digit of any script; ids that are still the same are numbered. Its speaker is
    the folder it lies in. A file whose name has no place in a table, as it holds a line's end or is
    not UTF-8, is read by a link in ``output_dir``. What is not taken is listed in ``skipped.tsv``.

    Args:
        wav_dir: The folder.
        output_dir: The directory to write.
        leave_out: Files and folders that are our own, should they lie in it.

    Returns:
        How many files are taken, and how many files and folders are listed.

    Raises:
        DataError: There is no such folder, or no audio file in it; or a link has no place there
            either.
    """
    wav_dir, output_dir = Path(wav_dir), Path(output_dir)
    if not wav_dir.is_dir():
        what = "this is a file, not a folder" if wav_dir.exists() else "no such folder"
        raise DataError(f"{wav_dir}: {what}")
    walk = _Walk(wav_dir, {os.path.realpath(path) for path in (output_dir, *leave_out)})
    walk.go()
    write_rows(output_dir / SKIPPED, SKIPPED_COLUMNS, sorted(walk.skipped))
    if not walk.files:
        listed = f"; what is: {output_dir / SKIPPED}" if walk.skipped else ""
        raise DataError(
            f"{wav_dir}: no audio file is in it ({', '.join(sorted(SUFFIXES))}){listed}"
        )
    inside = {path: path.relative_to(wav_dir) for path in sorted(walk.files)}
    uids = _distinct({p: _safe((*i.parts[:-1], _stem(i))) for p, i in inside.items()})
    folders = _distinct({i.parent: _safe(i.parent.parts) for i in inside.values()})
    recordings: dict[str, str] = {}
    for path, uid in uids.items():
        link = output_dir.absolute() / "links" / f"{safe_name(uid, uid)}{_suffix(path)}"
        recordings[uid] = str(_tabular(path.absolute(), link))
    write_table(output_dir / "wav.scp", recordings)
    write_table(
        output_dir / "utt2spk",
        {uid: folders[inside[path].parent] or uid for path, uid in uids.items()},
    )
    write_spk2utt(output_dir)
    return len(recordings), len(walk.skipped)


@dataclass
class _Walk:
    """A way through a folder that meets every folder once.

    Attributes:
        files: Those whose suffix is one of audio.
        skipped: Rows of ``skipped.tsv``, of everything else.
    """

    root: Path
    leave_out: set[str]
    files: list[Path] = field(default_factory=list)
    skipped: list[tuple[str, str, str]] = field(default_factory=list)

    def go(self) -> None:
        # Links last: a folder is called by its own place, where it has one here.
        folders: list[Path] = [self.root]
        links: list[Path] = []
        root = Path(os.path.realpath(self.root))
        met: dict[tuple[int, int], Path] = {}
        while folders or links:
            folder = folders.pop() if folders else links.pop(0)
            try:
                if Path(os.path.realpath(folder)) in root.parents:
                    self._skip(folder, "circle", f"{self.root} lies in the folder it leads to")
                    continue
                status = folder.stat()
                known = met.setdefault((status.st_dev, status.st_ino), folder)
                if known != folder:
                    self._skip(folder, "met_already", f"it is the folder {known}")
                    continue
                with os.scandir(folder) as found:
                    entries = sorted(found, key=lambda entry: entry.name)
            except OSError as e:
                self._skip(folder, "unreadable_folder", e.strerror or str(e))
                continue
            for entry in entries:
                if os.path.realpath(entry.path) in self.leave_out:
                    continue
                if (reason := self._reason(entry)) is not None:
                    self._skip(Path(entry.path), *reason)
                elif entry.is_file():
                    self.files.append(Path(entry.path))
                else:
                    (links if entry.is_symlink() else folders).append(Path(entry.path))

    @staticmethod
    def _reason(entry: os.DirEntry[str]) -> tuple[str, str] | None:
        """Why it is neither audio nor a folder; None if it is one of them."""
        try:
            if entry.is_dir():
                return None
            if not entry.is_file():
                if entry.is_symlink() and not Path(entry.path).exists():
                    return (
                        "broken_link",
                        f"it leads to {Path(entry.path).readlink()}: nothing there",
                    )
                return "not_a_file", "a socket, a pipe or a device"
        except OSError as e:
            return "broken_link", e.strerror or str(e)
        if entry.name.lower() in SYSTEM_FILES or entry.name.startswith("._"):
            return "system_file", "no audio: the system keeps its own notes there"
        if _suffix(Path(entry.path)).lower() not in SUFFIXES:
            return "no_audio_suffix", "its name does not end as that of a file with audio"
        return None

    def _skip(self, path: Path, reason: str, detail: str) -> None:
        self.skipped.append(
            (_shown(str(path.relative_to(self.root))), reason, _shown(f"{path}: {detail}"))
        )


def _shown(text: str) -> str:
    """``text`` for a table's cell, with what cannot be printed written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _suffix(path: Path) -> str:
    """As of any file, but for spaces that somebody left behind it."""
    return Path(path.name.rstrip()).suffix


def _stem(path: Path) -> str:
    return path.name.rstrip().removesuffix(_suffix(path))


def _distinct(names: Mapping[Path, str]) -> dict[Path, str]:
    """A name of its own for each: the first of those that clash keeps it, the next have numbers."""
    used = set(names.values())
    kept: set[str] = set()
    found = {}
    for path, name in names.items():
        own, number = name, 1
        while own in kept or (number > 1 and own in used):
            number += 1
            own = f"{name}-{number}"
        if own != name:
            logger.warning(f"{_shown(str(path))} is called '{own}': another one is '{name}'")
        kept.add(own)
        found[path] = own
    return found


def _tabular(path: Path, link: Path) -> Path:
    """A path that a line of wav.scp can hold: the file's, or that of a link to it."""
    if _fits(path):
        return path
    if not _fits(link):
        raise DataError(f"{str(path)!r} cannot stand in wav.scp: rename it, or the folder it is in")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(path)
    return link


def _fits(path: Path) -> bool:
    return str(path).isprintable() and str(path) == str(path).strip()


def _safe(parts: Iterable[str]) -> str:
    """An id of a path: composed letters, as most keyboards make them, and their marks."""
    return "-".join("".join(map(_in_id, unicodedata.normalize("NFC", part))) for part in parts)


def _in_id(character: str) -> str:
    return character if character in "._" or unicodedata.category(character)[0] in "LMN" else "_"
