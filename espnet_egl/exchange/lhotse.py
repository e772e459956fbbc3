"""lhotse's manifests: ``recordings.jsonl.gz`` and ``supervisions.jsonl.gz``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_egl.errors import DataError
from espnet_egl.exchange import (
    AbsExporter,
    AbsImporter,
    Answer,
    Task,
    answer,
    is_handed_over,
    needs,
)
from espnet_egl.exchange.clips import path_inside, require_files
from espnet_egl.exchange.json_lines import read_objects, text_of, write_objects

if TYPE_CHECKING:
    from lhotse import Recording, SupervisionSegment


class ReturnedLhotse(AbsImporter):
    """Supervisions with ``text`` filled in, or the custom field ``mark``."""

    file_name = "supervisions.jsonl.gz"

    def read(self, path: Path) -> list[Answer]:
        with needs("lhotse"):
            from lhotse import SupervisionSegment

        answers = []
        for where, value in read_objects(path):
            try:
                found = SupervisionSegment.from_dict(value)
            except (TypeError, ValueError, KeyError, AttributeError) as e:
                raise DataError(f"{where}: not a supervision of lhotse: {e}") from e
            fields = {"id": found.id, "text": found.text, "mark": (found.custom or {}).get("mark")}
            uid, text, mark = (text_of(fields, name, where) for name in fields)
            answers.append(answer(uid, text, mark, where))
        return answers


class Lhotse(AbsExporter):
    """Annotators fill in ``text``; the best hypothesis is the custom field ``draft``."""

    audio = "link"
    importer = ReturnedLhotse

    def export(self, tasks: Sequence[Task], output_dir: Path) -> Path:
        require_files(tasks, output_dir)
        path = output_dir / ReturnedLhotse.file_name
        if is_handed_over(path, ReturnedLhotse(), tasks):
            return path
        recordings = [_recording(task, output_dir) for task in tasks]
        supervisions = map(_supervision, tasks, recordings)
        write_objects(output_dir / "recordings.jsonl.gz", (r.to_dict() for r in recordings))
        # Written last: what is there is whole.
        write_objects(path, (found.to_dict() for found in supervisions))
        return path


def _recording(task: Task, output_dir: Path) -> Recording:
    with needs("lhotse"):
        from lhotse import Recording

    found = Recording.from_file(task.audio, recording_id=task.uid)
    return replace(
        found,
        sources=[replace(s, source=path_inside(task.audio, output_dir)) for s in found.sources],
    )


def _supervision(task: Task, recording: Recording) -> SupervisionSegment:
    from lhotse import SupervisionSegment

    return SupervisionSegment(
        id=task.uid,
        recording_id=recording.id,
        start=0.0,
        duration=recording.duration,
        channel=0,
        text="",
        custom={"draft": task.draft, "mark": ""},
    )
