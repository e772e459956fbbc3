"""The files of Label Studio's exports, their entries, and what an entry's controls hold."""

from __future__ import annotations

import reprlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_egl.errors import DataError
from espnet_egl.exchange import MARKS
from espnet_egl.exchange.json_lines import read_objects
from espnet_egl.exchange.texts import read_cells, read_text
from espnet_egl.store.files import parse_json
from espnet_egl.store.tables import one_line

TRANSCRIPT = "transcript"
# The control that draws where in its file the clip is; nobody's answer.
CLIP_REGION = "clip_region"


@dataclass(frozen=True)
class Part:
    """What one control holds, of one region or of the whole clip.

    Attributes:
        name: Of the control.
        kind: ``textarea``, ``choices``, or another of Label Studio's.
        values: Its texts or choices.
        start: Where its region begins, in seconds; None: it is about the whole clip.
        region: The region's id; empty where it is not told.
    """

    name: str
    kind: str
    values: tuple[str, ...]
    start: float | None = None
    region: str = ""


def read_entries(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The entries of an export, with their place for messages.

    Raises:
        DataError: It cannot be read, or is no export; the message names it.
    """
    text = read_text(path)
    begin = text.lstrip()[:1]
    if begin not in ("[", "{") and "annotation_id" in text.split("\n", 1)[0]:
        yield from _read_table(path, text)
        return
    try:
        items = parse_json(text)
    except ValueError as e:
        lines = text.strip().split("\n")
        if begin == "{" and len(lines) > 1 and lines[0].rstrip().endswith("}"):
            yield from read_objects(path)
            return
        raise DataError(f"{path}: not JSON ({e}); export it once more") from e
    if isinstance(items, dict):
        alone = "data" in items or "result" in items or "audio_filepath" in items
        items = [items] if alone else items.get("tasks")
    if not isinstance(items, list):
        raise DataError(f"{path}: not a list of tasks; export the project as JSON")
    for number, item in enumerate(items, 1):
        yield f"{path}: entry {number}", item


def _read_table(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The lines of an export as CSV or TSV: what is more than a text is JSON in its cell."""
    header = text.split("\n", 1)[0]
    _, lines = read_cells(path, text, "\t" if "\t" in header else ",", "a table of Label Studio")
    for number, row in lines:
        if None in row or None in row.values():
            raise DataError(f"{path}:{number}: not as many cells as columns; export it once more")
        cells = {str(name): _cell(cell or "") for name, cell in row.items()}
        cells["utterance"] = row.get("utterance")
        yield f"{path}:{number}", {n: v for n, v in cells.items() if v not in (None, "")}


def _cell(text: str) -> Any:
    if not text.startswith(("[", "{")):
        return text
    try:
        return parse_json(text)
    except ValueError:
        return text


def of_target_storage(item: dict[str, Any]) -> dict[str, Any]:
    """An annotation by itself, with its task in it, as a task with an annotation."""
    task = item.get("task")
    if not isinstance(task, dict):
        return {"id": task, "data": {}, "annotations": [item]}
    return {"id": task.get("id"), "data": task["data"], "annotations": [item]}


def read_part(part: dict[str, Any]) -> Part:
    value = part.get("value") or {}
    kind = part.get("type") or next(
        (kind for kind, name in (("choices", "choices"), ("textarea", "text")) if name in value), ""
    )
    name = {"textarea": "text"}.get(kind, kind)
    start = value.get("start")
    return Part(
        str(part.get("from_name") or part.get("type")),
        kind,
        _texts(value.get(name)) if kind in ("textarea", "choices") else _shown(value.get(name)),
        None if start is None else float(start),
        str(part.get("id") or ""),
    )


def flat_parts(name: str, value: Any) -> list[Part]:
    """What a field without kind holds."""
    entries = value if isinstance(value, list) else [value]
    if entries and all(isinstance(entry, dict) for entry in entries):
        return [_flat_part(name, entry) for entry in entries]
    if not isinstance(value, (str, list)):
        return [Part(name, "value", _shown(value))]
    texts = _texts(value)
    is_choice = name == "mark" or all(mark_of(text) in MARKS for text in texts)
    if is_choice:
        return [Part(name, "choices", texts)]
    return [Part(name, "textarea", (text,)) for text in texts]


def _flat_part(name: str, entry: dict[str, Any]) -> Part:
    start = entry.get("start")
    kind = next((k for k in ("text", "choices", "labels") if k in entry), None)
    if kind is None:
        if name == TRANSCRIPT:
            raise TypeError(f"{reprlib.repr(entry)} is no text")
        return Part(name, "value", _shown(entry))
    kinds = {"text": "textarea"}
    return Part(
        name, kinds.get(kind, kind), _texts(entry[kind]), None if start is None else float(start)
    )


def with_times(parts: Sequence[Part]) -> list[Part]:
    """Texts of regions whose times stand in another field, in the same order, with them."""
    starts: dict[str, list[float]] = defaultdict(list)
    texts: dict[str, list[Part]] = defaultdict(list)
    for part in parts:
        if part.start is not None:
            starts[part.name].append(part.start)
        elif part.kind == "textarea":
            texts[part.name].append(part)
    timed: dict[int, Part] = {}
    for found in texts.values():
        times = next((t for t in starts.values() if len(t) == len(found)), None)
        if times is None and starts and len(found) > 1:
            raise ValueError("texts of regions without their times: export the project as JSON")
        for part, start in zip(found, times or (), strict=times is not None):
            timed[id(part)] = Part(part.name, part.kind, part.values, start)
    return [timed.get(id(part), part) for part in parts]


def mark_of(choice: str) -> str:
    return one_line(choice).lower().replace(" ", "_")


def _texts(value: Any) -> tuple[str, ...]:
    """One text, or several."""
    if value is None:
        return ()
    pieces = value if isinstance(value, list) else [value]
    if not all(isinstance(piece, str) for piece in pieces):
        raise TypeError(f"{reprlib.repr(value)} is no text")
    return tuple(pieces)


def joined(value: Any) -> str:
    return " ".join(_texts(value))


def _shown(value: Any) -> tuple[str, ...]:
    """What a control of another kind holds, for messages."""
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return tuple(value)
    return () if value is None else (reprlib.repr(value),)
