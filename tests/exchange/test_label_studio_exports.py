"""What Label Studio exports, with other labelling interfaces, storages and habits."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from three_clips import back, export, select_dir  # noqa: F401

from espnet_egl.errors import ConfigError, DataError
from espnet_egl.exchange import Answer
from espnet_egl.exchange.label_studio import ReturnedLabelStudio
from espnet_egl.exchange.matching import Clips, Source
from espnet_egl.store.tables import read_rows

Export = Callable[..., Path]
Back = Callable[..., dict[str, tuple[str, str]]]
TIME = "2026-05-02T08:31:00.000000Z"


def text(said: str, field: str = "transcript", start: float | None = None, **more: Any) -> dict:
    value: dict[str, Any] = {"text": [said]}
    if start is not None:
        value |= {"start": start, "end": start + 0.5}
    return {"from_name": field, "to_name": "audio", "type": "textarea", "value": value, **more}


def choice(*said: str, field: str = "mark", **value: float) -> dict:
    return {"from_name": field, "type": "choices", "value": {"choices": [*said], **value}}


def annotation(*parts: dict, number: int = 1, by: Any = 1, **more: Any) -> dict:
    return {
        "id": number,
        "completed_by": by,
        "result": [*parts],
        "was_cancelled": False,
        "updated_at": TIME,
        "lead_time": 20.0,
        **more,
    }


def task(*annotations: dict, uid: str = "a", number: int = 7, **more: Any) -> dict:
    data = {"utterance": uid, "audio": "x", "draft": "a draft"}
    return {"id": number, "data": data, "annotations": [*annotations], **more}


def read(
    tmp_path: Path, items: Any, name: str = "export.json", **conf: Any
) -> tuple[list[Answer], list[tuple[str, str]]]:
    """The answers, and (utterance, reason) of what is not used."""
    path = tmp_path / name
    path.write_text(items if isinstance(items, str) else json.dumps(items))
    importer = ReturnedLabelStudio(**conf)
    sources = {"a": Source("/pool/call 9.wav", 0.0, None), "b": Source("/pool/b.wav", 0.0, None)}
    importer.clips = Clips(sources, {"a": "a draft"})
    answers = importer.read(path)
    return answers, [(found.uid, found.reason) for found in importer.unused]


def one(tmp_path: Path, *parts: dict, **conf: Any) -> tuple[str, str, list[str]]:
    (answer,), unused = read(tmp_path, [task(annotation(*parts))], **conf)
    assert {uid for uid, _ in unused} <= {"a"}
    return answer.transcript, answer.mark, [reason for _, reason in unused]


# In the order in which somebody made them.
REGIONS = [text("nine five", start=0.9), text("five one", start=0.0), text("seven", start=0.4)]


def test_regions_are_joined_in_the_order_of_time(tmp_path: Path) -> None:
    assert one(tmp_path, *REGIONS) == ("five one seven nine five", "", [])
    # The draft of the whole clip, which stands there from the beginning, is none of them.
    assert one(tmp_path, text("a draft"), *REGIONS)[0] == "five one seven nine five"
    said, _, unused = one(tmp_path, text("another"), *REGIONS)
    assert said == ""
    assert "a text of the whole clip beside texts of regions: keep one" in unused


def test_regions_of_json_min_are_joined_in_the_order_of_time(tmp_path: Path) -> None:
    texts = ["nine five", "five one", "seven"]
    times = [{"start": s, "end": 1.0, "labels": ["Speech"]} for s in (0.9, 0.0, 0.4)]
    item = {"id": 1, "utterance": "a", "annotator": 1, "transcript": texts, "labels": times}
    (answer,), unused = read(tmp_path, [item])
    assert answer.transcript == "five one seven nine five"
    assert unused == [("a", "not read: labels 'Speech' of 'labels'")] * 3
    item["transcript"] = [{"start": s, "text": [t]} for s, t in zip((9, 0, 4), texts, strict=True)]
    assert read(tmp_path, [item])[0][0].transcript == "five one seven nine five"
    # One of three regions has no text: whose is it?
    item["transcript"] = texts[:2]
    with pytest.raises(DataError, match=r"entry 1: .*without their times: export the project as J"):
        read(tmp_path, [item])


@pytest.mark.parametrize("field", ["transcription", "asr", "Text 1"])
def test_the_field_may_have_any_name(tmp_path: Path, field: str) -> None:
    assert one(tmp_path, text("one", field)) == ("one", "", [])
    flat = {"id": 1, "utterance": "a", "annotator": 1, field: "one"}
    assert read(tmp_path, [flat])[0][0].transcript == "one"


def test_of_several_fields_that_of_the_transcript_is_taken_and_the_rest_is_named(
    tmp_path: Path,
) -> None:
    said = one(tmp_path, text("one"), text("a dog", "notes"))
    assert said == ("one", "", ["the field 'notes' is not read, only 'transcript'"])
    assert one(tmp_path, text("one", "transcription"), text("a dog", "notes"))[0] == "one"
    parts = text("one", "first"), text("two", "second")
    transcript, _, unused = one(tmp_path, *parts)
    assert transcript == ""
    assert [reason.split(":")[0] for reason in unused[:2]] == [
        "the field 'first' is one of several with text",
        "the field 'second' is one of several with text",
    ]
    assert one(tmp_path, *parts, transcript="second") == (
        "two",
        "",
        ["the field 'first' is not read, only 'second'"],
    )


def test_a_remark_where_the_transcript_was_left_empty_is_no_transcript(tmp_path: Path) -> None:
    remark = "the field 'notes' is not read, only 'transcript'"
    for field in ("transcript", "transcription"):
        items = [
            task(annotation(text("too quiet", "notes"))),
            task(annotation(text("two", field)), uid="b"),
        ]
        answers, unused = read(tmp_path, items)
        assert {a.uid: a.transcript for a in answers} == {"a": "", "b": "two"}
        assert unused == [("a", remark)]


def test_a_field_of_a_synced_task_that_may_be_its_own_is_named(tmp_path: Path) -> None:
    flat = {"id": 1, "url": "s3://x/b.wav", "annotator": 1, "asr": "one"}
    (answer,), unused = read(tmp_path, [flat])
    assert (answer.uid, answer.transcript) == ("b", "")
    assert unused[0][1].startswith("the field 'asr' may be the transcript, or the task's own")
    assert read(tmp_path, [flat], transcript="asr")[0][0].transcript == "one"


def test_other_choices_are_taken_as_marks_or_named(tmp_path: Path) -> None:
    noise = choice("Noise ")
    transcript, mark, unused = one(tmp_path, text("one"), noise)
    assert (transcript, mark) == ("one", "")
    assert unused[0].startswith("the choice 'Noise' of 'mark' is no mark: take it as one by")
    # The draft that was left there is no answer beside it.
    assert one(tmp_path, text("a draft"), noise)[:2] == ("", "")
    assert one(tmp_path, text("a draft"), noise, marks={"noise": "not_speech"}) == (
        "",
        "not_speech",
        [],
    )
    # Another question than whether there is speech.
    assert one(tmp_path, text("a draft"), choice("good", field="quality"))[0] == "a draft"
    assert one(tmp_path, choice("Not speech", field="speech"))[:2] == ("", "not_speech")
    # A choice about one region is none about the clip.
    part = choice("not speech", start=0.1)
    assert one(tmp_path, text("one", start=0.5), part) == (
        "one",
        "",
        ["not read: choices 'not speech' of 'mark'"],
    )
    with pytest.raises(ConfigError, match="marks: 'silly' is none of not_speech"):
        ReturnedLabelStudio(marks={"noise": "silly"})
    with pytest.raises(ConfigError, match="marks: not a mapping"):
        ReturnedLabelStudio(marks=["noise"])  # type: ignore[arg-type]


def test_what_else_was_made_is_named(tmp_path: Path) -> None:
    label = {"from_name": "l", "type": "labels", "id": "r1", "value": {"labels": ["Dog"]}}
    label["value"] |= {"start": 0.1, "end": 0.2}
    bare = {"type": "region", "id": "r2", "value": {"start": 0.3, "end": 0.4}}
    rating = {"from_name": "r", "type": "rating", "value": {"rating": 4}}
    noted = text("one", meta={"text": ["a note"]})
    assert one(tmp_path, noted, label, bare, rating) == (
        "one",
        "",
        [
            "not read: a note on a region",
            "a region without text: labels 'Dog' of 'l'",
            "a region without text: region '' of 'region'",
            "not read: rating '4' of 'r'",
        ],
    )


def test_a_task_twice_is_one(tmp_path: Path) -> None:
    both = annotation(text("one")), annotation(text("one"), number=2, by=2, lead_time=30.0)
    for items in ([task(*both)], [task(*both), task(*both)]):
        (answer,), _ = read(tmp_path, items)
        assert (answer.transcript, answer.worked) == ("one", 50.0)
    flat = {"id": 1, "utterance": "a", "annotator": 1, "transcript": "one", "lead_time": 20.0}
    (answer,), _ = read(tmp_path, [flat | {"annotation_id": n} for n in (5, 6, 5, 6)])
    assert answer.worked == 40.0
    # Two servers number alike; what they hold is no copy.
    other = annotation(text("one"), created_at="2026-05-01T08:31:00Z")
    assert read(tmp_path, [task(annotation(text("one"))), task(other)])[0][0].worked == 40.0
    # An older export of the same annotation beside a newer one.
    later = annotation(text("two"), updated_at="2026-05-03T08:31:00Z", lead_time=25.0)
    (answer,), _ = read(tmp_path, [task(later), task(annotation(text("one")))])
    assert (answer.transcript, answer.worked) == ("two", 25.0)


def test_drafts_that_were_never_submitted_and_skipped_tasks_are_named(tmp_path: Path) -> None:
    draft = {"id": 3, "user": 1, "result": [text("one")], "lead_time": 3.0}
    never = ("a", "a draft that was never submitted: open it and submit")
    assert read(tmp_path, [task(drafts=[draft])])[1] == [never]
    assert read(tmp_path, [task(drafts=[3])])[1] == [never]
    # What was submitted in the end.
    assert read(tmp_path, [task(annotation(text("one")), drafts=[draft])])[1] == []
    region = {"from_name": "clip_region", "type": "labels", "value": {"labels": ["the clip"]}}
    drawn = {**draft, "result": [*draft["result"], region]}
    assert read(tmp_path, [task(annotation(text("one")), drafts=[drawn])])[1] == []
    answers, unused = read(tmp_path, [task(annotation(text("one"), was_cancelled=True))])
    assert (answers[0].transcript, unused) == ("", [("a", "skipped in Label Studio")])
    unused = read(tmp_path, [task(annotation())])[1]
    assert unused == [("a", "submitted without a transcript or a mark in Label Studio")]


def test_annotations_that_came_by_the_api(tmp_path: Path) -> None:
    bare = {"result": [{**text("one"), "value": {"text": "one"}}]}
    (answer,), unused = read(tmp_path, [task(bare)])
    assert (answer.transcript, answer.worked, unused) == ("one", None, [])
    # Who is not named may be anybody.
    other = {"result": [text("two")], "completed_by": None, "id": 4}
    with pytest.raises(DataError, match="annotators disagree about 'a'"):
        read(tmp_path, [task(bare, other)])
    # A page of its tasks, or one.
    for items in ({"tasks": [task(bare)], "total": 1}, task(bare)):
        assert read(tmp_path, items)[0][0].transcript == "one"


ADDRESSES = [
    "/data/upload/3/1a2b3c4d-{name}",
    "/data/local-files/?d=audio/{name}",
    "/data/local-files/?d=audio%2F{name}",
    "s3://bucket/some%20where/{name}",
    "https://host/x/{name}?X-Amz-Expires=60&a=/b.wav",
    "C:\\Users\\me\\{name}",
    "/pool/call 9.wav",
    "/data/upload/3/1a2b3c4d-call%209.wav",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_tasks_that_were_uploaded_or_synced_are_known_by_their_files(
    tmp_path: Path, address: str
) -> None:
    name = Source("/pool/call 9.wav", 0.0, None).name_of("a") + ".flac"
    data = {"url": address.format(name=name), "speaker": "KL"}
    item = {"id": 1, "data": data, "annotations": [annotation(text("one", "transcription"))]}
    (answer,), unused = read(tmp_path, [item])
    assert (answer.uid, answer.transcript, unused) == ("a", "one", [])
    flat = {"id": 1, **data, "annotator": 1, "transcription": "one"}
    (answer,), _ = read(tmp_path, [flat])
    assert (answer.uid, answer.transcript) == ("a", "one")


def test_tasks_of_no_clip_are_named(tmp_path: Path) -> None:
    item = {"id": 9, "data": {"audio": "s3://x/other.wav"}, "annotations": []}
    assert read(tmp_path, [task(annotation(text("one"))), item])[1] == [
        ("", "a task of none of these clips")
    ]


@pytest.mark.parametrize("wrong", [{"annotations": 5}, {"annotations": [{"result": 5}]}])
def test_an_entry_of_another_shape_is_refused_by_its_place(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(DataError, match="entry 2: not as Label Studio exports"):
        read(tmp_path, [task(), task() | wrong])


def test_target_storage_has_a_file_an_annotation(tmp_path: Path) -> None:
    folder = tmp_path / "storage" / "2026"
    folder.mkdir(parents=True)
    for number, (uid, said) in enumerate((("a", "one"), ("b", "two"))):
        found = {**annotation(text(said), number=number), "task": task(uid=uid, number=number)}
        del found["task"]["annotations"]
        (folder / (str(number) if number else "0.json")).write_text(json.dumps(found))
    (folder / "._0.json").write_text("x")
    (folder / "export.zip").write_text("x")
    importer = ReturnedLabelStudio()
    answers = importer.read(tmp_path / "storage")
    assert {a.uid: a.transcript for a in answers} == {"a": "one", "b": "two"}
    assert [Path(found.where).name for found in importer.unused] == ["._0.json", "export.zip"]


def test_an_export_that_was_put_beside_the_tasks_is_read(
    export: Export, back: Back, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = export("label_studio")
    (directory / "project-3.json").write_text(json.dumps([task(annotation(text("one")))]))
    assert back("label_studio")["a"] == ("one", "")
    assert "Still out: 2 clips" in capsys.readouterr().out


def test_packed_exports_lines_and_manifests(tmp_path: Path) -> None:
    items = [task(annotation(text("one")))]
    path = tmp_path / "export.json.gz"
    path.write_bytes(gzip.compress(json.dumps(items).encode()))
    assert ReturnedLabelStudio().read(path)[0].transcript == "one"
    lines = "\n".join(json.dumps(task(annotation(text("one")), uid=uid)) for uid in "ab")
    assert len(read(tmp_path, lines)[0]) == 2
    entry = {"audio_filepath": "/data/upload/3/1a2b3c4d-b.wav", "duration": 1.0, "text": "two"}
    (answer,), unused = read(tmp_path, json.dumps({**entry, "annotator": 1}), "manifest.json")
    assert (answer.uid, answer.transcript, unused) == ("b", "two", [])


def test_its_tables_are_read_by_every_importer_of_tables(
    export: Export, back: Back, tmp_path: Path
) -> None:
    export("csv")
    rows: list[dict[str, Any]] = [
        {
            "alternatives": "What the recogniser heard, too:\nzwei",
            "utterance": "a",
            "transcript": json.dumps([{"start": 0.9, "text": ["nine"]}, {"start": 0, "text": "x"}]),
            "lead_time": 12.5,
        },
        {"utterance": "b/1", "transcript": '["one", "two"]', "lead_time": 1},
        {"utterance": "c", "mark": "not speech", "lead_time": 1},
    ]
    names = ["alternatives", "annotation_id", "annotator", "lead_time", "mark", "transcript"]
    for name, delimiter in (("csv", ","), ("label_studio", ","), ("tsv", "\t")):
        path = tmp_path / f"{name}.table"
        with path.open("w", newline="") as f:
            writer = csv.DictWriter(f, [*names, "updated_at", "utterance"], delimiter=delimiter)
            writer.writeheader()
            extra = {"annotator": 1, "updated_at": TIME}
            writer.writerows(r | extra | {"annotation_id": n} for n, r in enumerate(rows, 1))
        assert back(name, "--return_file", str(path)) == {
            "a": ("x nine", ""),
            "b/1": ("one two", ""),
            "c": ("", "not_speech"),
        }
        worked = [r["annotator_seconds"] for r in read_rows(tmp_path / "labelled" / "returned.tsv")]
        assert worked == ["12.500", "1.000", "1.000"]
