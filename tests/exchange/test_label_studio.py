"""Label Studio's exports, as files; its server is in tests/integration."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import soundfile
from three_clips import ANSWERS, DRAFTS, back, export, select_dir  # noqa: F401

from espnet_egl.errors import ConfigError, DataError
from espnet_egl.exchange import Answer, Task
from espnet_egl.exchange.label_studio import LabelStudio, ReturnedLabelStudio
from espnet_egl.exchange.label_studio_server import Project

Export = Callable[..., Path]
Back = Callable[..., dict[str, tuple[str, str]]]


def annotation(said: str, time: int = 0, by: Any = 1, seconds: Any = 2.5, **more: Any) -> dict:
    """As Label Studio 1.23.2 exports one; in brackets a mark."""
    name, kind, key = ("transcript", "textarea", "text")
    if said.startswith("["):
        name, kind, key, said = ("mark", "choices", "choices", said[1:-1])
    part = {"from_name": name, "to_name": "audio", "type": kind, "value": {key: [said]}}
    return {
        "completed_by": by,
        "result": [part] if said else [],
        "was_cancelled": False,
        "updated_at": f"2026-11-24T20:27:{time:02d}.000001Z",
        "lead_time": seconds,
        **more,
    }


def task(*annotations: dict, uid: str = "a", number: int = 7) -> dict:
    return {"id": number, "data": {"utterance": uid, "audio": "x"}, "annotations": [*annotations]}


def read(tmp_path: Path, items: Any, winner: str | int | None = None) -> list[Answer]:
    path = tmp_path / "export.json"
    path.write_text(json.dumps(items))
    return ReturnedLabelStudio(winner=winner).read(path)


def one(tmp_path: Path, *annotations: dict, winner: str | None = None) -> tuple[str, str, Any]:
    (answer,) = read(tmp_path, [task(*annotations)], winner)
    return answer.transcript, answer.mark, answer.worked


def test_tasks_have_drafts_audio_and_a_labelling_interface(export: Export) -> None:
    directory = export("label_studio")
    answers = ReturnedLabelStudio().read(directory / "tasks.json")
    assert [(a.uid, a.transcript, a.mark) for a in answers] == [(uid, "", "") for uid in DRAFTS]
    tasks = json.loads((directory / "tasks.json").read_text())
    assert [t["data"]["utterance"] for t in tasks] == list(DRAFTS)
    for entry in tasks:
        name = entry["data"]["audio"].removeprefix("/data/local-files/?d=")
        assert soundfile.info(directory / name).duration == entry["data"]["seconds"]
    best, other = tasks[0]["predictions"]
    assert best["result"] == [
        {
            "from_name": "transcript",
            "to_name": "audio",
            "type": "textarea",
            "value": {"text": [DRAFTS["a"]]},
        }
    ]
    assert (best["model_version"], round(best["score"], 4)) == ("best hypothesis", 0.6065)
    assert (other["model_version"], round(other["score"], 4)) == ("alternative 1", 0.2231)
    assert tasks[2]["predictions"] == []
    shown = [entry["data"]["alternatives"] for entry in tasks]
    assert shown == ["What the recogniser heard, too:\nzwei", "", ""]
    config = ET.parse(directory / "config.xml").getroot()
    controls = {element.get("name"): element.tag for element in config.iter()}
    assert controls["transcript"] == "TextArea"
    # With two that have a name, the server takes no audio by itself.
    assert [e.get("value") for e in config.iter() if e.get("name") and e.get("value")] == ["$audio"]
    assert "$alternatives" in [e.get("value") for e in config.iter("Header")]
    assert [c.get("value") for c in config.iter("Choice")] == ["not speech", "cannot understand"]


def test_audio_may_lie_on_a_server_of_ones_own(export: Export) -> None:
    directory = export("label_studio", "--format_conf", "{audio_url: 'https://host/x/'}")
    entry = json.loads((directory / "tasks.json").read_text())[0]
    assert entry["data"]["audio"].startswith("https://host/x/audio/a-")


@pytest.mark.parametrize("minimal", [False, True], ids=["json", "json_min"])
def test_there_and_back(export: Export, back: Back, tmp_path: Path, minimal: bool) -> None:
    directory = export("label_studio")
    before = (directory / "tasks.json").read_bytes()
    items = json.loads(before)
    for number, item in enumerate(items, 1):
        text, mark = ANSWERS[item["data"]["utterance"]]
        said = annotation(text or f"[{mark.replace('_', ' ')}]", seconds=number)
        if minimal:
            item |= item.pop("data") | {"annotator": 1, "annotation_id": number} | said
            item |= {"mark": mark.replace("_", " ")} if mark else {"transcript": text}
            del item["predictions"], item["result"], item["completed_by"]
        else:
            item["annotations"] = [said]
        item["id"] = number
    path = tmp_path / "export.json"
    path.write_text(json.dumps(items))
    assert export("label_studio") == directory
    assert (directory / "tasks.json").read_bytes() == before
    assert back("label_studio", "--return_file", str(path)) == ANSWERS
    rows = (tmp_path / "labelled" / "returned.tsv").read_text().splitlines()
    assert [row.split("\t")[4] for row in rows] == ["annotator_seconds", "1.000", "2.000", "3.000"]


def test_while_nothing_was_put_on_a_server_all_is_out(
    export: Export, back: Back, capsys: pytest.CaptureFixture[str]
) -> None:
    export("label_studio")
    with pytest.raises(SystemExit):
        back("label_studio")
    assert "no clip has a transcript yet" in capsys.readouterr().err


def test_of_one_annotator_the_latest_change_counts(tmp_path: Path) -> None:
    first, second = annotation("one", time=1), annotation("two", time=5)
    assert one(tmp_path, first, second) == ("two", "", 5.0)
    assert one(tmp_path, {**first, "updated_at": "2026-11-24T20:28:00Z"}, second)[0] == "one"
    # A later one that was skipped, or says nothing, takes nothing back; its time was spent.
    cancelled = annotation("x", time=9, was_cancelled=True)
    assert one(tmp_path, first, second, cancelled) == ("two", "", 7.5)
    assert one(tmp_path, second, annotation("", time=9)) == ("two", "", 5.0)
    assert one(tmp_path, cancelled) == ("", "", 2.5)
    assert one(tmp_path, annotation("one", seconds=None)) == ("one", "", None)
    assert one(tmp_path) == ("", "", None)


def test_annotators_agree_or_someone_wins_or_it_is_refused(tmp_path: Path) -> None:
    mine, theirs = annotation("one", time=5), annotation("one ", time=1, by={"id": 2})
    assert one(tmp_path, mine, theirs) == ("one", "", 5.0)
    theirs = annotation("[not speech]", time=1, by=2)
    with pytest.raises(DataError, match=r"entry 1 \(task 7\): annotators disagree about 'a': 2"):
        one(tmp_path, mine, theirs)
    assert one(tmp_path, mine, theirs, winner="latest")[:2] == ("one", "")
    assert one(tmp_path, mine, theirs, winner="2")[:2] == ("", "not_speech")
    # Who did not say anything of this clip cannot win.
    with pytest.raises(DataError, match="say who wins: --ls_winner latest"):
        one(tmp_path, mine, theirs, winner="3")
    # A clip that was imported twice is one clip.
    items = [task(mine), task(theirs, number=8)]
    with pytest.raises(DataError, match="annotators disagree about 'a'"):
        read(tmp_path, items)
    (answer,) = read(tmp_path, items, winner=1)
    assert answer.transcript == "one"


def test_a_transcript_in_pieces_is_joined(tmp_path: Path) -> None:
    found = annotation("one")
    found["result"][0]["value"]["text"] = ["one", "two"]
    assert one(tmp_path, found)[0] == "one two"
    entry = {"id": 1, "utterance": "a", "annotator": 1, "updated_at": "2026-11-24T20:28:00Z"}
    for pieces in (["one", "two"], {"text": ["one", "two"]}):
        (answer,) = read(tmp_path, [{**entry, "transcript": pieces}])
        assert answer.transcript == "one two"


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ({"id": 1}, "not a list of tasks; export the project as JSON"),
        ([1], "entry 1: not as Label Studio exports"),
        ([task({"result": 1})], "entry 1: not as Label Studio exports tasks"),
        ([task(annotation("one", updated_at="yesterday"))], "entry 1: .*yesterday"),
        ([task(annotation("one", seconds="long"))], "entry 1: .*could not convert"),
        ([{"id": 3, "utterance": "a", "transcript": {"x": 1}, "annotator": 1}], "entry 1: "),
    ],
)
def test_what_is_no_export_is_refused_by_name_and_place(
    tmp_path: Path, items: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, items)


def marked_beside(text: str, **more: Any) -> dict:
    both = annotation(text, **more)
    both["result"] += annotation("[not speech]")["result"]
    return both


def test_a_typed_transcript_beside_a_mark_is_refused_where_it_counts(tmp_path: Path) -> None:
    message = r"\(task 7\): 'a' has a transcript and a mark"
    both = marked_beside("one", time=5)
    with pytest.raises(DataError, match=message):
        one(tmp_path, both)
    minimal = {"id": 7, "utterance": "a", "annotator": 1, "updated_at": "2026-11-24T20:28:00Z"}
    minimal |= {"transcript": "one", "mark": "not speech"}
    with pytest.raises(DataError, match=message):
        read(tmp_path, [minimal])
    assert one(tmp_path, both, annotation("one", time=6))[:2] == ("one", "")
    assert one(tmp_path, {**both, "was_cancelled": True})[:2] == ("", "")
    other = annotation("two", by=2)
    assert one(tmp_path, both, other, winner="2")[:2] == ("two", "")
    with pytest.raises(DataError, match=message):
        one(tmp_path, both, other, winner="1")


def test_a_mark_beside_the_draft_it_was_left_with_counts(tmp_path: Path) -> None:
    prediction = annotation("a  draft")
    with_objects = {**task(marked_beside("a draft")), "predictions": [prediction]}
    seen = {**task(marked_beside("a draft", prediction=prediction)), "predictions": [11]}
    numbers = {**task(marked_beside("a draft", prediction={})), "predictions": [11]}
    numbers["data"]["draft"] = "a draft"
    minimal = {"id": 7, "utterance": "a", "annotator": 1, "updated_at": "2026-11-24T20:28:00Z"}
    minimal |= {"draft": "a draft", "transcript": "a draft", "mark": "not speech"}
    for item in (with_objects, seen, numbers, minimal):
        (found,) = read(tmp_path, [item])
        assert (found.transcript, found.mark) == ("", "not_speech")


def test_a_folder_without_exports_is_not_taken_for_that_of_stage_22(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither project\.yaml nor tasks\.json of stage 22"):
        ReturnedLabelStudio().read(tmp_path)
    with pytest.raises(ConfigError, match="give both --ls_url and --ls_project"):
        ReturnedLabelStudio(url="http://127.0.0.1:9").read(tmp_path)


def test_an_export_may_be_called_as_what_was_handed_over(export: Export) -> None:
    directory = export("label_studio")
    (directory / "kim").mkdir()
    (directory / "kim" / "tasks.json").write_text(json.dumps([task(annotation("one"))]))
    said = {a.uid: a.transcript for a in ReturnedLabelStudio().read(directory)}
    assert said == {"a": "one"}


def test_a_byte_order_mark_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text(json.dumps([task(annotation("one"))]), encoding="utf-8-sig")
    assert [a.transcript for a in ReturnedLabelStudio().read(path)] == ["one"]


DEEP = pytest.param(b"[" * 100_000, id="deep")


@pytest.mark.parametrize("content", [b'[{"id": 1, ', b"\xff[]", DEEP, None])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "export.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=str(path)):
        ReturnedLabelStudio().read(path)


@pytest.mark.parametrize("content", ["url: [", "x", "url: http://x\n"])
def test_a_damaged_note_of_the_project_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "project.yaml").write_text(content)
    with pytest.raises(DataError, match=r"project\.yaml: not what stage 22 writes"):
        ReturnedLabelStudio().read(tmp_path)


def test_a_server_needs_its_project_its_library_and_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="give both --ls_url and --ls_project"):
        LabelStudio(url="http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "label_studio_sdk", None)
    with pytest.raises(ConfigError, match=r"pip install 'espnet_egl\[label-studio\]'"):
        Project("http://127.0.0.1:9", "x")


def test_options_of_label_studio_are_no_others(
    export: Export, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        export("tsv", "--ls_url", "http://127.0.0.1:9")
    assert "exporter 'tsv' does not take {'url': 'http://127.0.0.1:9'}" in capsys.readouterr().err


class FakeServer:
    """In the place of the client library: what it is asked fails as a request would."""

    def __init__(self, base_url: str, api_key: str):
        self.api_key = api_key
        self.projects = self

    def list(self, title: str) -> None:
        raise InvalidURL(f"Illegal header value b'Token {self.api_key}'")


class InvalidURL(Exception):
    """httpx's."""


@pytest.fixture
def fake_server(monkeypatch: pytest.MonkeyPatch) -> None:
    none = type("None_", (Exception,), {})
    for name, holds in (
        ("httpx", {"HTTPError": none, "InvalidURL": InvalidURL}),
        ("label_studio_sdk", {"LabelStudio": FakeServer}),
        ("label_studio_sdk.core.api_error", {"ApiError": none}),
    ):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**holds))


@pytest.mark.usefixtures("fake_server")
def test_no_message_holds_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "SECRET\r\n")
    with pytest.raises(DataError, match=r"cannot be reached: .*Token <key>'") as refused:
        Project("http://127.0.0.1:9", "x")
    assert "SECRET" not in str(refused.value)
    for key, message in (("SECRETé", "holds a"), ("SECR\0ET", "holds a"), ("\r", "not set")):
        monkeypatch.setattr("os.environ", {"LABEL_STUDIO_API_KEY": key})
        with pytest.raises(ConfigError, match=message) as refused_key:
            Project("http://127.0.0.1:9", "x")
        assert "SECR" not in str(refused_key.value)


@pytest.mark.usefixtures("fake_server")
@pytest.mark.parametrize("url", ["http://me:SECRET@host", "http://[me:SECRET@host"])
def test_an_address_with_a_password_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "key")
    with pytest.raises(ConfigError, match="give the address without") as refused:
        Project(url, "x")
    assert "SECRET" not in str(refused.value)


def test_a_project_of_another_selection_is_not_noted(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other:
        number, title, address = 3, "calls", "http://host/projects/3"

        def __init__(self, *_: Any, **__: Any):
            pass

        def utterances(self) -> set[str]:
            return {"z"}

    monkeypatch.setattr("espnet_egl.exchange.label_studio.Project", Other)
    directory = export("label_studio")
    exporter = LabelStudio(url="http://host", project="calls")
    tasks = [Task("a", str(directory / "audio" / "a.flac"), 0.0, None, 1.0, ())]
    (directory / "tasks.json").unlink()
    with pytest.raises(DataError, match=r"has tasks of another selection, e\.g\. 'z'"):
        exporter.export(tasks, directory)
    assert not (directory / "project.yaml").exists()
