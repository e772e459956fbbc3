"""Kaldi's ``text``: ``<utterance> <transcript>`` lines."""

from __future__ import annotations

from pathlib import Path

from espnet_egl.data.kaldi import read_table
from espnet_egl.exchange import AbsImporter, Answer
from espnet_egl.tables import one_line


class KaldiText(AbsImporter):
    """An utterance without words has no transcript yet."""

    def read(self, path: Path) -> list[Answer]:
        rows = read_table(path)
        return [
            Answer(uid, one_line(text), "", f"{path}:{number}")
            for number, (uid, text) in enumerate(rows.items(), 1)
        ]
