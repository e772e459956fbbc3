"""A project on a server of Label Studio, through its own client library.

The key, a personal access token or a legacy token, is read from the environment alone, and neither
written nor printed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from defusedxml import DefusedXmlException, ElementTree

from espnet_egl.errors import ConfigError, DataError
from espnet_egl.exchange import Task, needs
from espnet_egl.progress import progress

KEY = "LABEL_STUDIO_API_KEY"
HOW_TO_GET_ONE = (
    "make a personal access token in Label Studio (your initials, Account & Settings) and export "
    f"{KEY}=<token>"
)
# Tasks appear in the project so many at a time: what a killed job has to upload again, at most.
BATCH = 50
CONTROLS = {"transcript", "mark"}


class Project:
    """A project.

    Args:
        url: The server.
        name: The project's title, or its number.
        make_with: The labelling interface of a new project, where none has the title; None: it
            must be there.

    Raises:
        ConfigError: The library or the key is missing, the key is none, or the address holds a
            password.
        DataError: The server cannot be reached or refuses; or there is no such project, several,
            or one with another labelling interface: to take back, it needs but a TextArea.
    """

    def __init__(self, url: str, name: str, make_with: str | None = None):
        with needs("label-studio"):
            from label_studio_sdk import LabelStudio
        key = _read_key()
        _refuse_password(url)
        # Else it logs every request.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self.url = url.rstrip("/")
        with self._asking():
            self._client = LabelStudio(base_url=self.url, api_key=key)
            found = self._find(name, make_with)
        self.number: int = found.id
        self.title: str = found.title
        self.address = f"{self.url}/projects/{self.number}"
        try:
            elements = list(ElementTree.fromstring(found.label_config).iter())
        except (ElementTree.ParseError, DefusedXmlException):
            elements = []
        # Back come transcripts from whatever it calls their field.
        needed, there = {"TextArea"}, {element.tag for element in elements}
        if make_with is not None:
            needed, there = CONTROLS, {element.get("name") for element in elements}
        if missing := needed - there:
            raise DataError(
                f"{self.address} has another labelling interface, without '{min(missing)}': give "
                "another project, or put what stage 22 wrote to config.xml into its settings"
            )

    def _find(self, name: str, make_with: str | None) -> Any:
        if name.isdigit():
            return self._client.projects.get(int(name))
        found = [p for p in self._client.projects.list(title=name) if p.title == name]
        if len(found) > 1:
            numbers = ", ".join(str(p.id) for p in found)
            raise DataError(f"{self.url} has several projects '{name}': give a number, {numbers}")
        if found:
            return self._client.projects.get(found[0].id)
        if make_with is None:
            raise DataError(f"{self.url} has no project '{name}'")
        return self._client.projects.create(
            title=name, label_config=make_with, show_collab_predictions=True
        )

    def utterances(self) -> set[str]:
        """The utterances it has tasks of; whatever else is in it counts by its task's number."""
        with self._asking():
            tasks = list(self._client.tasks.list(project=self.number))
        return {str((task.data or {}).get("utterance", f"task {task.id}")) for task in tasks}

    def add(
        self, tasks: Sequence[Task], entry: Callable[[Task, str], dict[str, Any]], shown: str
    ) -> None:
        """Upload the audio of clips, and add their tasks.

        Args:
            tasks: The clips, whose audio are files.
            entry: A task as Label Studio takes it, from a clip and its audio's address.
            shown: The ``model_version`` of the predictions that annotators start from.
        """
        batch: list[dict[str, Any]] = []
        drafted = False
        for number, task in enumerate(progress(tasks, len(tasks)), 1):
            batch.append(entry(task, self._upload(Path(task.audio))))
            drafted |= any(p["model_version"] == shown for p in batch[-1]["predictions"])
            if len(batch) == BATCH or number == len(tasks):
                with self._asking():
                    self._client.projects.import_tasks(self.number, request=batch)
                batch = []
        if drafted:
            with self._asking():
                self._client.projects.update(self.number, model_version=shown)

    def _upload(self, path: Path) -> str:
        """Its address on the server."""
        try:
            content = path.read_bytes()
        except OSError as e:
            raise DataError(f"{path}: cannot be read ({e.strerror})") from e
        with self._asking():
            # The library has the connection and the key, but no method for files.
            response = self._client._client_wrapper.httpx_client.request(
                f"api/projects/{self.number}/import",
                method="POST",
                params={"commit_to_project": "false"},
                files={"file": (path.name, content, f"audio/{path.suffix[1:]}")},
            )
        if response.status_code != 201:
            raise DataError(
                f"{self.url} does not take {path}: {response.status_code} "
                f"{_without_key(response.text)[:200]}"
            )
        with self._asking():
            return "/data/" + self._client.files.get(id=response.json()["file_upload_ids"][0]).file

    def export(self) -> list[dict[str, Any]]:
        """Its tasks with their annotations: what the format JSON of its exports holds."""
        with self._asking():
            return self._client.projects.exports.as_json(self.number)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Around requests: what goes wrong is said without the headers, which hold secrets."""
        import httpx
        from label_studio_sdk.core.api_error import ApiError

        try:
            yield
        except ApiError as e:
            body = e.body if isinstance(e.body, dict) else {}
            detail = body.get("validation_errors") or body.get("detail") or "no reason given"
            advice = f"; {HOW_TO_GET_ONE}" if e.status_code in (401, 403) else ""
            said = _without_key(str(detail))
            raise DataError(f"{self.url} refuses ({e.status_code}): {said}{advice}") from None
        except (httpx.HTTPError, httpx.InvalidURL) as e:
            raise DataError(f"{self.url} cannot be reached: {_without_key(str(e))}") from None


def _read_key() -> str:
    # A file that it was read from may end in a line's end, which no header takes.
    key = os.environ.get(KEY, "").strip()
    if not key:
        raise ConfigError(f"{KEY} is not set: {HOW_TO_GET_ONE}")
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{KEY} holds a character that no key has: {HOW_TO_GET_ONE}")
    return key


def _without_key(text: str) -> str:
    return text.replace(os.environ[KEY].strip(), "<key>")


def _refuse_password(url: str) -> None:
    """What is written and printed of a server is its address: it must hold no secret."""
    try:
        holds_one = "@" in urlsplit(url).netloc
    except ValueError:
        holds_one = "@" in url
    if holds_one:
        raise ConfigError(
            "--ls_url holds a name or a password before '@', which would be written to "
            "project.yaml: give the address without"
        )
