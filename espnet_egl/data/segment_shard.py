"""Recordings become clips: a shard of them, journalled one after the other.

What became of a recording is a line of the journal. Times in it are milliseconds from where its
piece begins; lengths are counted in samples, so that they add up.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from humanfriendly.text import pluralize

from espnet_egl.data.channels import pick
from espnet_egl.data.completeness import BrokenOffError
from espnet_egl.data.kaldi import Segment, read_pool_table, read_segments
from espnet_egl.data.recordings import Recordings
from espnet_egl.data.segmenting import Rules, Span, cut, find_speech, gaps, overlap
from espnet_egl.data.sources import file_states
from espnet_egl.errors import StorageError, UtteranceError
from espnet_egl.progress import progress
from espnet_egl.store.journal import JOURNAL, Journal, read_entries
from espnet_egl.store.tables import one_line

logger = logging.getLogger(__name__)

# One recording that cannot be read is listed; so many, and nothing else, are a disk that is gone.
UNREAD_IN_A_ROW = 10
# What may be otherwise the next time.
PASSING = frozenset({"unreadable_audio", "failed_pipe", "pipe_timeout", "pipe_not_allowed"})


@dataclass(frozen=True)
class Piece:
    """What is to be cut: a recording, a channel of it, or a part.

    Attributes:
        uid: What it is called.
        entry: What wav.scp says; empty: nothing.
        where: In the recording.
        problem: Why it cannot be read, reason and detail; empty if it may be.
    """

    uid: str
    entry: str
    where: Segment
    problem: tuple[str, str] | tuple[()] = ()

    @property
    def identity(self) -> list[Any]:
        """What tells it from others of its name."""
        return [self.entry, *self.where[1:]]

    @property
    def state(self) -> str:
        """Of its file; empty where nothing tells, or it is not there."""
        return "".join(file_states(self.entry))


def read_pieces(data_dir: str | Path) -> dict[str, Piece]:
    """What a data directory with wav.scp has to cut: its utterances.

    Raises:
        DataError: A table is missing or malformed.
    """
    data_dir = Path(data_dir)
    recordings = read_pool_table(data_dir / "wav.scp")
    if not (data_dir / "segments").exists():
        pieces = {u: Piece(u, entry, Segment(u, 0.0, None)) for u, entry in recordings.good.items()}
        bad = {u: ("bad_line", problem) for u, problem in recordings.bad.items()}
    else:
        cuts = read_segments(data_dir / "segments")
        pieces = {u: _piece(u, where, recordings.good) for u, where in cuts.good.items()}
        bad = {u: ("bad_segment", problem) for u, problem in cuts.bad.items()}
    return pieces | {u: Piece(u, "", Segment(u, 0.0, None), problem) for u, problem in bad.items()}


def _piece(uid: str, where: Segment, recordings: Mapping[str, str]) -> Piece:
    if where.recording in recordings:
        return Piece(uid, recordings[where.recording], where)
    return Piece(uid, "", where, ("missing_recording", f"'{where.recording}' is not in wav.scp"))


@dataclass(frozen=True)
class Cut:
    """What became of a piece.

    Attributes:
        rate: In Hz; 0 if nothing of it could be decoded.
        samples: That could be decoded.
        clips: Begin and end of each, and how much of it is speech, in milliseconds.
        broken: Reason and detail, where the rest could not be decoded.
        missing: Seconds of that rest; None: nobody can tell.
    """

    rate: int = 0
    samples: int = 0
    clips: tuple[tuple[int, int, int], ...] = ()
    broken: tuple[str, str] | tuple[()] = ()
    missing: float | None = None

    @property
    def length(self) -> int:
        """Of what could be decoded, in milliseconds, of which the last one may be broken."""
        return -(-1000 * self.samples // self.rate) if self.rate else 0

    @property
    def silences(self) -> list[Span]:
        """What is in none of the clips."""
        return gaps([Span(start, end) for start, end, _ in self.clips], self.length)

    def seconds(self, start: int, end: int) -> float:
        """How long a part is that is given in milliseconds, to the sample."""
        first, last = (min(self.samples, round(ms * self.rate / 1000)) for ms in (start, end))
        return (last - first) / self.rate

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Cut:
        """Of a line of the journal."""
        clips = tuple((start, end, speech) for start, end, speech in entry["clips"])
        broken = tuple(entry["broken"])
        return cls(entry["rate"], entry["samples"], clips, broken, entry["missing"])  # type: ignore[arg-type]


def cut_piece(piece: Piece, recordings: Recordings, listener: Any, rules: Rules) -> Cut:
    """Listen to a piece and cut it; what goes wrong with it is part of the answer.

    Args:
        piece: What to cut.
        recordings: What reads it.
        listener: A :class:`~espnet_egl.data.speech.Listener`.
        rules: How long clips are.
    """
    if piece.problem:
        return Cut(broken=piece.problem)
    where = piece.where
    broken: UtteranceError | None = None
    try:
        for block, rate in recordings.walk(piece.entry, where.start, where.end):
            listener.hear(pick(block, where.channel, piece.entry), rate)
    except UtteranceError as e:
        broken = e
    heard = listener.finish()
    missing = broken.missing if isinstance(broken, BrokenOffError) else float("inf")
    speech = find_speech(heard.probabilities, heard.length)
    clips, first = [], 0
    for clip in cut(speech, heard.power, heard.length, rules):
        while first < len(speech) and speech[first].end <= clip.start:
            first += 1
        clips.append((*clip, overlap(clip, speech, first)))
    return Cut(
        heard.rate,
        heard.samples,
        tuple(clips),
        (broken.reason, one_line(broken.detail)) if broken else (),
        None if missing == float("inf") else missing,
    )


def segment_shard(
    pieces: Mapping[str, Piece],
    output_dir: str | Path,
    rules: Rules,
    recordings: Recordings,
    earlier: Iterable[str | Path] = (),
) -> None:
    """Cut pieces, and leave a journal; what it has already, and is as it was, is not cut again.

    Args:
        pieces: Of this shard.
        output_dir: Where the journal goes.
        rules: How long clips are.
        recordings: What reads them.
        earlier: Directories with shards of other lists, whose journals may have some of them.

    Raises:
        StorageError: Nothing can be read: a disk is gone; or the journal cannot be written.
    """
    from espnet_egl.data.speech import Listener

    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(Journal(output_dir / JOURNAL)) as journal:
        again = [e["uid"] for e in journal.entries() if not _stands(e, pieces)]
        if again:
            changed = pluralize(len(again), "recording")
            logger.info(f"{changed} changed, or may be read now, e.g. '{again[0]}'")
            journal.take_back(again)
        for entry in _entries(earlier):
            if entry["uid"] in pieces and _stands(entry, pieces):
                journal.append(entry)
        if journal.done:
            logger.info(
                f"Resuming after {len(journal.done)} of {pluralize(len(pieces), 'recording')}"
            )
        left = [piece for uid, piece in pieces.items() if uid not in journal.done]
        listener = Listener() if left else None
        unread: list[dict[str, Any]] = []
        any_read = any(e["rate"] for e in journal.entries())
        for piece in progress(left, len(pieces), len(journal.done), unit="recording"):
            state = piece.state
            found = cut_piece(piece, recordings, listener, rules)
            if found.broken:
                logger.warning(f"{piece.uid}: {': '.join(found.broken)}")
            any_read = any_read or bool(found.rate)
            unread.append(_entry(piece, state, found))
            if any_read or len(unread) == len(left):
                _check_disk(unread, any_read)
                while unread:
                    journal.append(unread.pop(0))
        recordings.close()


def _check_disk(unread: list[dict[str, Any]], any_read: bool) -> None:
    lost = all(entry["broken"] and entry["broken"][0] in PASSING for entry in unread)
    if not any_read and lost and len(unread) >= UNREAD_IN_A_ROW:
        first = unread[0]
        raise StorageError(
            f"none of {pluralize(len(unread), 'recording')} can be read, e.g. '{first['uid']}' "
            f"({': '.join(first['broken'])}): is the disk with them there? Nothing of them is "
            "written down; run the same command again when it is"
        )


def _entry(piece: Piece, state: str, found: Cut) -> dict[str, Any]:
    return {
        "uid": piece.uid,
        "of": piece.identity,
        "file": state,
        "rate": found.rate,
        "samples": found.samples,
        "clips": [list(clip) for clip in found.clips],
        "broken": list(found.broken),
        "missing": found.missing,
    }


def _stands(entry: Mapping[str, Any], pieces: Mapping[str, Piece]) -> bool:
    """Whether a line of a journal is of the recording that is there now. One that is gone is no
    other: what was made of it stays, as it would if the whole disk were gone."""
    piece = pieces.get(entry["uid"])
    if piece is None or entry["of"] != piece.identity:
        return piece is None
    state = piece.state
    may_be_read = entry["broken"] and entry["broken"][0] in PASSING and not entry["file"]
    return not (state and state != entry["file"]) and not may_be_read


def _entries(earlier: Iterable[str | Path]) -> Iterator[dict[str, Any]]:
    for directory in earlier:
        for path in sorted(Path(directory).glob(f"output.*/{JOURNAL}")):
            yield from read_entries(path)
