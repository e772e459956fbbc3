"""A table that a spreadsheet opens: one line a clip, the best hypothesis as a draft."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from espnet_egl.errors import DataError
from espnet_egl.exchange import AbsExporter, AbsImporter, Answer, Task, answer, is_handed_over
from espnet_egl.exchange.clips import path_inside
from espnet_egl.exchange.texts import read_cells, read_text
from espnet_egl.store.files import write_lines
from espnet_egl.store.tables import one_line

COLUMNS = ("utterance", "audio", "start", "end", "seconds", "draft", "transcript", "mark")
# Columns of what Label Studio exports as a table.
OF_LABEL_STUDIO = {"annotation_id", "annotator"}
# By it, spreadsheets tell UTF-8 from the encodings of old.
BYTE_ORDER_MARK = "\ufeff"


class ReturnedTSV(AbsImporter):
    """The table with its column ``transcript`` filled in, as a spreadsheet saves it.

    Lines may be sorted, left out, and quoted; columns may be added.
    """

    file_name = "transcribe.tsv"
    suffixes = (".tsv", ".csv", ".txt")
    kind: ClassVar[str] = "tab-separated"

    def delimiter(self, header: str) -> str:
        """What stands between the cells, from the first line."""
        return "\t" if "\t" in header else _comma(header)

    def read(self, path: Path) -> list[Answer]:
        text = read_text(path)
        delimiter = self.delimiter(text.split("\n", 1)[0])
        names, lines = read_cells(path, text, delimiter, self.kind)
        if OF_LABEL_STUDIO.issubset(names):
            return self._read_export(path)
        columns = {name: _column(name) for name in names}
        if missing := {"utterance", "transcript"} - set(columns.values()):
            raise DataError(f"{path}:1: column {min(missing)} is missing; save it {self.kind}")
        answers = []
        for number, row in lines:
            # What stands beyond the header's cells; empty ones are a spreadsheet's.
            more = any(row.pop(None, None) or ())
            cells = {columns[str(name)]: cell for name, cell in row.items()}
            where = f"{path}:{number}"
            if more or any(cells.values()):
                answers.append(_answer(cells, more, delimiter, where))
            for name in cells.keys() - {*COLUMNS}:
                if (cells[name] or "").strip():
                    self.leave(where, f"the column '{name}' is not read", answers[-1].uid)
        return answers

    def _read_export(self, path: Path) -> list[Answer]:
        """A table that Label Studio exported."""
        from espnet_egl.exchange.label_studio import ReturnedLabelStudio

        tool = ReturnedLabelStudio()
        tool.clips = self.clips
        answers = tool.read(path)
        self.unused.extend(tool.unused)
        return answers


def _comma(header: str) -> str:
    return ";" if ";" in header and "," not in header else ","


def _column(name: str) -> str:
    """A column of ours in whatever case, any other as it is."""
    known = name.strip().casefold()
    return known if known in COLUMNS else name


class ReturnedCSV(ReturnedTSV):
    """The same with commas, or with semicolons, as spreadsheets write where a comma is decimal."""

    file_name = "transcribe.csv"
    kind = "comma-separated"

    def delimiter(self, header: str) -> str:
        return "\t" if "\t" in header and "," not in header else _comma(header)


class TSV(AbsExporter):
    """Annotators fill in ``transcript``, or ``mark``: not_speech, cannot_understand."""

    importer: ClassVar[type[ReturnedTSV]] = ReturnedTSV
    delimiter: ClassVar[str] = "\t"
    start_of_file: ClassVar[str] = ""

    def export(self, tasks: Sequence[Task], output_dir: Path) -> Path:
        path = output_dir / self.importer.file_name
        if not is_handed_over(path, self.importer(), tasks):
            rows = [COLUMNS, *(_row(task, output_dir) for task in tasks)]
            first, *lines = [_line(row, self.delimiter) for row in rows]
            write_lines(path, [self.start_of_file + first, *lines])
        return path


class CSV(TSV):
    """The same with commas."""

    importer = ReturnedCSV
    delimiter = ","
    start_of_file = BYTE_ORDER_MARK


def _answer(row: dict[str, str | None], more: bool, delimiter: str, where: str) -> Answer:
    # Else the lines of other clips would become part of this one's transcript.
    forbidden = set("\r\n") | ({delimiter} & {"\t"})
    for name in ("utterance", "transcript", "mark"):
        if forbidden & set(row.get(name) or ""):
            raise DataError(
                f"{where}: {name} of '{row['utterance']}' goes over a tab or several lines, which "
                "end here: close its quote, or take it out"
            )
    if more or None in row.values():
        advice = (
            "take the tab out" if delimiter == "\t" else f"put what has a {delimiter} in quotes"
        )
        raise DataError(
            f"{where}: '{row['utterance']}' has {'more' if more else 'fewer'} cells than there are "
            f"columns: {advice if more else 'it is cut off, or an editor stripped its end'}"
        )
    uid, transcript, mark = (row.get(name) or "" for name in ("utterance", "transcript", "mark"))
    return answer(uid, transcript, mark, where, draft=row.get("draft"))


def _line(cells: Sequence[str], delimiter: str) -> str:
    """With quotes only where a cell has some, as spreadsheets write and read it."""
    line = io.StringIO()
    csv.writer(line, delimiter=delimiter, lineterminator="").writerow(cells)
    return line.getvalue()


def _row(task: Task, output_dir: Path) -> list[str]:
    start, end = ("", "") if task.end is None else (f"{task.start:.3f}", f"{task.end:.3f}")
    audio = one_line(path_inside(task.audio, output_dir))
    cells = [task.uid, audio, start, end, f"{task.seconds:.3f}", task.draft, "", ""]
    return [_inert(cell) for cell in cells]


def _inert(text: str) -> str:
    """A spreadsheet takes a leading = + - @ for a formula; a space makes it text."""
    return f" {text}" if text[:1] in {"=", "+", "-", "@"} else text
