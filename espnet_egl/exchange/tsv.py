"""A table that a spreadsheet opens: one line a clip, the best hypothesis as a draft."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from espnet_egl.errors import DataError
from espnet_egl.exchange import MARKS, AbsExporter, AbsImporter, Answer, Task
from espnet_egl.files import write_lines
from espnet_egl.tables import one_line

COLUMNS = ("utterance", "audio", "start", "end", "seconds", "draft", "transcript", "mark")


class TSV(AbsExporter):
    """Annotators fill in ``transcript``, or ``mark``: not_speech, cannot_understand."""

    def export(self, tasks: Sequence[Task], output_dir: Path) -> Path:
        path = output_dir / "transcribe.tsv"
        if not path.exists():
            write_lines(path, [_line(row) for row in (COLUMNS, *map(_row, tasks))])
            return path
        # What people filled in stays; it may have lost lines, but not be of another selection.
        given = {task.uid for task in tasks}
        other = [answer for answer in ReturnedTSV().read(path) if answer.uid not in given]
        if other:
            raise DataError(
                f"{other[0].where}: '{other[0].uid}' is not in this selection; move the file away "
                "to have it written anew"
            )
        return path


class ReturnedTSV(AbsImporter):
    """The table with its column ``transcript`` filled in, as a spreadsheet saves it.

    Lines may be sorted, left out, and quoted; columns may be added.
    """

    def read(self, path: Path) -> list[Answer]:
        try:
            # A spreadsheet may put a byte order mark before the first column's name.
            with path.open(encoding="utf-8-sig", newline="") as f:
                reader = csv.DictReader(f, delimiter="\t", strict=True)
                names = reader.fieldnames or ()
                lines = [(reader.line_num, row) for row in reader]
        except OSError as e:
            raise DataError(f"{path}: cannot be read ({e.strerror})") from e
        except UnicodeDecodeError as e:
            raise DataError(f"{path}: not UTF-8 ({e}); save it as UTF-8") from e
        except csv.Error as e:
            raise DataError(f"{path}: not tab-separated, or a quote is not closed: {e}") from e
        if missing := {"utterance", "transcript"} - set(names):
            raise DataError(f"{path}:1: column {min(missing)} is missing; save it tab-separated")
        return [_answer(row, f"{path}:{number}") for number, row in lines if any(row.values())]


def _answer(row: dict[str, str | None], where: str) -> Answer:
    for name in ("utterance", "transcript", "mark"):
        if set("\t\r\n") & set(row.get(name) or ""):
            # Else the lines of other clips would become part of this one's transcript.
            raise DataError(
                f"{where}: {name} of '{row['utterance']}' goes over a tab or several lines, which "
                "end here: close its quote, or take it out"
            )
    uid, transcript, mark = (
        one_line(row.get(name) or "") for name in ("utterance", "transcript", "mark")
    )
    mark = mark.lower().replace(" ", "_")
    if mark and mark not in MARKS:
        raise DataError(f"{where}: mark '{mark}' is none of {', '.join(MARKS)}")
    if mark and transcript:
        raise DataError(f"{where}: '{uid}' has a transcript and a mark; keep one of them")
    return Answer(uid, transcript, mark, where)


def _line(cells: Sequence[str]) -> str:
    """With quotes only where a cell has some, as spreadsheets write and read it."""
    line = io.StringIO()
    csv.writer(line, delimiter="\t", lineterminator="").writerow(cells)
    return line.getvalue()


def _row(task: Task) -> list[str]:
    start, end = ("", "") if task.end is None else (f"{task.start:.3f}", f"{task.end:.3f}")
    draft = one_line(task.drafts[0]) if task.drafts else ""
    cells = [task.uid, one_line(task.audio), start, end, f"{task.seconds:.3f}", draft, "", ""]
    return [_inert(cell) for cell in cells]


def _inert(text: str) -> str:
    """A spreadsheet takes a leading = + - @ for a formula; a space makes it text."""
    return f" {text}" if text[:1] in {"=", "+", "-", "@"} else text
