"""Stages 22 and 23 with a real server of Label Studio."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import soundfile
from label_studio_server import Server, server  # noqa: F401 - a fixture

from espnet_egl.bin import al_curve, al_export, al_import
from espnet_egl.data.kaldi import read_table
from espnet_egl.store.tables import read_rows

pytestmark = pytest.mark.integration
RATE = 8000
DRAFTS = {"a": ["one too", "won too"], "b/2": ["five"], "c": [""], "d": ["nine"]}


@pytest.fixture
def select_dir(tmp_path: Path) -> Path:
    """Four clips of one recording, and their N-best."""
    directory = tmp_path / "select"
    directory.mkdir()
    soundfile.write(tmp_path / "long.wav", np.linspace(-0.5, 0.5, 4 * RATE), RATE)
    (directory / "wav.scp").write_text(f"r {tmp_path}/long.wav\n")
    rows, nbest = [], []
    for i, (uid, drafts) in enumerate(DRAFTS.items()):
        rows.append(f"{uid}\t0.75\t0.{5 + i}\tegl\t{drafts[0]}\n")
        nbest += [f"{uid}\t{k}\t-{k}\t{text}\n" for k, text in enumerate(drafts, 1)]
    segments = (f"{uid} r {i}.0 {i}.75\n" for i, uid in enumerate(DRAFTS))
    (directory / "segments").write_text("".join(segments))
    for name, value in (("utt2dur", "0.75"), ("utt2spk", "s")):
        (directory / name).write_text("".join(f"{uid} {value}\n" for uid in DRAFTS))
    head = "utterance\tseconds\tconfidence\treason\tbest_hypothesis\n"
    (directory / "selection.tsv").write_text(head + "".join(rows))
    (tmp_path / "nbest.tsv").write_text("utterance\trank\tlog_prob\ttext\n" + "".join(nbest))
    return directory


class Team:
    """Annotators of one project, who work through Label Studio's interface for programs."""

    def __init__(self, server: Server, title: str):
        from label_studio_sdk import LabelStudio

        self.server = server
        self.owner = LabelStudio(base_url=server.url, api_key=server.key)
        self.other = LabelStudio(base_url=server.url, api_key=server.sign_up())
        (self.project,) = self.owner.projects.list(title=title)

    def tasks(self) -> dict[str, Any]:
        """Utterance -> its task, in the project's order."""
        found = self.owner.tasks.list(project=self.project.id, fields="all")
        return {task.data["utterance"]: task for task in found}

    def annotate(self, uid: str, *said: str, seconds: float, by: Any = None, **more: Any) -> Any:
        """A transcript; in brackets, a mark."""
        result = []
        for text in said:
            name, kind, key = ("transcript", "textarea", "text")
            if text.startswith("["):
                name, kind, key, text = ("mark", "choices", "choices", text[1:-1])
            value = {key: [text]}
            result.append({"from_name": name, "to_name": "audio", "type": kind, "value": value})
        task = self.tasks()[uid].id
        return (by or self.owner).annotations.create(
            id=task, result=result, lead_time=seconds, **more
        )

    def export(self, kind: str, path: Path) -> Path:
        """What the button Export writes."""
        data = self.owner.projects.exports.download_sync(
            self.project.id, export_type=kind, download_all_tasks=True
        )
        path.write_bytes(b"".join(data))
        return path


@pytest.fixture
def title(request: pytest.FixtureRequest) -> str:
    """Every test has a project of its own."""
    return request.node.name[-50:]


@pytest.fixture
def hand_over(
    server: Server,
    select_dir: Path,
    tmp_path: Path,
    title: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Callable[..., Team]]:
    """Stage 22; nothing that is written or logged from here on holds the key."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", server.key)

    def run(*options: str) -> Team:
        command = ["--select_dir", str(select_dir), "--output_dir", str(tmp_path / "annotate")]
        command += ["--nbest_file", str(tmp_path / "nbest.tsv"), "--format", "label_studio"]
        al_export.main([*command, "--ls_url", server.url, "--ls_project", title, *options])
        return Team(server, title)

    yield run
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or server.key.encode() not in path.read_bytes(), path
    said = "".join(r.getMessage() for w in ("setup", "call") for r in caplog.get_records(w))
    # Of httpx, or of httpcore below it, where the former was told to be quiet.
    assert "Request" in said
    assert server.key not in said


@pytest.fixture
def take_back(select_dir: Path, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Stage 23, from the project or from files; utterance -> transcript."""

    def run(target: str, *options: str) -> dict[str, str]:
        command = ["--select_dir", str(select_dir), "--output_dir", str(tmp_path / target)]
        command += ["--annotate_dir", str(tmp_path / "annotate"), "--format", "label_studio"]
        al_import.main([*command, *options])
        return read_table(tmp_path / target / "text")

    return run


def test_there_and_back(
    hand_over: Callable[..., Team],
    take_back: Callable[..., dict[str, str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    team = hand_over()
    assert (
        f"/projects/{team.project.id}: 4 tasks added, 0 there already." in capsys.readouterr().out
    )
    tasks = team.tasks()
    # The most valuable first.
    assert [task.data["confidence"] for task in tasks.values()] == [0.5, 0.6, 0.7, 0.8]
    assert list(tasks) == list(DRAFTS)
    drafts = [
        (p.model_version, p.result[0]["value"]["text"], round(p.score, 3))
        for p in tasks["a"].predictions
    ]
    assert sorted(drafts) == [
        ("alternative 1", ["won too"], 0.135),
        ("best hypothesis", ["one too"], 0.368),
    ]
    assert [len(task.predictions) for task in tasks.values()] == [2, 1, 0, 1]
    # What annotators start from.
    assert team.owner.projects.get(team.project.id).model_version == "best hypothesis"
    # Their browser gets the clip alone.
    for i, task in enumerate(tasks.values()):
        access = team.owner.tokens.refresh(refresh=team.server.key).access
        got = requests.get(
            team.server.url + task.data["audio"], headers={"Authorization": f"Bearer {access}"}
        )
        samples, rate = soundfile.read(io.BytesIO(got.content))
        whole, _ = soundfile.read(tmp_path / "long.wav")
        assert rate == RATE
        np.testing.assert_allclose(samples, whole[i * RATE :][: 3 * RATE // 4], atol=1e-4)

    first = team.annotate("a", "one", seconds=10.0)
    team.annotate("a", "one two", seconds=5.0)
    team.owner.annotations.update(id=first.id, result=team.annotate("d", "x", seconds=0.5).result)
    first = team.annotate("a", "one two", seconds=4.5)
    # Without clearing the draft.
    team.annotate("b/2", "five", "[not speech]", seconds=3.0)
    team.annotate("c", "begun, then skipped", seconds=7.0, was_cancelled=True)
    assert take_back("part") == {"a": "one two", "d": "x"}
    out = capsys.readouterr().out
    assert "Marked not_speech, which are not trained on: 1 clip" in out
    assert "Came back without an answer: 1 clip, 0.75 s, e.g. c." in out
    team.annotate("c", "[cannot understand]", seconds=1.0)
    # An edit of an earlier annotation counts from when it was made.
    team.owner.annotations.update(id=first.id, result=first.result, lead_time=6.5)
    assert take_back("all") == {"a": "one two", "d": "x"}
    rows = read_rows(tmp_path / "all" / "returned.tsv")
    assert [(r["utterance"], r["state"], float(r["annotator_seconds"])) for r in rows] == [
        ("a", "labelled", 21.5),
        ("b/2", "not_speech", 3.0),
        ("c", "cannot_understand", 8.0),
        ("d", "labelled", 0.5),
    ]
    # What the button Export writes says the same, but that JSON-MIN leaves out what was skipped.
    for kind, skipped in (("JSON", 7.0), ("JSON_MIN", 0.0)):
        path = team.export(kind, tmp_path / f"{kind}.json")
        assert take_back(kind, "--return_file", str(path)) == {"a": "one two", "d": "x"}
        rows = read_rows(tmp_path / kind / "returned.tsv")
        total = sum(float(row["annotator_seconds"]) for row in rows)
        assert total == pytest.approx(26.0 + skipped)

    (tmp_path / "text").write_text("t one\n")
    made_with = {"method": "egl", "budget": "4utt", "price_per_hour": 99.0, "price_per_clip": 0.0}
    (tmp_path / "select" / "manifest.json").write_text(json.dumps(made_with))
    al_curve.main(
        [
            *("--result", f"test,{tmp_path}/text,{tmp_path}/text"),
            *("--labelled_dir", str(tmp_path / "all"), "--select_dir", str(tmp_path / "select")),
            *("--curve_file", str(tmp_path / "curve.tsv"), "--price_per_annotator_hour", "3600"),
        ]
    )
    (point,) = read_rows(tmp_path / "curve.tsv")
    assert point["cost"] == "33.00"


def test_annotators_who_disagree(
    hand_over: Callable[..., Team],
    take_back: Callable[..., dict[str, str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    team = hand_over()
    team.annotate("a", "one two", seconds=1.0)
    team.annotate("a", "one  two ", seconds=1.0, by=team.other)
    assert take_back("agreed") == {"a": "one two"}
    team.annotate("d", "nine", seconds=1.0)
    theirs = team.annotate("d", "[not speech]", seconds=1.0, by=team.other)
    with pytest.raises(SystemExit):
        take_back("refused")
    message = capsys.readouterr().err
    assert f"task {team.tasks()['d'].id}" in message
    assert "annotators disagree about 'd': " in message
    assert take_back("latest", "--ls_winner", "latest") == {"a": "one two"}
    owner = team.owner.users.whoami().id
    assert take_back("owner", "--ls_winner", str(owner)) == {"a": "one two", "d": "nine"}
    team.owner.annotations.delete(id=theirs.id)
    assert take_back("settled") == {"a": "one two", "d": "nine"}


def test_what_was_pushed_is_completed_and_not_overwritten(
    hand_over: Callable[..., Team],
    take_back: Callable[..., dict[str, str]],
    select_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    team = hand_over()
    team.annotate("a", "one", seconds=1.0)
    team.owner.tasks.delete(id=str(team.tasks()["d"].id))
    capsys.readouterr()
    again = hand_over()
    assert "1 task added, 3 there already." in capsys.readouterr().out
    assert again.project.id == team.project.id
    assert sorted(again.tasks()) == sorted(DRAFTS)
    assert take_back("labelled") == {"a": "one"}
    # Nor does it move to another project by mistake.
    with pytest.raises(SystemExit):
        hand_over("--ls_project", "a slip of the pen")
    assert "where people may be at work; give the same" in capsys.readouterr().err
    assert not list(team.owner.projects.list(title="a slip of the pen"))
    hand_over("--ls_project", str(team.project.id))
    # Another selection needs another project, and another directory.
    lines = (select_dir / "selection.tsv").read_text().splitlines(keepends=True)
    (select_dir / "selection.tsv").write_text("".join(lines[:-1]))
    (select_dir.parent / "annotate" / "tasks.json").unlink()
    with pytest.raises(SystemExit):
        hand_over()
    assert "has tasks of another selection, e.g. 'd'" in capsys.readouterr().err


def test_a_server_that_refuses(
    hand_over: Callable[..., Team],
    take_back: Callable[..., dict[str, str]],
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    team = hand_over()
    other = team.owner.projects.create(
        title="of another kind", label_config='<View><Text name="t" value="$t"/></View>'
    )
    for options, message in (
        (("--ls_project", str(other.id)), "has another labelling interface, without 'TextArea'"),
        (("--ls_project", "no such"), "has no project 'no such'"),
        (("--ls_project", "987654"), "refuses (404)"),
        (("--ls_url", "http://127.0.0.1:9"), "http://127.0.0.1:9 cannot be reached"),
    ):
        with pytest.raises(SystemExit):
            take_back("labelled", *options)
        assert message in capsys.readouterr().err
    # A legacy token, which this version does not take unless it is told to.
    for key in ("", "0123456789abcdef", server.key[:-6] + "xxxxxx"):
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", key)
        with pytest.raises(SystemExit):
            take_back("labelled")
        said = capsys.readouterr()
        assert "make a personal access token in Label Studio" in said.err
        assert not key or key not in said.out + said.err


def test_files_that_are_imported_by_hand(
    hand_over: Callable[..., Team],
    take_back: Callable[..., dict[str, str]],
    server: Server,
    tmp_path: Path,
) -> None:
    (tmp_path / "annotate").symlink_to(server.files)
    team = hand_over()
    directory = tmp_path / "annotate"
    (directory / "project.yaml").unlink()
    config = (directory / "config.xml").read_text()
    by_hand = team.owner.projects.create(title="by hand", label_config=config)
    team.owner.import_storage.local.create(
        project=by_hand.id, path=str(server.files / "audio"), use_blob_urls=True
    )
    tasks = json.loads((directory / "tasks.json").read_text())
    team.owner.projects.import_tasks(by_hand.id, request=tasks)
    team.project = by_hand
    access = team.owner.tokens.refresh(refresh=server.key).access
    for task in team.tasks().values():
        got = requests.get(
            server.url + task.data["audio"], headers={"Authorization": f"Bearer {access}"}
        )
        assert soundfile.info(io.BytesIO(got.content)).duration == 0.75
    team.annotate("d", "nine", seconds=1.0)
    path = team.export("JSON", tmp_path / "export.json")
    assert take_back("labelled", "--return_file", str(path)) == {"d": "nine"}
    options = ("--ls_url", server.url, "--ls_project", "by hand")
    assert take_back("pulled", *options) == {"d": "nine"}
