"""To and from the people who transcribe. One file a format, one line in the registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_egl.registry import Registry


@dataclass(frozen=True)
class Task:
    """One clip to transcribe.

    Attributes:
        uid: Utterance id.
        audio: What wav.scp says of its recording: a path, or a command that ends in ``|``.
        start: Where the clip begins in the recording, in seconds.
        end: Where it ends; None for the end of the recording.
        seconds: Its duration.
        drafts: Transcripts the recogniser proposes, most probable first; may be empty.
    """

    uid: str
    audio: str
    start: float
    end: float | None
    seconds: float
    drafts: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What came back of one clip.

    Attributes:
        uid: Utterance id.
        transcript: What was heard; empty: nothing yet, or a mark instead.
        mark: Empty, or one of MARKS: why there is no transcript.
        where: File and line, for messages.
    """

    uid: str
    transcript: str
    mark: str
    where: str


MARKS = ("not_speech", "cannot_understand")


class AbsImporter(ABC):
    """Reads what annotators return."""

    @abstractmethod
    def read(self, path: Path) -> list[Answer]:
        """Every answer of a file, in its order.

        Raises:
            DataError: It is missing, not UTF-8 or malformed; the message names the line.
        """


class AbsExporter(ABC):
    """Writes tasks in the format of a tool that annotators use."""

    @abstractmethod
    def export(self, tasks: Sequence[Task], output_dir: Path) -> Path:
        """Write the tasks, most valuable first, and return the file to hand over."""


exporters = Registry("exporter", "espnet_egl.exchange", {"tsv": "espnet_egl.exchange.tsv:TSV"})
importers = Registry(
    "importer",
    "espnet_egl.importers",
    {
        "tsv": "espnet_egl.exchange.tsv:ReturnedTSV",
        "text": "espnet_egl.exchange.kaldi_text:KaldiText",
    },
)
