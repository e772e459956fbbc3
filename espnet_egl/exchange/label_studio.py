"""Label Studio: tasks with drafts as pre-annotations, and its exports, by file or by its server.

Out go ``tasks.json``, ``config.xml`` (the labelling interface) and the audio; with a server's
address they are put into a project there. Back comes the project itself, or what its button
*Export* writes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from humanfriendly.text import pluralize

from espnet_egl.errors import ConfigError, DataError
from espnet_egl.exchange import (
    MARKS,
    AbsExporter,
    AbsImporter,
    Answer,
    Task,
    answer,
    is_handed_over,
)
from espnet_egl.exchange.clip_returns import AUDIO_SUFFIXES, SYSTEMS_OWN, WRITTEN, is_systems_own
from espnet_egl.exchange.clips import path_inside, require_files
from espnet_egl.exchange.label_studio_entries import CLIP_REGION, read_entries
from espnet_egl.exchange.label_studio_exports import Annotation, Reader
from espnet_egl.exchange.label_studio_server import Project
from espnet_egl.exchange.spelling import difference, key
from espnet_egl.store.files import write_lines
from espnet_egl.store.tables import one_line

TASKS = "tasks.json"
CONFIG = "config.xml"
PROJECT = "project.yaml"
PULLED = "pulled.json"
LATEST = "latest"
# What exports and target storage call their files; the latter may give them numbers alone.
EXPORTS = {".csv", ".json", ".jsonl", ".tsv", ".gz", ""}
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


# Where files have more than the clip: said, and a region over it.
CLIP_PLACE = f"""\
  <Header value="$clip" size="5"/>
  <Labels name="{CLIP_REGION}" toName="audio">
    <Label value="the clip" background="#2a78d6"/>
  </Labels>
"""


def labelling_config(tasks: Sequence[Task]) -> str:
    """The labelling interface for tasks, with where the clip is, if there is more to hear."""
    if not any(task.before or task.behind for task in tasks):
        return LABELLING_CONFIG
    place = LABELLING_CONFIG.index("  <TextArea")
    return LABELLING_CONFIG[:place] + CLIP_PLACE + LABELLING_CONFIG[place:]


class LabelStudio(AbsExporter):
    """Annotators correct the best hypothesis, or choose *not speech* or *cannot understand*.

    Args:
        url: A server to put the tasks on; None: files only.
        project: The project there, its title or its number; one that is not there is made.
        audio_url: What stands before the audio's path in ``tasks.json``: by default, what Label
            Studio calls a file below its ``LOCAL_FILES_DOCUMENT_ROOT``.
    """

    audio = "cut"
    shows_context = True

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
            write_lines(output_dir / CONFIG, [labelling_config(tasks)])
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
        project = Project(str(self.url), str(self.project), make_with=labelling_config(tasks))
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
        print(
            f"{project.address}: {pluralize(len(new), 'task')} added, {len(there)} there already."
        )


def _entry(task: Task, audio: str) -> dict[str, Any]:
    """A task; every draft is a prediction, of which the best comes first."""
    data: dict[str, Any] = {"audio": audio, "utterance": task.uid, "draft": task.draft}
    data["seconds"] = round(task.seconds, 3)
    region = _region(task) if task.before or task.behind else None
    if region is not None:
        end = task.before + task.seconds
        data["clip"] = (
            f"Only from {task.before:.1f} s to {end:.1f} s; the rest is there to be heard."
        )
    # Other predictions than the best are not shown to who goes from task to task.
    others = [one_line(text) for text in task.drafts[1:]]
    data["alternatives"] = "\n".join([ALTERNATIVES, *others]) if others else ""
    if task.confidence is not None:
        data["confidence"] = task.confidence
    predictions = []
    for rank, text in enumerate(task.drafts):
        version = f"alternative {rank}" if rank else BEST
        # What starts empty needs no draft.
        result = [_textarea(text)] if text.strip() else []
        result += [region] if region is not None else []
        prediction: dict[str, Any] = {"model_version": version, "result": result}
        if task.probabilities:
            prediction["score"] = task.probabilities[rank]
        if result:
            predictions.append(prediction)
    return {"data": data, "predictions": predictions}


def _textarea(text: str) -> dict[str, Any]:
    return {
        "from_name": "transcript",
        "to_name": "audio",
        "type": "textarea",
        "value": {"text": [text]},
    }


def _region(task: Task) -> dict[str, Any]:
    """Where in its file the clip is, as a region that is drawn."""
    value = {"start": task.before, "end": task.before + task.seconds, "labels": ["the clip"]}
    return {
        "id": "clip",
        "from_name": CLIP_REGION,
        "to_name": "audio",
        "type": "labels",
        "value": {**value, "channel": 0},
    }


class ReturnedLabelStudio(AbsImporter):
    """Exports of Label Studio, JSON, JSON-MIN, CSV, TSV or ASR_MANIFEST; a folder of them, or of
    what its target storage holds; or, of a directory of stage 22, its project.

    Of what one annotator wrote about a clip the latest counts. What was skipped, or says nothing,
    does not. A mark counts where the draft was left as it was beside it. Where annotators disagree,
    ``winner`` decides or the clip is refused.

    Args:
        url: The server, if other than the project's that stage 22 wrote to; so ``project``.
        project: See there.
        winner: LATEST, or an annotator's number: whose answer counts where annotators disagree.
        transcript: The field that holds the transcript; None: ``transcript``, else one that begins
            like it, else the only one with text.
        marks: Choice of another labelling interface -> the mark that it is.
    """

    def __init__(
        self,
        url: str | None = None,
        project: str | None = None,
        winner: str | int | None = None,
        transcript: str | None = None,
        marks: Mapping[str, str] | None = None,
    ):
        self.url, self.project = url, project
        self.winner = None if winner is None else str(winner)
        self.transcript, self.marks = transcript, marks or {}
        if not isinstance(self.marks, Mapping):
            raise ConfigError("marks: not a mapping of choices to marks, {Noise: not_speech}")
        if wrong := [mark for mark in self.marks.values() if mark not in MARKS]:
            raise ConfigError(f"marks: '{wrong[0]}' is none of {', '.join(MARKS)}")

    def read(self, path: Path) -> list[Answer]:
        return self._read_files(self._files(path) if path.is_dir() else [path], path)

    def _read_files(self, files: Sequence[Path], path: Path) -> list[Answer]:
        reader = Reader(self.clips, self.leave, self.transcript, self.marks)
        clips: dict[str, dict[object, Annotation]] = defaultdict(dict)
        places: dict[str, str] = {}
        entries = [entry for file in files for entry in read_entries(file)]
        reader.look_through(item for _, item in entries)
        for where, item in entries:
            try:
                uid, found = reader.read(item, where)
            except (KeyError, TypeError, ValueError, AttributeError) as e:
                raise DataError(
                    f"{where}: not as Label Studio exports tasks of config.xml "
                    f"({type(e).__name__}: {e})"
                ) from e
            if uid:
                places.setdefault(uid, where)
                _add(clips[uid], found)
        noted = {note.uid for note in self.unused}
        return [
            self._decide(uid, list(clips[uid].values()), places[uid], uid in noted)
            for uid in places
        ]

    def _files(self, directory: Path) -> list[Path]:
        """What of a folder is read: the project's tasks, and exports that were put there."""
        pulled = self._pull(directory)
        found = []
        ours = {directory / name for name in WRITTEN}
        for path in sorted(p for p in directory.rglob("*") if p.is_file()):
            # The clips, and what we write, in this format or in another.
            if path in ours or path.suffix.casefold() in AUDIO_SUFFIXES:
                continue
            if is_systems_own(path):
                self.leave(path, SYSTEMS_OWN)
            elif path.suffix.casefold() in EXPORTS:
                found.append(path)
            else:
                self.leave(path, f"not an export of Label Studio, {', '.join(sorted(EXPORTS))}")
        if not (pulled or found or (directory / TASKS).exists()):
            raise DataError(
                f"{directory} has neither {PROJECT} nor {TASKS} of stage 22: give the files "
                "that were exported themselves"
            )
        return pulled + found

    def _pull(self, directory: Path) -> list[Path]:
        """The file with what the project on a server holds; none where there is no project."""
        where = {"url": self.url, "project": self.project}
        if (directory / PROJECT).exists():
            known = _read_project(directory / PROJECT)
            where = {name: value or known[name] for name, value in where.items()}
        if any(where.values()) and None in where.values():
            raise ConfigError("give both --ls_url and --ls_project, or neither")
        if None in where.values():
            return []
        project = Project(str(where["url"]), str(where["project"]))
        path = directory / PULLED
        write_lines(path, [json.dumps(project.export(), indent=1, ensure_ascii=False)])
        return [path]

    def _decide(
        self, uid: str, annotations: Sequence[Annotation], where: str, is_noted: bool
    ) -> Answer:
        """What counts of the annotations of a clip; if none does, and nothing else of the clip is
        noted, they are."""
        times = [a.answer.worked for a in annotations if a.answer.worked is not None]
        worked = sum(times) if times else None
        latest: dict[str, Annotation] = {}
        for found in sorted(annotations, key=lambda a: a.time):
            if not found.cancelled and (found.answer.transcript or found.answer.mark):
                # Put in anew, so that the one that was changed last stands last.
                latest.pop(found.annotator, None)
                latest[found.annotator] = found
        if not latest:
            for found in () if is_noted else annotations:
                what = "skipped" if found.cancelled else "submitted without a transcript or a mark"
                self.leave(found.answer.where, f"{what} in Label Studio", uid)
            return Answer(uid, "", "", where, worked)
        chosen = list(latest.values())[-1]
        if len({(key(a.answer.transcript), a.answer.mark) for a in latest.values()}) > 1:
            if self.winner in latest:
                chosen = latest[self.winner]
            elif self.winner != LATEST:
                raise DataError(_disagreement(uid, list(latest.values())))
        said = chosen.answer
        return answer(uid, said.transcript, said.mark, said.where, worked)


def _add(known: dict[object, Annotation], found: Iterable[Annotation]) -> None:
    """Add annotations to those of a clip; of copies of one, the one that was changed last."""
    for annotation in found:
        other = known.setdefault(annotation.identity, annotation)
        if annotation.time > other.time:
            known[annotation.identity] = annotation


def _disagreement(uid: str, annotations: Sequence[Annotation]) -> str:
    said = ", ".join(f"{a.annotator} '{a.answer.transcript or a.answer.mark}'" for a in annotations)
    one, other = (annotations[i].answer.transcript for i in (0, -1))
    return (
        f"{annotations[-1].answer.where}: annotators disagree about '{uid}': {said}"
        f"{difference(one, other)}; settle it in Label Studio, or say who wins: --ls_winner "
        f"{LATEST}, or an annotator's number"
    )


def _read_project(path: Path) -> dict[str, Any]:
    try:
        known = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {name: known[name] for name in ("url", "project", "title")}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as e:
        raise DataError(f"{path}: not what stage 22 writes ({e}); run it again") from e
