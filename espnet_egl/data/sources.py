"""Where an entry of wav.scp leads: a file, a piece of an ark, or what a command writes."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from espnet_egl.data.pipes import run_command
from espnet_egl.errors import UtteranceError

_ARK_ENTRY = re.compile(r"(.+\.ark):([0-9]+)", re.S)
_ARK_OFFSET = re.compile(r"(?<=\.ark):[0-9]+$")
_ARK_SOUND = b"AUDIO"
_RIFF = b"RIFF"


@dataclass
class Source:
    """The bytes of one recording.

    Attributes:
        name: What wav.scp says, for messages.
        path: Of a file that holds the recording and nothing else.
        file: What it was read or written to, where there is no such file.
    """

    name: str
    path: Path | None = None
    file: BinaryIO | None = None

    @property
    def suffix(self) -> str:
        """Of the file, in small letters: some formats have no other name."""
        return "" if self.path is None else self.path.suffix.lower()

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The bytes from the first one on; whoever reads them too goes on from where they were."""
        if self.path is not None:
            with self.path.open("rb") as f:
                yield f
            return
        assert self.file is not None
        place = self.file.tell()
        self.file.seek(0)
        try:
            yield self.file
        finally:
            self.file.seek(place)

    def for_libsndfile(self) -> str | int | BinaryIO:
        """The same for libsndfile, which reads what has a descriptor without Python."""
        if self.path is not None:
            return str(self.path)
        assert self.file is not None
        self.file.seek(0)
        return os.dup(self.file.fileno()) if isinstance(self.file, io.FileIO) else self.file

    def again(self) -> BinaryIO:
        """The bytes as a file of its own, to be closed by whoever asked; where a command wrote
        them, nobody else may read at that time."""
        if self.path is not None:
            return self.path.open("rb", buffering=0)
        if isinstance(self.file, io.BytesIO):
            return io.BytesIO(self.file.getvalue())
        assert self.file is not None
        return os.fdopen(os.dup(self.file.fileno()), "rb", buffering=0)

    def close(self) -> None:
        """Let go of what was written or read."""
        if self.file is not None:
            self.file.close()


def find_source(rxfilename: str, allow_pipes: bool, pipe_timeout: float) -> Source:
    """What an entry of wav.scp names; a command is run.

    Args:
        rxfilename: A path, ``<path>.ark:<offset>``, or a command that ends in ``|``.
        allow_pipes: Whether commands are run.
        pipe_timeout: How long one may take, in seconds.

    Raises:
        UtteranceError: There is no such file, the entry is no sound of ESPnet's, or the command
            failed or must not run.
    """
    if rxfilename.endswith("|"):
        written = run_command(rxfilename[:-1], allow_pipes, pipe_timeout)
        return Source(rxfilename, file=written)
    return find_sound(rxfilename)


def file_stats(rxfilename: str, several: bool = False) -> list[os.stat_result]:
    """Of the file, or files, of an entry.

    Args:
        rxfilename: As for :func:`find_source`.
        several: Whether paths are separated by spaces.

    Returns:
        Empty where nothing tells: of commands, of files that are not there.
    """
    if not rxfilename or rxfilename.endswith("|"):
        return []
    paths = rxfilename.split() if several else [rxfilename]
    try:
        return [Path(_ARK_OFFSET.sub("", path)).stat() for path in paths]
    except (OSError, ValueError):
        return []


def file_states(rxfilename: str, several: bool = False) -> list[str]:
    """Size and time of the file, or files, of an entry: what tells that it is another one.

    Args:
        rxfilename: As for :func:`file_stats`.
        several: See there.

    Returns:
        Likewise.
    """
    found = file_stats(rxfilename, several)
    return [f"{file.st_size} bytes, {file.st_mtime_ns} ns" for file in found]


def is_ark_entry(rxfilename: str) -> bool:
    """Whether it is ``<path>.ark:<offset>``, as asr.sh writes it with --audio_format flac.ark."""
    return _ARK_ENTRY.fullmatch(rxfilename) is not None


def find_sound(rxfilename: str, framed: bool = False) -> Source:
    """The file, or the piece of an ark, of an entry of wav.scp that is no command.

    Args:
        rxfilename: The entry.
        framed: Whether an ark has to be ESPnet's: Kaldi's own, of wav-copy, ESPnet reads as
            integers, at another scale than any other file.

    Raises:
        UtteranceError: There is no such file, or the entry is no such sound.
    """
    found = _ARK_ENTRY.fullmatch(rxfilename)
    path = rxfilename if found is None else found[1]
    check_is_file(path)
    if found is None:
        return Source(rxfilename, path=Path(path))
    try:
        with Path(path).open("rb") as f:
            sound = _read_ark_sound(f, int(found[2]), framed)
    except (OSError, ValueError, OverflowError) as e:
        raise UtteranceError("unreadable_audio", f"{rxfilename}: {e}") from e
    return Source(rxfilename, file=io.BytesIO(sound))


def _read_ark_sound(f: BinaryIO, offset: int, framed: bool) -> bytes:
    """The file that an entry holds: with kaldiio's framing, or as Kaldi's wav-copy writes it.

    The framing is AUDIO, how many bytes the length has, and the length; without one, a file begins
    with RIFF and the length of what follows.
    """
    rest = f.seek(0, os.SEEK_END) - offset
    f.seek(offset)
    mark = f.read(len(_RIFF))
    if mark == _RIFF and not framed:
        length = len(_RIFF) + 4 + int.from_bytes(f.read(4), "little")
        f.seek(offset)
    elif mark + f.read(len(_ARK_SOUND) - len(_RIFF)) == _ARK_SOUND:
        length = int.from_bytes(f.read(int.from_bytes(f.read(1), "little")), "little")
    else:
        raise ValueError("no sound as ESPnet's format_wav_scp.py or Kaldi's wav-copy writes it")
    if length > rest:
        raise ValueError("the ark ends before the entry does; copy it again")
    return f.read(length)


def check_is_file(path: str) -> None:
    """Refuse what would wait for input instead of being read: ``-``, devices, named pipes.

    Raises:
        UtteranceError: It is no file.
    """
    try:
        is_file = Path(path).is_file()
    except (OSError, ValueError) as e:  # too long for a name, or a zero byte in it
        raise UtteranceError("unreadable_audio", f"{path}: {e}") from e
    if not is_file:
        what = "not a file" if Path(path).exists() else "no such file"
        raise UtteranceError("unreadable_audio", f"{path or 'no path is given'}: {what}")
