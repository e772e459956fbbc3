"""The audio of clips, handed over as files; and formats with one file a clip beside it."""

from __future__ import annotations

import filecmp
import shutil
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from espnet_egl.data.audio import source_changed, write_clip
from espnet_egl.data.pipes import PIPE_TIMEOUT
from espnet_egl.data.recordings import Recordings
from espnet_egl.data.sources import is_ark_entry
from espnet_egl.errors import ConfigError, DataError, UtteranceError
from espnet_egl.exchange import (
    AbsExporter,
    Task,
    is_handed_over,
)
from espnet_egl.exchange.clip_returns import TABLE, ClipImporter
from espnet_egl.exchange.matching import AUDIO_DIR, Source
from espnet_egl.progress import progress
from espnet_egl.store.files import atomic_open, atomic_path
from espnet_egl.store.tables import SKIPPED_COLUMNS, write_rows

# none: the recordings are only named. link, copy: whole files as they are; segments, pipes,
# entries of arks, and files that other programs would not read, or hear otherwise, are written
# anew. cut: every clip is written anew.
AUDIO = ("none", "link", "copy", "cut")
COLUMNS = ("utterance", "file", "seconds", "draft")


def place_audio(
    tasks: Sequence[Task],
    directory: Path,
    how: str,
    audio_format: str,
    allow_pipes: bool = True,
    pipe_timeout: float = PIPE_TIMEOUT,
    context: float = 0.0,
) -> tuple[list[Task], list[tuple[str, str, str]]]:
    """Every clip as a file of its own, with a name for every file system.

    Args:
        tasks: The clips.
        directory: Where the files go; what is there already is left as it is.
        how: ``link``, ``copy`` or ``cut``, see AUDIO.
        audio_format: Of what is written anew, ``flac`` or ``wav``.
        allow_pipes: Whether commands in wav.scp are run.
        pipe_timeout: How long such a command may take, in seconds.
        context: Seconds of the recording that are heard before and behind a clip.

    Returns:
        The tasks with their files and durations in seconds, and rows (utterance, reason, detail)
        of those whose audio cannot be read.

    Raises:
        DataError: A recording is not what it was when its clip was handed over.
    """
    placed: dict[str, Task] = {}
    skipped = []
    opened = Recordings(allow_pipes, pipe_timeout)
    # Segments of a recording one after the other: it is decoded once.
    in_turn = sorted(tasks, key=lambda task: (task.audio, task.start))
    for task in progress(in_turn, len(tasks)):
        source = Source(task.audio, task.start, task.end, task.channel)
        name = source.name_of(task.uid)
        try:
            path, *seconds = _place(task, directory / name, how, audio_format, opened, context)
        except UtteranceError as e:
            skipped.append((task.uid, e.reason, e.detail))
            continue
        path = path.absolute()
        before, clip, behind = seconds
        placed[task.uid] = replace(
            task,
            audio=str(path),
            start=0.0,
            end=None,
            channel=None,
            seconds=clip,
            before=before,
            behind=behind,
        )
    opened.close()
    return [placed[task.uid] for task in tasks if task.uid in placed], skipped


def audio_files(
    exporter: AbsExporter,
    tasks: Sequence[Task],
    output_dir: Path,
    audio: str | None = None,
    audio_format: str | None = None,
    allow_pipes: bool = True,
    pipe_timeout: float = PIPE_TIMEOUT,
    context: float = 0.0,
) -> tuple[list[Task], list[tuple[str, str, str]]]:
    """:func:`place_audio` as a format wants it, and ``skipped.tsv``.

    Args:
        exporter: The format's.
        tasks: The clips.
        output_dir: Where ``audio/`` goes.
        audio: One of AUDIO; None: the format's. Clips of one channel of their recordings are files
            in any case.
        audio_format: Of what is written anew; None: the format's.
        allow_pipes: See :func:`place_audio`, as what follows.
        pipe_timeout: Likewise.
        context: Likewise.

    Raises:
        DataError: No clip can be read.
    """
    how = audio or exporter.audio
    if how == "none" and of_one_channel(tasks):
        how = "cut"
    if how == "none":
        return list(tasks), []
    form, directory = audio_format or exporter.audio_format, output_dir / AUDIO_DIR
    placed, skipped = place_audio(tasks, directory, how, form, allow_pipes, pipe_timeout, context)
    write_rows(output_dir / "skipped.tsv", SKIPPED_COLUMNS, skipped)
    if not placed:
        raise DataError(
            f"no clip can be read, see {output_dir / 'skipped.tsv'}, e.g. {': '.join(skipped[0])}"
        )
    return placed, skipped


def of_one_channel(tasks: Sequence[Task]) -> bool:
    """Whether any is of one channel of its recording, which a recording's name does not tell."""
    return any(task.channel is not None for task in tasks)


def _place(
    task: Task, stem: Path, how: str, audio_format: str, opened: Recordings, context: float
) -> tuple[Path, float, float, float]:
    """The file, and seconds of it before the clip, in it and behind."""
    source = Path(task.audio)
    whole = (task.start, task.end, task.channel) == (0, None, None)
    whole = whole and not task.audio.endswith("|") and not is_ark_entry(task.audio)
    measured = opened.measure(task.audio) if whole and how != "cut" else None
    # Of several channels people hear the one that the model reads.
    if measured is None or not measured.is_plain or measured.channels > 1:
        path = stem.with_suffix(f".{audio_format}")
        seconds = write_clip(
            path,
            task.audio,
            task.start,
            task.end,
            recordings=opened,
            channel=task.channel,
            context=context,
        )
        return path, *seconds
    path = stem.with_suffix(source.suffix.lower() if source.suffix[1:].isalnum() else ".wav")
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(source, path, how)
        elif not filecmp.cmp(source, path):
            raise source_changed(path, task.audio)
    except OSError as e:
        raise UtteranceError("unreadable_audio", f"{source}: {e}") from e
    return path, 0.0, measured.seconds, 0.0


def _link_or_copy(source: Path, path: Path, how: str) -> None:
    if how == "link":
        with atomic_path(path) as temporary:
            temporary.symlink_to(source.resolve())
    else:
        with source.open("rb") as f, atomic_open(path, "wb") as copy:
            shutil.copyfileobj(f, copy)


def path_inside(audio: str, directory: Path) -> str:
    """A file below a directory as it is called from there, so that the directory may be moved;
    anything else as it is."""
    path = Path(audio)
    base = directory.absolute()
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else audio


def require_files(tasks: Sequence[Task], output_dir: Path) -> None:
    """Refuse tasks whose audio was not placed.

    Raises:
        ConfigError: Some was not.
    """
    directory = (output_dir / AUDIO_DIR).absolute()
    if any(Path(task.audio).parent != directory for task in tasks):
        raise ConfigError("this format needs the audio as files: --audio link, copy or cut")


class ClipExporter(AbsExporter):
    """Writes a file a clip beside its audio, and TABLE; the folder is what is handed over."""

    audio = "cut"
    importer: ClassVar[type[ClipImporter]]

    def export(self, tasks: Sequence[Task], output_dir: Path) -> Path:
        require_files(tasks, output_dir)
        table = output_dir / TABLE
        is_handed_over(table, self.importer(), tasks)
        for task in tasks:
            path = Path(task.audio).with_suffix(self.importer.suffix)
            beside = output_dir / path.name
            if not path.exists() and not beside.exists():
                self.write(task, path)
        rows = [
            [task.uid, Path(task.audio).name, f"{task.seconds:.3f}", task.draft] for task in tasks
        ]
        # Written last: a folder without it is not whole. Nobody fills it in, so it may grow.
        write_rows(table, COLUMNS, rows)
        return output_dir

    @abstractmethod
    def write(self, task: Task, path: Path) -> None:
        """Write the file of one clip, without a transcript, at once."""
