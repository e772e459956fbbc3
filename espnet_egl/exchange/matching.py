"""Which clip a file, an address or a piece of a recording is of."""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote

from espnet_egl.data.kaldi import Channel
from espnet_egl.store.files import safe_name

# What Label Studio puts before the name of a file that is uploaded.
UPLOADED = re.compile(r"^[0-9a-f]{8}-")
# How the name of a file ends that was handed over, before its suffix.
HASHED = re.compile(r"-[0-9a-f]{8}$")
# Where stage 22 puts the files of clips.
AUDIO_DIR = "audio"
# Seconds by which tools round a time.
ROUNDING = 0.002


class Source(NamedTuple):
    """Where a clip is from.

    Attributes:
        audio: Its recording.
        start: Where it begins there, in seconds.
        end: Where it ends; None: with the recording.
        channel: Of the recording; None: the first.
    """

    audio: str
    start: float
    end: float | None
    channel: Channel | None = None

    def name_of(self, uid: str) -> str:
        """How the clip's file is called where it is handed over, without a suffix."""
        piece = (uid, self.audio, self.start, self.end)
        return safe_name(uid, piece if self.channel is None else (*piece, self.channel))


class Clips:
    """The clips that were handed over, by the names of their files.

    Args:
        sources: Utterance -> where it is from.
        drafts: Utterance -> the draft that went out with it.
    """

    def __init__(
        self, sources: Mapping[str, Source] | None = None, drafts: Mapping[str, str] | None = None
    ):
        self.sources = sources or {}
        self.drafts = drafts or {}
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_recording: dict[str, list[str]] = defaultdict(list)
        self._by_begin: dict[str, list[str]] = defaultdict(list)
        self._folders: set[str] = set()
        for uid, source in self.sources.items():
            name = source.name_of(uid).casefold()
            self._by_name[name].append(uid)
            self._by_begin[HASHED.sub("", name)].append(uid)
            if not source.audio.endswith("|"):
                self._by_recording[_stem(source.audio)].append(uid)
                self._folders.add(_folder(source.audio))

    def of_file(self, address: str, offset: float | None = None) -> str | None:
        """The utterance of a file; None where no clip, or more than one, may be meant.

        Args:
            address: A path or an address, as a tool made it of the file's name.
            offset: Where in the file, in seconds: tells the clips of one recording apart.
        """
        for stem in _stems(address):
            begin = HASHED.sub("", stem) if HASHED.search(stem) else ""
            for found in (
                self._by_name.get(stem, []),
                self._covering(self._of_recording(stem, address), offset),
                self._by_begin.get(begin, []),
            ):
                if len(found) == 1:
                    return found[0]
        return None

    def like(self, name: str) -> str | None:
        """The utterance of a file that was renamed, where its name still tells."""
        name = name.casefold()
        found = [uids for known, uids in self._by_name.items() if known in name]
        if not found:
            # Without its hash a name may be short: it must stand in front, by itself.
            begins = [
                known
                for known in self._by_begin
                if name.startswith(known) and not name[len(known) :][:1].isalnum()
            ]
            found = [self._by_begin[max(begins, key=len)]] if begins else []
        return found[0][0] if len(found) == 1 and len(found[0]) == 1 else None

    def _of_recording(self, stem: str, address: str) -> list[str]:
        """Those whose recording may be meant: it may have moved, but not to where others are."""
        found, folder = self._by_recording.get(stem, []), _folder(_path(address))
        if folder not in self._folders:
            return found
        return [uid for uid in found if folder == _folder(self.sources[uid].audio)]

    def _covering(self, uids: list[str], offset: float | None) -> list[str]:
        """Of clips of one recording, those that hold a place in it; without one, whole ones."""
        if offset is None:
            return [u for u in uids if self.sources[u].start == 0 and self.sources[u].end is None]
        return [
            uid
            for uid in uids
            if self.sources[uid].start - ROUNDING <= offset
            and (self.sources[uid].end or float("inf")) - ROUNDING > offset
        ]


def _stems(address: str) -> Iterator[str]:
    """What the file may be called: as it stands, and without what an upload put before it."""
    stem = _stem(_path(address))
    yield stem
    if UPLOADED.match(stem):
        yield UPLOADED.sub("", stem)


def _path(address: str) -> str:
    """The path in an address of Label Studio or of a storage."""
    if "fileuri=" in address:
        coded = unquote(address.partition("fileuri=")[2].partition("&")[0])
        try:
            address = base64.urlsafe_b64decode(coded).decode("utf-8")
        except (binascii.Error, ValueError):
            return address
    if "?d=" in address:
        address = address.partition("?d=")[2]
    elif "://" in address:
        address = address.partition("?")[0]
    return unquote(address)


def _stem(path: str) -> str:
    name = PurePosixPath(path.replace("\\", "/")).name
    return unicodedata.normalize("NFC", PurePosixPath(name).stem).casefold()


def _folder(path: str) -> str:
    name = PurePosixPath(path.replace("\\", "/")).parent.name
    return unicodedata.normalize("NFC", name).casefold()
