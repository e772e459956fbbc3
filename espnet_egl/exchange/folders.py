"""Which files of what came back an importer reads."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from espnet_egl.errors import DataError
from espnet_egl.exchange import AbsImporter, Answer
from espnet_egl.exchange.clip_returns import AUDIO_SUFFIXES, SYSTEMS_OWN, WRITTEN, is_systems_own


def read_all(importer: AbsImporter, path: Path) -> list[Answer]:
    """Every answer in a file or a folder; what is not used of it the importer notes.

    Raises:
        DataError: See :func:`files_in` and :meth:`.AbsImporter.read`.
    """
    answers = []
    for file in files_in(importer, path):
        before = len(importer.unused)
        found = importer.read(file)
        if not found and len(importer.unused) == before and file.is_file():
            importer.leave(file, "nothing is in it")
        answers += found
    return answers


# What this plugin writes and people fill in, or save under the other's name.
TABLES = {"transcribe.tsv", "transcribe.csv"}


def files_in(importer: AbsImporter, path: Path) -> Sequence[Path]:
    """What of a path the importer reads; the rest of a folder is noted by it.

    Raises:
        DataError: It is an archive, or a folder without such a file.
    """
    if path.is_file() and zipfile.is_zipfile(path):
        raise DataError(
            f"{path} is an archive or a spreadsheet: unpack it and give the folder, or save it as "
            "text"
        )
    if not path.is_dir() or not importer.suffixes:
        return [path]
    found = []
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        if file.name == importer.file_name:
            found.append(file)
        elif file.name in WRITTEN - TABLES or file.suffix.casefold() in AUDIO_SUFFIXES:
            continue
        elif is_systems_own(file):
            importer.leave(file, SYSTEMS_OWN)
        elif file.name.casefold().endswith(importer.suffixes):
            found.append(file)
        else:
            importer.leave(file, f"its name ends in none of {', '.join(importer.suffixes)}")
    if not found:
        raise DataError(f"{path} holds no file that ends in {', '.join(importer.suffixes)}")
    return found
