"""NeMo's manifest: a JSON object a line, with the best hypothesis as ``pred_text``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from espnet_egl.errors import ConfigError, DataError
from espnet_egl.exchange import (
    AbsExporter,
    AbsImporter,
    Answer,
    Task,
    answer,
    is_handed_over,
    join_pieces,
)
from espnet_egl.exchange.clips import path_inside
from espnet_egl.exchange.json_lines import read_objects, text_of, write_objects

FIELDS = ("utterance", "text", "mark")
# Those that we write, and what Label Studio adds.
OURS = {*FIELDS, "audio_filepath", "pred_text", "offset", "duration", "annotator"}


class ReturnedNeMo(AbsImporter):
    """The manifest with ``text`` filled in, or ``mark``; objects may be left out, fields added.

    A clip may come back in pieces with an ``offset`` each; what lacks ``utterance`` is known by its
    file's name.
    """

    file_name = "manifest.jsonl"
    suffixes = (".jsonl", ".json", ".jsonl.gz", ".json.gz")

    def read(self, path: Path) -> list[Answer]:
        pieces = []
        for where, value in read_objects(path):
            uid, text, mark = (text_of(value, name, where) for name in FIELDS)
            audio, draft = (text_of(value, name, where) for name in ("audio_filepath", "pred_text"))
            start = _offset(value, where)
            if not uid and not audio:
                raise DataError(f"{where}: the field {FIELDS[0]} is missing")
            if not uid:
                uid = self.clips.of_file(audio, start) or ""
            if not uid:
                self.leave(where, f"its audio is of no clip, or of several: {Path(audio).name}")
                continue
            for name in value.keys() - OURS:
                if isinstance(value[name], str) and value[name].strip():
                    self.leave(where, f"the field '{name}' is not read", uid)
            pieces.append((start, answer(uid, text, mark, where, draft=draft)))
        return join_pieces(pieces)


def _offset(value: dict[str, Any], where: str) -> float:
    try:
        return float(value.get("offset") or 0.0)
    except (TypeError, ValueError) as e:
        raise DataError(f"{where}: offset is {value['offset']!r}, not seconds") from e


class NeMo(AbsExporter):
    """Annotators fill in ``text``, or ``mark``: not_speech, cannot_understand."""

    audio = "link"
    importer = ReturnedNeMo

    def export(self, tasks: Sequence[Task], output_dir: Path) -> Path:
        path = output_dir / ReturnedNeMo.file_name
        if not is_handed_over(path, ReturnedNeMo(), tasks):
            write_objects(path, (_entry(task, output_dir) for task in tasks))
        return path


def _entry(task: Task, output_dir: Path) -> dict[str, Any]:
    if task.audio.endswith("|"):
        raise ConfigError(
            f"'{task.uid}' is a command, which a manifest of files cannot name: --audio cut"
        )
    return {
        "audio_filepath": path_inside(task.audio, output_dir),
        **({} if task.end is None else {"offset": task.start}),
        "duration": round(task.seconds, 3),
        "text": "",
        "pred_text": task.draft,
        "utterance": task.uid,
        "mark": "",
    }
