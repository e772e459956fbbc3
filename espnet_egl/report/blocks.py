"""What a report is made of, whether it becomes HTML or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from espnet_egl.loop.tables import Table

# How a column of records is read: a number, a text, [utterance, audio file or ""], or labelled
# texts [label, [[mark, words and their spaces], ...]].
NUMBER, TEXT, CLIP, TEXTS = "number", "text", "clip", "texts"
# Of a transcript's words: as in the first, other words, words that are missing.
SAME, OTHER, MISSING = "same", "other", "missing"


@dataclass(frozen=True)
class Paragraphs:
    """Plain text.

    Attributes:
        lines: A paragraph each.
    """

    kind: ClassVar[str] = "paragraphs"
    lines: Sequence[str]


@dataclass(frozen=True)
class Grid:
    """A small table.

    Attributes:
        table: What it shows.
        folded: Whether the reader opens it first.
    """

    kind: ClassVar[str] = "grid"
    table: Table
    folded: bool = False


@dataclass(frozen=True)
class Plot:
    """A picture.

    Attributes:
        name: Of its files, without the ending.
        caption: What it shows; also its title.
        description: The same for who cannot see it: what is drawn, and the main figures.
        svg: The picture.
        png: The same.
    """

    kind: ClassVar[str] = "plot"
    name: str
    caption: str
    description: str
    svg: bytes
    png: bytes


@dataclass(frozen=True)
class Shares:
    """How much of two sets has which value.

    Attributes:
        title: What is compared.
        head: Names of the value, of the first and the second set.
        rows: Value, percent of the first set's audio, percent of the second's.
    """

    kind: ClassVar[str] = "shares"
    title: str
    head: Sequence[str]
    rows: Sequence[tuple[str, float, float]]

    @property
    def table(self) -> Table:
        """In figures."""
        rows = [[name, f"{one:.1f} %", f"{two:.1f} %"] for name, one, two in self.rows]
        return Table(self.title, self.head, rows)


@dataclass(frozen=True)
class Column:
    """Of records.

    Attributes:
        label: Its name.
        kind: NUMBER, TEXT, CLIP or TEXTS.
        digits: Of a number, behind the point.
        filter: Whether rows can be filtered by its values.
    """

    label: str
    kind: str = TEXT
    digits: int = 0
    filter: bool = False


@dataclass(frozen=True)
class Records:
    """A large table to sort, filter and search.

    Attributes:
        name: Of its element in the page.
        title: What it shows.
        columns: Their kinds.
        rows: A cell a column, of its kind; a number may be None.
        note: What is left out; empty if nothing.
    """

    kind: ClassVar[str] = "records"
    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    note: str = ""

    @property
    def data(self) -> dict[str, Any]:
        """For the page's script."""
        columns = [
            {"label": c.label, "kind": c.kind, "digits": c.digits, "filter": c.filter}
            for c in self.columns
        ]
        return {"columns": columns, "rows": self.rows}

    @property
    def table(self) -> Table:
        """As plain text."""
        rows = [
            [_plain(cell, column) for cell, column in zip(row, self.columns, strict=True)]
            for row in self.rows
        ]
        return Table(self.title, [column.label for column in self.columns], rows)


@dataclass(frozen=True)
class Listing:
    """Text as it was typed or written by a machine."""

    kind: ClassVar[str] = "listing"
    title: str
    text: str


Block = Paragraphs | Grid | Plot | Shares | Records | Listing


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes:
        name: Of its element in the page.
        title: Its heading.
        blocks: What it says.
    """

    name: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Figure:
    """A number that stands out.

    Attributes:
        value: With its unit.
        caption: What it is of.
    """

    value: str
    caption: str


@dataclass(frozen=True)
class Report:
    """All of it.

    Attributes:
        title: Of the page.
        answer: Heading and paragraphs, the most important first.
        sections: What they rest on.
        speech_lang: Of the transcripts, as in HTML's ``lang``; empty: not known.
        figures: The answer at a glance.
        picture: Likewise.
    """

    title: str
    answer: Sequence[tuple[str, Sequence[str]]]
    sections: Sequence[Section] = field(default_factory=list)
    speech_lang: str = ""
    figures: Sequence[Figure] = field(default_factory=list)
    picture: Plot | None = None

    @property
    def audio(self) -> list[str]:
        """The clips that it plays."""
        return [
            row[place][1]
            for section in self.sections
            for block in section.blocks
            if isinstance(block, Records)
            for place, column in enumerate(block.columns)
            if column.kind == CLIP
            for row in block.rows
        ]


def _plain(cell: Any, column: Column) -> str:
    if column.kind == NUMBER:
        return "" if cell is None else f"{cell:.{column.digits}f}"
    if column.kind == CLIP:
        return str(cell[0])
    if column.kind == TEXTS:
        first = cell[0][1] if cell else []
        return "".join(words for mark, words in first if mark != MISSING)
    return str(cell)
