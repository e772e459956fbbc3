"""A table that a spreadsheet opens: one line a clip, the best hypothesis as a draft."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from espnet_egl.errors import DataError
from espnet_egl.exchange import AbsExporter, Task
from espnet_egl.files import write_lines
from espnet_egl.tables import one_line

COLUMNS = ("utterance", "audio", "start", "end", "seconds", "draft", "transcript", "mark")


class TSV(AbsExporter):
    """Annotators fill in ``transcript``, or ``mark``: not_speech, cannot_understand."""

    def export(self, tasks: Sequence[Task], output_dir: Path) -> Path:
        path = output_dir / "transcribe.tsv"
        lines = ["\t".join(row) for row in (COLUMNS, *map(_row, tasks))]
        if not path.exists():
            write_lines(path, lines)
        elif path.read_bytes() != "".join(f"{line}\n" for line in lines).encode():
            raise DataError(
                f"{path} is there already and differs, perhaps by transcripts filled in: "
                "move it away to have it written anew"
            )
        return path


def _row(task: Task) -> list[str]:
    start, end = ("", "") if task.end is None else (f"{task.start:.3f}", f"{task.end:.3f}")
    draft = one_line(task.drafts[0]) if task.drafts else ""
    cells = [task.uid, one_line(task.audio), start, end, f"{task.seconds:.3f}", draft, "", ""]
    return [_inert(cell) for cell in cells]


def _inert(text: str) -> str:
    """A spreadsheet takes a leading = + - @ for a formula; a space makes it text."""
    return f" {text}" if text[:1] in {"=", "+", "-", "@"} else text
