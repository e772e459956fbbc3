"""Label Studio: tasks with drafts as pre-annotations, and its exports, by file or by its server.

Out go ``tasks.json``, ``config.xml`` (the labelling interface) and the audio; with a server's
address they are put into a project there. Back comes the project itself, or what its button
*Export* writes as JSON or JSON-MIN.
"""

from __future__ import annotations

import json
import reprlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from espnet_egl.errors import ConfigError, DataError
from espnet_egl.exchange import AbsExporter, AbsImporter, Answer, Task, answer, is_handed_over
from espnet_egl.exchange.clips import path_inside, require_files
from espnet_egl.exchange.label_studio_server import Project
from espnet_egl.store.files import parse_json, write_lines
from espnet_egl.store.tables import one_line

TASKS = "tasks.json"
CONFIG = "config.xml"
PROJECT = "project.yaml"
PULLED = "pulled.json"
LATEST = "latest"
ALTERNATIVES = "What the recogniser heard, too:"
# The model_version of the draft that annotators start from.
BEST = "best hypothesis"

# A Header, not a Text: with a second object that has a name, Label Studio takes no audio that is
# uploaded by itself.
LABELLING_CONFIG = """\
<View>
  <Audio name="audio" value="$audio"/>
  <Header value="What is said? The pencil beside the draft changes it."/>
  <TextArea name="transcript" toName="audio" rows="3" editable="true" maxSubmissions="1"/>
  <View style="white-space: pre-line">
    <Header value="$alternatives" size="5"/>
  </View>
  <Header value="Or, instead of a transcript (leave the draft as it is):"/>
  <Choices name="mark" toName="audio" choice="single" showInline="true">
    <Choice value="not speech"/>
    <Choice value="cannot understand"/>
  </Choices>
</View>"""


class LabelStudio(AbsExporter):
    """Annotators correct the best hypothesis, or choose *not speech* or *cannot understand*.

    Args:
        url: A server to put the tasks on; None: files only.
        project: The project there, its title or its number; one that is not there is made.
        audio_url: What stands before the audio's path in ``tasks.json``: by default, what Label
            Studio calls a file below its ``LOCAL_FILES_DOCUMENT_ROOT``.
    """

    audio = "cut"

    def __init__(
        self,
        url: str | None = None,
        project: str | None = None,
        audio_url: str = "/data/local-files/?d=",
    ):
        if (url is None) != (project is None):
            raise ConfigError("give both --ls_url and --ls_project, or neither")
        self.url, self.project, self.audio_url = url, project, audio_url

    def export(self, tasks: Sequence[Task], output_dir: Path) -> Path:
        require_files(tasks, output_dir)
        path = output_dir / TASKS
        there = is_handed_over(path, ReturnedLabelStudio(), tasks)
        # What is on a server is not imported from the file too: it may grow as the project does.
        if not there or self.url is not None:
            write_lines(output_dir / CONFIG, [LABELLING_CONFIG])
            entries = [
                _entry(task, self.audio_url + path_inside(task.audio, output_dir)) for task in tasks
            ]
            write_lines(path, [json.dumps(entries, indent=1, ensure_ascii=False)])
        if self.url is not None and self.project is not None:
            self._push(tasks, output_dir)
        return path

    def lacking(self, tasks: Sequence[Task], path: Path) -> list[Task]:
        there = {found.uid for found in ReturnedLabelStudio().read(path)}
        return [task for task in tasks if task.uid not in there]

    def _push(self, tasks: Sequence[Task], output_dir: Path) -> None:
        note = output_dir / PROJECT
        if note.exists():
            known = _read_project(note)
            if known["url"] != self.url or self.project not in (known["title"], known["project"]):
                raise DataError(
                    f"{note}: this selection was put into '{known['title']}' on {known['url']}, "
                    "where people may be at work; give the same, or move the note away"
                )
        project = Project(str(self.url), str(self.project), make_with=LABELLING_CONFIG)
        there = project.utterances()
        if other := there - {task.uid for task in tasks}:
            raise DataError(
                f"{project.address} has tasks of another selection, e.g. '{min(other)}': give "
                "every selection a project of its own"
            )
        # Only now: stage 23 asks the project that is noted.
        where = {"url": self.url, "project": str(project.number), "title": project.title}
        write_lines(note, [yaml.safe_dump(where).strip()])
        new = [task for task in tasks if task.uid not in there]
        project.add(new, _entry, BEST)
        print(f"{project.address}: {len(new)} tasks added, {len(there)} were there.")


def _entry(task: Task, audio: str) -> dict[str, Any]:
    """A task; every draft is a prediction, of which the best comes first."""
    data: dict[str, Any] = {"audio": audio, "utterance": task.uid, "draft": task.draft}
    data["seconds"] = round(task.seconds, 3)
    # Other predictions than the best are not shown to who goes from task to task.
    others = [one_line(text) for text in task.drafts[1:]]
    data["alternatives"] = "\n".join([ALTERNATIVES, *others]) if others else ""
    if task.confidence is not None:
        data["confidence"] = task.confidence
    predictions = []
    for rank, text in enumerate(task.drafts):
        version = f"alternative {rank}" if rank else BEST
        prediction: dict[str, Any] = {"model_version": version, "result": [_textarea(text)]}
        if task.probabilities:
            prediction["score"] = task.probabilities[rank]
        # What starts empty needs no draft.
        if text.strip():
            predictions.append(prediction)
    return {"data": data, "predictions": predictions}


def _textarea(text: str) -> dict[str, Any]:
    return {
        "from_name": "transcript",
        "to_name": "audio",
        "type": "textarea",
        "value": {"text": [text]},
    }


@dataclass(frozen=True)
class Annotation:
    """One annotator's work on one clip.

    Attributes:
        answer: What it says, and how long it took; not checked, as another may count.
        annotator: The annotator's number.
        time: When it was changed last.
        cancelled: Whether the task was skipped instead.
    """

    answer: Answer
    annotator: str
    time: datetime
    cancelled: bool


class ReturnedLabelStudio(AbsImporter):
    """Exports of Label Studio, JSON or JSON-MIN; or, of a directory of stage 22, its project.

    Of what one annotator wrote about a clip the latest counts. What was skipped, or says nothing,
    does not. A mark counts where the draft was left as it was beside it. Where annotators disagree,
    ``winner`` decides or the clip is refused.

    Args:
        url: The server, if other than the project's that stage 22 wrote to; so ``project``.
        project: See there.
        winner: LATEST, or an annotator's number: whose answer counts where annotators disagree.
    """

    def __init__(
        self, url: str | None = None, project: str | None = None, winner: str | int | None = None
    ):
        self.url, self.project = url, project
        self.winner = None if winner is None else str(winner)

    def read(self, path: Path) -> list[Answer]:
        if path.is_dir():
            return self._pull(path)
        try:
            items = parse_json(path.read_bytes().decode("utf-8-sig"))
        except OSError as e:
            raise DataError(f"{path}: cannot be read ({e.strerror})") from e
        except UnicodeDecodeError as e:
            raise DataError(f"{path}: not UTF-8 ({e})") from e
        except ValueError as e:
            raise DataError(f"{path}: not JSON ({e}); export it once more") from e
        if not isinstance(items, list):
            raise DataError(f"{path}: not a list of tasks; export the project as JSON")
        clips: dict[str, list[Annotation]] = defaultdict(list)
        for number, item in enumerate(items, 1):
            where = f"{path}: entry {number}"
            try:
                uid, found = _read_item(item, where)
            except (KeyError, TypeError, ValueError, AttributeError) as e:
                raise DataError(
                    f"{where}: not as Label Studio exports tasks of config.xml "
                    f"({type(e).__name__}: {e})"
                ) from e
            clips[uid] += found
        return [self._decide(uid, found, str(path)) for uid, found in clips.items()]

    def _pull(self, directory: Path) -> list[Answer]:
        where = {"url": self.url, "project": self.project}
        if (directory / PROJECT).exists():
            known = _read_project(directory / PROJECT)
            where = {name: value or known[name] for name, value in where.items()}
        if any(where.values()) and None in where.values():
            raise ConfigError("give both --ls_url and --ls_project, or neither")
        if None in where.values():
            if not (directory / TASKS).exists():
                raise DataError(
                    f"{directory} has neither {PROJECT} nor {TASKS} of stage 22: give the files "
                    "that were exported themselves"
                )
            # Nothing was put on a server, and no export has come back yet.
            return []
        project = Project(str(where["url"]), str(where["project"]))
        path = directory / PULLED
        write_lines(path, [json.dumps(project.export(), indent=1, ensure_ascii=False)])
        return self.read(path)

    def _decide(self, uid: str, annotations: Sequence[Annotation], path: str) -> Answer:
        times = [a.answer.worked for a in annotations if a.answer.worked is not None]
        worked = sum(times) if times else None
        latest: dict[str, Annotation] = {}
        for found in sorted(annotations, key=lambda a: a.time):
            if not found.cancelled and (found.answer.transcript or found.answer.mark):
                # Put in anew, so that the one that was changed last stands last.
                latest.pop(found.annotator, None)
                latest[found.annotator] = found
        if not latest:
            return Answer(uid, "", "", path, worked)
        chosen = list(latest.values())[-1]
        if len({(a.answer.transcript, a.answer.mark) for a in latest.values()}) > 1:
            if self.winner in latest:
                chosen = latest[self.winner]
            elif self.winner != LATEST:
                raise DataError(_disagreement(uid, list(latest.values())))
        said = chosen.answer
        return answer(uid, said.transcript, said.mark, said.where, worked)


def _disagreement(uid: str, annotations: Sequence[Annotation]) -> str:
    said = ", ".join(f"{a.annotator} '{a.answer.transcript or a.answer.mark}'" for a in annotations)
    return (
        f"{annotations[-1].answer.where}: annotators disagree about '{uid}': {said}; settle it in "
        f"Label Studio, or say who wins: --ls_winner {LATEST}, or an annotator's number"
    )


def _read_project(path: Path) -> dict[str, Any]:
    try:
        known = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {name: known[name] for name in ("url", "project", "title")}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as e:
        raise DataError(f"{path}: not what stage 22 writes ({e}); run it again") from e


def _read_item(item: dict[str, Any], where: str) -> tuple[str, list[Annotation]]:
    """The utterance and the annotations of an entry of either export."""
    if "data" in item:
        where = f"{where} (task {item.get('id', 'not imported yet')})"
        uid = _text(item["data"]["utterance"])
        drafts = _read_drafts(item["data"], item.get("predictions"))
        annotations = item.get("annotations") or []
        return uid, [_read_annotation(uid, found, drafts, where) for found in annotations]
    where = f"{where} (task {item['id']})"
    uid = _text(item["utterance"])
    text, mark = one_line(_text(item.get("transcript"))), one_line(_text(item.get("mark")))
    if mark and text in _read_drafts(item):
        text = ""
    said = Answer(uid, text, mark, where, _worked(item))
    return uid, [Annotation(said, str(item["annotator"]), _time(item), cancelled=False)]


def _read_drafts(data: dict[str, Any], predictions: Any = ()) -> set[str]:
    """What an annotator may have started from. Exports may hold the predictions' numbers alone."""
    drafts = {one_line(_text(data.get("draft")))}
    for prediction in predictions or ():
        if isinstance(prediction, dict):
            drafts.add(_read_fields(prediction.get("result") or [])[0])
    return drafts


def _read_fields(result: list[dict[str, Any]]) -> tuple[str, str]:
    """The transcript and the mark."""
    fields: dict[str, list[str]] = {"transcript": [], "mark": []}
    for part in result:
        name, value = part.get("from_name"), part.get("value") or {}
        if name in fields:
            fields[name].append(_text(value.get("text" if name == "transcript" else "choices")))
    text, mark = (one_line(" ".join(fields[name])) for name in ("transcript", "mark"))
    return text, mark


def _read_annotation(uid: str, found: dict[str, Any], drafts: set[str], where: str) -> Annotation:
    text, mark = _read_fields(found["result"])
    # Who presses a button need not clear the draft.
    if mark and text in drafts | _read_drafts({}, [found.get("prediction")]):
        text = ""
    cancelled = bool(found["was_cancelled"])
    if cancelled:
        # Whatever was begun before it was skipped.
        text = mark = ""
    by = found["completed_by"]
    annotator = by["id"] if isinstance(by, dict) else by
    said = Answer(uid, text, mark, where, _worked(found))
    return Annotation(said, str(annotator), _time(found), cancelled)


def _text(value: Any) -> str:
    """One text, several, or ``{"text": several}``."""
    if value is None:
        return ""
    if isinstance(value, dict):
        value = value.get("text", value.get("choices"))
    pieces = value if isinstance(value, list) else [value]
    if not all(isinstance(piece, str) for piece in pieces):
        raise TypeError(f"{reprlib.repr(value)} is no text")
    return " ".join(pieces)


def _worked(found: dict[str, Any]) -> float | None:
    value = found.get("lead_time")
    return None if value is None else float(value)


def _time(found: dict[str, Any]) -> datetime:
    time = datetime.fromisoformat(found["updated_at"])
    return time if time.tzinfo else time.replace(tzinfo=UTC)
