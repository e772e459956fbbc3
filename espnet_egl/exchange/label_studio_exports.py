"""From the entries of Label Studio's exports to what annotators say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from espnet_egl.exchange import MARKS, Answer
from espnet_egl.exchange.label_studio_entries import (
    CLIP_REGION,
    TRANSCRIPT,
    Part,
    flat_parts,
    joined,
    mark_of,
    of_target_storage,
    read_part,
    with_times,
)
from espnet_egl.exchange.matching import Clips
from espnet_egl.exchange.spelling import key
from espnet_egl.store.tables import one_line

# How fields of transcripts begin in the templates of Label Studio: transcription.
BEGIN = "transcri"
# Of a flat entry: what we write into tasks, and what Label Studio adds.
OURS = {"audio", "utterance", "draft", "seconds", "alternatives", "confidence"}
OURS |= {"clip", CLIP_REGION}
ADDED = {
    *("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement"),
    *("audio_filepath", "duration", "file_upload", "inner_id", "project", "was_cancelled"),
}
NO_TIME = datetime.min.replace(tzinfo=UTC)
# Notes what is not taken: place, reason, utterance.
Leave = Callable[[str, str, str], None]


@dataclass(frozen=True)
class Annotation:
    """One annotator's work on one clip.

    Attributes:
        answer: What it says, and how long it took; not checked, as another may count.
        annotator: The annotator's number.
        time: When it was changed last.
        cancelled: Whether the task was skipped instead.
        identity: Equal for copies of one annotation.
    """

    answer: Answer
    annotator: str
    time: datetime
    cancelled: bool
    identity: object


@dataclass
class Reader:
    """Reads the entries of exports.

    Args:
        clips: What was handed over.
        leave: Notes what is not taken.
        transcript: The field with the transcript; None: ``transcript``, else the only text field.
        marks: Choice -> one of MARKS, beside those that are called so.
        has_field: Whether the export has a field that is called like transcripts.
    """

    clips: Clips
    leave: Leave
    transcript: str | None = None
    marks: Mapping[str, str] = field(default_factory=dict)
    has_field: bool = False

    def look_through(self, items: Iterable[Any]) -> None:
        """Learn from the whole export whether its interface has a field called like transcripts."""
        names = {name for item in items if isinstance(item, dict) for name in _names_in(item)}
        self.has_field = any(name.casefold().startswith(BEGIN) for name in names)

    def read(self, item: dict[str, Any], where: str) -> tuple[str, list[Annotation]]:
        """The utterance of an entry, empty where it is of no clip, and its annotations."""
        if "result" in item and "data" not in item:
            item = of_target_storage(item)
        nested = "data" in item
        where = f"{where} (task {item.get('id', 'not imported yet')})"
        data = item["data"] if nested else item
        uid = self._clip_of(data, item)
        if not uid:
            self.leave(where, "a task of none of these clips", "")
            return "", []
        if not nested:
            return uid, [self._read_flat(uid, item, where)]
        drafts = _drafts_of(data, item.get("predictions"))
        # Before Label Studio 1.0 they had another name.
        annotations = item.get("annotations") or item.get("completions") or []
        found = [self._read_annotation(uid, a, drafts, where) for a in annotations]
        self._name_drafts(uid, item.get("drafts"), found, where)
        return uid, found

    def _clip_of(self, data: dict[str, Any], item: dict[str, Any]) -> str:
        if data.get("utterance"):
            return joined(data["utterance"])
        addresses = [v for v in (*data.values(), item.get("file_upload")) if isinstance(v, str)]
        found = {self.clips.of_file(address) for address in addresses} - {None}
        return str(found.pop()) if len(found) == 1 else ""

    def _is_address(self, part: Part) -> bool:
        return any(self.clips.of_file(value) for value in part.values)

    def _read_annotation(
        self, uid: str, found: dict[str, Any], drafts: set[str], where: str
    ) -> Annotation:
        cancelled = bool(found.get("was_cancelled"))
        answers = [part for part in found["result"] if part.get("from_name") != CLIP_REGION]
        parts = [read_part(part) for part in answers]
        if any((part.get("meta") or {}).get("text") for part in answers):
            self.leave(where, "not read: a note on a region", uid)
        seen = drafts | _drafts_of({}, [found.get("prediction")])
        # Whatever was begun before it was skipped does not count.
        text, mark = ("", "") if cancelled else self._say(uid, parts, seen, where)
        said = Answer(uid, text, mark, where, _worked(found))
        return _annotation(said, found, found.get("completed_by"), cancelled, found.get("id"))

    def _read_flat(self, uid: str, item: dict[str, Any], where: str) -> Annotation:
        """An entry whose fields stand beside the task's own, without their kinds."""
        ours = "utterance" in item or "audio_filepath" in item
        cells = {
            name: value
            for name, value in item.items()
            if name not in ADDED and name not in OURS and value not in (None, "", [])
        }
        parts = [part for name, value in cells.items() for part in flat_parts(name, value)]
        if not ours:
            # Which of them people filled in, and which the task had, nobody tells.
            known = {self.transcript, TRANSCRIPT, "mark"}
            mine = [p for p in parts if p.name in known or p.name.casefold().startswith(BEGIN)]
            for name in {p.name for p in parts if not mine and not self._is_address(p)}:
                self.leave(
                    where,
                    f"the field '{name}' may be the transcript, or the task's own: if it is the "
                    f"transcript, format_conf: {{transcript: {name}}}",
                    uid,
                )
            parts = mine
        text, mark = self._say(uid, with_times(parts), _drafts_of(item), where)
        said = Answer(uid, text, mark, where, _worked(item))
        cancelled = bool(item.get("was_cancelled"))
        return _annotation(said, item, item.get("annotator"), cancelled, item.get("annotation_id"))

    def _say(
        self, uid: str, parts: Sequence[Part], drafts: set[str], where: str
    ) -> tuple[str, str]:
        """The transcript and the mark; the rest is noted."""
        texts = [p for p in parts if p.kind == "textarea" and any(v.strip() for v in p.values)]
        chosen = [p for p in parts if p.kind == "choices"]
        # Of a region beside others with text, a choice says nothing about the clip.
        aside = [p for p in chosen if texts and p.start is not None]
        marks, unknown = self._marks([p for p in chosen if p not in aside])
        name = self._field(dict.fromkeys(p.name for p in texts))
        mine = [p for p in texts if p.name == name]
        text = self._text(uid, mine, drafts, where)
        for part in texts:
            if name and part.name != name:
                self.leave(where, f"the field '{part.name}' is not read, only '{name}'", uid)
            elif not name:
                self.leave(
                    where,
                    f"the field '{part.name}' is one of several with text: say which holds the "
                    "transcript, format_conf: {transcript: NAME}",
                    uid,
                )
        for part in unknown:
            self.leave(
                where,
                f"the choice '{one_line(' '.join(part.values))}' of '{part.name}' is no mark: take "
                "it as one by format_conf: {marks: {CHOICE: not_speech}}",
                uid,
            )
        regions = {p.region for p in mine if p.region}
        for part in parts:
            is_empty = not part.values and (part.start is None or part.kind == "textarea")
            if part in texts or (part in chosen and part not in aside) or is_empty:
                continue
            what = f"{part.kind} '{one_line(' '.join(part.values))}' of '{part.name}'"
            alone = part.start is not None and part.region and part.region not in regions
            self.leave(where, f"{'a region without text' if alone else 'not read'}: {what}", uid)
        # Who presses a button need not clear the draft.
        pressed = marks or any(p.name == "mark" for p in unknown)
        if pressed and key(text) in drafts:
            text = ""
        return text, " ".join(dict.fromkeys(marks))

    def _marks(self, parts: Sequence[Part]) -> tuple[list[str], list[Part]]:
        """The marks that were chosen, and the other choices."""
        marks, unknown = [], []
        known = {mark_of(choice): mark for choice, mark in self.marks.items()}
        for part in parts:
            for value in part.values:
                mark = known.get(mark_of(value), mark_of(value))
                if mark in MARKS:
                    marks.append(mark)
                else:
                    unknown.append(Part(part.name, part.kind, (value,)))
        return marks, unknown

    def _field(self, names: Mapping[str, None]) -> str | None:
        """The field that holds the transcript, of those with text."""
        if self.transcript is not None or TRANSCRIPT in names:
            return self.transcript or TRANSCRIPT
        likely = [name for name in names if name.casefold().startswith(BEGIN)]
        if not likely and self.has_field:
            # It was left empty here: what stands elsewhere is a remark.
            return TRANSCRIPT
        likely = likely or list(names)
        return likely[0] if len(likely) == 1 else None

    def _text(self, uid: str, parts: Sequence[Part], drafts: set[str], where: str) -> str:
        """The texts of regions in the order of time, or that of the whole clip."""
        regions = sorted((p for p in parts if p.start is not None), key=lambda p: p.start or 0.0)
        whole = one_line(" ".join(v for p in parts if p.start is None for v in p.values))
        text = one_line(" ".join(v for p in regions for v in p.values))
        if text and whole and key(whole) not in drafts and key(whole) != key(text):
            self.leave(where, "a text of the whole clip beside texts of regions: keep one", uid)
            return ""
        return text or whole

    def _name_drafts(self, uid: str, drafts: Any, found: Sequence[Annotation], where: str) -> None:
        """Note what annotators began and never submitted."""
        said = {key(a.answer.transcript) for a in found if a.answer.transcript}
        for draft in drafts or ():
            text = ""
            if isinstance(draft, dict):
                parts = [read_part(part) for part in draft.get("result") or ()]
                said_here = (p for p in parts if p.name != CLIP_REGION)
                text = one_line(" ".join(v for p in said_here for v in p.values))
            if not text or key(text) not in said:
                self.leave(where, "a draft that was never submitted: open it and submit", uid)


def _names_in(item: dict[str, Any]) -> Iterator[str]:
    """The fields that somebody filled in, of an entry of either kind."""
    yield from (name for name, value in item.items() if value)
    annotations = item.get("annotations")
    for annotation in [item, *(annotations if isinstance(annotations, list) else ())]:
        result = annotation.get("result") if isinstance(annotation, dict) else None
        for part in result if isinstance(result, list) else ():
            if isinstance(part, dict):
                yield str(part.get("from_name"))


def _annotation(
    said: Answer, found: dict[str, Any], by: Any, cancelled: bool, number: Any
) -> Annotation:
    if isinstance(by, dict):
        by = by.get("id", by.get("email"))
    time = _time(found, "updated_at", "created_at")
    # Who is not named may be anybody.
    anonymous = said.where if number is None else f"annotation {number}"
    annotator = anonymous if by is None else str(by)
    # Projects of two servers may number alike.
    identity: tuple[object, ...] = (number, by, _time(found, "created_at"))
    if number is None:
        identity += (time, said.transcript, said.mark, said.worked)
    return Annotation(said, annotator, time, cancelled, identity)


def _drafts_of(data: dict[str, Any], predictions: Any = ()) -> set[str]:
    """What an annotator may have started from. Exports may hold the predictions' numbers alone."""
    drafts = {one_line(joined(data.get("draft")))}
    for prediction in predictions or ():
        if isinstance(prediction, dict):
            parts = map(read_part, prediction.get("result") or ())
            drafts.add(
                one_line(" ".join(v for p in parts if p.kind == "textarea" for v in p.values))
            )
    return {key(draft) for draft in drafts}


def _worked(found: dict[str, Any]) -> float | None:
    value = found.get("lead_time")
    return None if value in (None, "") else float(value)


def _time(found: dict[str, Any], *names: str) -> datetime:
    """The first of these that is told, in UTC."""
    said = next((found[name] for name in names if found.get(name)), None)
    if said is None:
        return NO_TIME
    time = datetime.fromisoformat(said)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
