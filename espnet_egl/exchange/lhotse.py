"""lhotse's manifests: ``recordings.jsonl.gz`` and ``supervisions.jsonl.gz``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet_egl.errors import DataError
from espnet_egl.exchange import (
    AbsExporter,
    AbsImporter,
    Answer,
    Task,
    answer,
    is_handed_over,
    join_pieces,
    needs,
)
from espnet_egl.exchange.clips import path_inside, require_files
from espnet_egl.exchange.json_lines import read_objects, text_of, write_objects

if TYPE_CHECKING:
    from lhotse import Recording, SupervisionSegment


class ReturnedLhotse(AbsImporter):
    """Supervisions with ``text`` filled in, or the custom field ``mark``; or cuts with them.

    Several supervisions of a clip's recording are joined in the order of time.
    """

    file_name = "supervisions.jsonl.gz"
    suffixes = (".jsonl.gz", ".jsonl", ".json.gz", ".json")

    def read(self, path: Path) -> list[Answer]:
        with needs("lhotse"):
            from lhotse import SupervisionSegment

        pieces = []
        for where, value in read_objects(path):
            try:
                for begin, entry in _supervisions(value):
                    found = SupervisionSegment.from_dict(entry)
                    begin += found.start
                    pieces.append((begin, self._read_one(found, begin, where)))
            except (TypeError, ValueError, KeyError, AttributeError) as e:
                raise DataError(f"{where}: not a supervision of lhotse: {e}") from e
            if "supervisions" in value and not value["supervisions"]:
                self.leave(where, "a cut without supervisions", self._known(value.get("id")))
        return join_pieces(pieces)

    def _read_one(self, found: SupervisionSegment, begin: float, where: str) -> Answer:
        custom = found.custom or {}
        fields = {"text": found.text, "mark": custom.get("mark"), "draft": custom.get("draft")}
        text, mark, draft = (text_of(fields, name, where) for name in fields)
        uid = found.id
        if self.clips.sources:
            uid = self._known(found.id) or self._known(found.recording_id, begin) or found.id
        return answer(uid, text, mark, where, draft=draft)

    def _known(self, name: Any, begin: float | None = None) -> str | None:
        if not isinstance(name, str):
            return None
        return name if name in self.clips.sources else self.clips.of_file(name, begin)


def _supervisions(value: dict[str, Any]) -> Iterator[tuple[float, dict[str, Any]]]:
    """The supervisions of a line, and where the cut begins that they are told from, in seconds."""
    if value.get("type") == "MixedCut":
        for track in value["tracks"]:
            yield from _supervisions(track["cut"])
    elif "supervisions" in value:
        for entry in value["supervisions"]:
            yield float(value.get("start", 0.0)), entry
    elif value.get("type") != "PaddingCut":
        yield 0.0, value


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
