"""To and from the people who transcribe. One file a format, one line in the registry."""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from espnet_egl.data.kaldi import Channel
from espnet_egl.errors import ConfigError, DataError
from espnet_egl.exchange.matching import Clips
from espnet_egl.exchange.spelling import without_directions
from espnet_egl.registry import Registry
from espnet_egl.store.tables import one_line


@dataclass(frozen=True)
class Task:
    """One clip to transcribe.

    Attributes:
        uid: Utterance id.
        audio: What wav.scp says of its recording: a path, or a command that ends in ``|``; a file
            of the clip alone where audio was handed over.
        start: Where the clip begins in the recording, in seconds.
        end: Where it ends; None for the end of the recording.
        seconds: Its duration.
        drafts: Transcripts the recogniser proposes, most probable first; may be empty.
        probabilities: P(draft | audio) of each of them; empty where it is not known.
        confidence: Of the recogniser in the best one, 0-1; None where it is not known.
        channel: Of the recording, from 0 on, or ``mean``; None: the first.
        before: Seconds of its file before the clip, to be heard and not transcribed.
        behind: Likewise behind it.
    """

    uid: str
    audio: str
    start: float
    end: float | None
    seconds: float
    drafts: tuple[str, ...]
    probabilities: tuple[float, ...] = ()
    confidence: float | None = None
    channel: Channel | None = None
    before: float = 0.0
    behind: float = 0.0

    @property
    def draft(self) -> str:
        """The best hypothesis; empty if there is none."""
        return one_line(self.drafts[0]) if self.drafts else ""


@dataclass(frozen=True)
class Answer:
    """What came back of one clip.

    Attributes:
        uid: Utterance id.
        transcript: What was heard; empty: nothing yet, or a mark instead.
        mark: Empty, or one of MARKS: why there is no transcript.
        where: File and line, for messages.
        worked: Seconds that annotators worked on it; None where the tool does not tell.
        draft: The draft as it came back; None where the format does not bring it back.
    """

    uid: str
    transcript: str
    mark: str
    where: str
    worked: float | None = None
    draft: str | None = None


@dataclass(frozen=True)
class Unused:
    """What came back and is not taken.

    Attributes:
        where: File and place in it.
        reason: What it is, and why it is not taken; the same for all of a kind.
        uid: The utterance it belongs to; empty where that is not known.
    """

    where: str
    reason: str
    uid: str = ""


def printable(text: str) -> str:
    """``text`` with a space for what no tool shows and XML cannot hold: control characters, halves
    of surrogate pairs."""
    return one_line("".join(" " if _is_control(c) else c for c in text))


def visible(text: str) -> str:
    """A transcript on one line, without marks of direction; nothing if a person sees nothing."""
    text = one_line(without_directions(text))
    return "" if all(unicodedata.category(c) in ("Cf", "Zs") for c in text) else text


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") or character in "\ufffe\uffff"


MARKS = ("not_speech", "cannot_understand")


def answer(
    uid: str,
    transcript: str,
    mark: str,
    where: str,
    worked: float | None = None,
    draft: str | None = None,
) -> Answer:
    """An answer from what a tool's fields say; marks of direction are no part of a transcript.

    Raises:
        DataError: The mark is none of MARKS, or there is a transcript beside it; or the transcript
            holds what is not :func:`printable`.
    """
    uid, mark = one_line(uid), one_line(mark)
    transcript = visible(transcript)
    mark = mark.lower().replace(" ", "_")
    if mark and mark not in MARKS:
        raise DataError(f"{where}: mark '{mark}' is none of {', '.join(MARKS)}")
    if mark and transcript:
        raise DataError(f"{where}: '{uid}' has a transcript and a mark; keep one of them")
    if hidden := next(filter(_is_control, transcript), None):
        raise DataError(
            f"{where}: '{uid}' holds the control character U+{ord(hidden):04X}: take it out"
        )
    return Answer(uid, transcript, mark, where, worked, draft)


def answer_in_words(uid: str, text: str, where: str, draft: str | None = None) -> Answer:
    """An answer of a format with nothing but text: ``<not_speech>`` in its place is a mark."""
    text = visible(text)
    mark = text[1:-1].lower().replace(" ", "_") if text.startswith("<") else ""
    said = answer(uid, "", mark, where) if mark in MARKS else answer(uid, text, "", where)
    return replace(said, draft=draft)


def join_pieces(pieces: Sequence[tuple[float, Answer]]) -> list[Answer]:
    """One answer a clip, of a format that may bring it back in pieces.

    Args:
        pieces: Where each begins, in seconds, and what it says.

    Returns:
        The clips' answers, the texts of pieces that begin at different times joined in the order of
        time; where two begin at once, or one is a mark, all as they are.
    """
    clips: dict[str, dict[float, Answer]] = {}
    alone = []
    for begin, said in pieces:
        # Milliseconds: what tools add up is not the same to the last bit.
        start = round(begin, 3)
        other = clips.setdefault(said.uid, {}).get(start, said)
        if said.mark or other.transcript != said.transcript:
            alone.append(said)
        else:
            clips[said.uid][start] = other
    joined = []
    for found in clips.values():
        in_order = [found[start] for start in sorted(found)]
        text = one_line(" ".join(piece.transcript for piece in in_order))
        if in_order:
            joined.append(replace(in_order[0], transcript=text))
    # A piece without text at the time of one with text says nothing.
    return joined + [said for said in alone if said.transcript or said.mark]


class AbsImporter(ABC):
    """Reads what annotators return.

    Attributes:
        file_name: Below the directory of stage 22, what is read if nothing else came back.
        suffixes: What its files end in, where a folder of them comes back; empty: :meth:`read`
            takes folders itself.
        clips: What was handed over; by it a file is known whose utterance no field tells.
    """

    file_name: ClassVar[str] = ""
    suffixes: ClassVar[tuple[str, ...]] = ()
    clips: Clips = Clips()

    @cached_property
    def unused(self) -> list[Unused]:
        """What :meth:`read` met so far and did not take."""
        return []

    def leave(self, where: object, reason: str, uid: str | None = "") -> None:
        """Note what is not taken: all that people made and this importer does not read."""
        # Names of files may be in another encoding.
        where, reason = (
            str(text).encode("utf-8", "backslashreplace").decode() for text in (where, reason)
        )
        self.unused.append(Unused(where, reason, uid or ""))

    @abstractmethod
    def read(self, path: Path) -> list[Answer]:
        """Every answer of a file, in its order; what else people made there is noted by
        :meth:`leave`.

        Raises:
            DataError: It is missing, not UTF-8 or malformed; the message names the line.
        """


class AbsExporter(ABC):
    """Writes tasks in the format of a tool that annotators use.

    Attributes:
        audio: What happens to audio unless the user says otherwise, one of
            :data:`.clips.AUDIO`.
        audio_format: Of audio that is written, ``flac`` or ``wav``.
        shows_context: Whether it can mark the clip in a file that has more than it.
        importer: Reads what it writes; None: a clip that can be handed over only later is not
            noticed where a file is there already.
    """

    audio: ClassVar[str] = "none"
    audio_format: ClassVar[str] = "flac"
    shows_context: ClassVar[bool] = False
    importer: ClassVar[type[AbsImporter] | None] = None

    @abstractmethod
    def export(self, tasks: Sequence[Task], output_dir: Path) -> Path:
        """Write the tasks, most valuable first, and return the file to hand over.

        What people filled in, where a file is there already, is left as it is.
        """

    def lacking(self, tasks: Sequence[Task], path: Path) -> list[Task]:
        """Those that a file lacks which was there before.

        Args:
            tasks: What was to be handed over.
            path: What :meth:`export` returned.
        """
        if self.importer is None:
            return []
        there = {found.uid for found in self.importer().read(path)}
        return [task for task in tasks if task.uid not in there]


def is_handed_over(path: Path, importer: AbsImporter, tasks: Sequence[Task]) -> bool:
    """Whether a file of these tasks is there: what people filled in stays.

    Raises:
        DataError: It is of another selection. It may have lost clips.
    """
    if not path.exists():
        return False
    given = {task.uid for task in tasks}
    other = [found for found in importer.read(path) if found.uid not in given]
    if other:
        raise DataError(
            f"{other[0].where}: '{other[0].uid}' is not in this selection; move the file away "
            "to have it written anew"
        )
    return True


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Around the import of an optional library.

    Args:
        extra: The extra of setup.py that installs it.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as e:
        raise ConfigError(
            f"{e.name} is not installed: pip install 'espnet_egl[{extra}]', with the quotes"
        ) from e


exporters = Registry(
    "exporter",
    "espnet_egl.exchange",
    {
        "tsv": "espnet_egl.exchange.tsv:TSV",
        "csv": "espnet_egl.exchange.tsv:CSV",
        "text": "espnet_egl.exchange.kaldi_text:Text",
        "nemo": "espnet_egl.exchange.nemo:NeMo",
        "lhotse": "espnet_egl.exchange.lhotse:Lhotse",
        "textgrid": "espnet_egl.exchange.textgrid:TextGrid",
        "elan": "espnet_egl.exchange.elan:ELAN",
        "audacity": "espnet_egl.exchange.audacity:Audacity",
        "label_studio": "espnet_egl.exchange.label_studio:LabelStudio",
    },
)
importers = Registry(
    "importer",
    "espnet_egl.importers",
    {
        "tsv": "espnet_egl.exchange.tsv:ReturnedTSV",
        "csv": "espnet_egl.exchange.tsv:ReturnedCSV",
        "text": "espnet_egl.exchange.kaldi_text:KaldiText",
        "nemo": "espnet_egl.exchange.nemo:ReturnedNeMo",
        "lhotse": "espnet_egl.exchange.lhotse:ReturnedLhotse",
        "textgrid": "espnet_egl.exchange.textgrid:ReturnedTextGrid",
        "elan": "espnet_egl.exchange.elan:ReturnedELAN",
        "audacity": "espnet_egl.exchange.audacity:ReturnedAudacity",
        "label_studio": "espnet_egl.exchange.label_studio:ReturnedLabelStudio",
    },
)
