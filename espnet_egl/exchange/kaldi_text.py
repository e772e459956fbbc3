"""Kaldi's ``text``: ``<utterance> <transcript>`` lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from espnet_egl.data.kaldi import read_table, write_table
from espnet_egl.exchange import (
    AbsExporter,
    AbsImporter,
    Answer,
    Task,
    answer_in_words,
    is_handed_over,
)
from espnet_egl.exchange.clips import path_inside


class KaldiText(AbsImporter):
    """An utterance without words has no transcript yet; ``<not_speech>`` alone is a mark."""

    file_name = "text"
    suffixes = ("text", ".txt")

    def read(self, path: Path) -> list[Answer]:
        rows = read_table(path)
        beside = path.with_name("draft")
        drafts = read_table(beside) if path.name == self.file_name and beside.exists() else {}
        return [
            answer_in_words(uid, text, f"{path}:{number}", drafts.get(uid))
            for number, (uid, text) in enumerate(rows.items(), 1)
        ]


class Text(AbsExporter):
    """A directory with ``text``, without words yet, ``draft`` and ``wav.scp``, sorted by id.

    Clips of longer recordings also get ``segments``.
    """

    importer = KaldiText

    def export(self, tasks: Sequence[Task], output_dir: Path) -> Path:
        path = output_dir / "text"
        if is_handed_over(path, KaldiText(), tasks):
            return path
        recordings = {task.uid: path_inside(task.audio, output_dir) for task in tasks}
        write_table(output_dir / "wav.scp", recordings)
        cuts = {t.uid: f"{t.uid} {t.start:.3f} {t.end:.3f}" for t in tasks if t.end is not None}
        if cuts:
            whole = {t.uid: f"{t.uid} 0.000 {t.seconds:.3f}" for t in tasks if t.end is None}
            write_table(output_dir / "segments", cuts | whole)
        write_table(output_dir / "draft", {task.uid: task.draft for task in tasks})
        # Written last: what is there is whole.
        write_table(path, {task.uid: "" for task in tasks})
        return path
