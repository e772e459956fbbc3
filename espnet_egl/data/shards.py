"""What of a pool is transcribed already, and how the rest is cut into shards of one length."""

from __future__ import annotations

import math
import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Container, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from espnet_egl.data.kaldi import (
    MEAN,
    Channel,
    Segment,
    read_durations,
    read_pool_table,
    read_segments,
)
from espnet_egl.errors import DataError

SKIPPED = "skipped.tsv"
# Where in which utterance a clip is that was cut from it, written as segments are of recordings.
WHOLE = "clip2whole"


class Clip(NamedTuple):
    """Where the audio of an utterance comes from.

    Attributes:
        source: A resolved path, or a command; empty: from nowhere.
        start: In seconds.
        end: In seconds.
        channel: None: whichever is read.
    """

    source: str
    start: float
    end: float
    channel: Channel | None = None

    def overlaps(self, other: Clip) -> bool:
        """Whether both are of the same source, and have some of it in common."""
        channels = {self.channel, other.channel}
        same = len(channels) == 1 or bool(channels & {None, MEAN})
        return same and self.start < other.end and other.start < self.end


def clips_of(directory: str | Path, wanted: Container[str] | None = None) -> dict[str, Clip]:
    """Where the audio of every utterance of a Kaldi data directory comes from.

    Args:
        directory: With segments, wav.scp or feats.scp.
        wanted: The utterances asked about, where not all are: to resolve paths takes a while.

    Returns:
        Utterance id -> its clip. An utterance that is a whole recording runs from 0 to infinity;
        one whose segment is none has no audio.

    Raises:
        DataError: A table is missing or malformed.
    """
    directory = Path(directory)
    if (directory / "segments").exists():
        recordings = read_pool_table(directory / "wav.scp").good
        segments = read_segments(directory / "segments")
        clips = dict.fromkeys(segments.bad, Clip("", 0.0, 0.0))
        for uid, cut in segments.good.items():
            if wanted is not None and uid not in wanted:
                continue
            source = _source(recordings.get(cut.recording, cut.recording))
            end = math.inf if cut.end is None else cut.end
            clips[uid] = Clip(source, cut.start, end, cut.channel)
        return clips
    name = next((n for n in ("wav.scp", "feats.scp") if (directory / n).exists()), None)
    if name is None:
        raise DataError(f"{directory} has neither segments, wav.scp nor feats.scp")
    rows = read_pool_table(directory / name)
    clips = dict.fromkeys(rows.bad, Clip("", 0.0, 0.0))
    return clips | {
        uid: Clip(_source(text), 0.0, math.inf)
        for uid, text in rows.good.items()
        if wanted is None or uid in wanted
    }


def _source(text: str) -> str:
    """The same for two ways to write the same path; a command, or nothing, stays as it is."""
    if not text:
        return text
    return " ".join(text.split()) if "|" in text else os.path.realpath(text)


def read_whole(directory: str | Path) -> dict[str, Segment]:
    """Clip -> where it is in an utterance, where a data directory has clips of utterances."""
    path = Path(directory) / WHOLE
    return read_segments(path).good if path.exists() else {}


def set_aside(
    keys: Collection[str], pool_dirs: Sequence[str | Path], exclude_dirs: Sequence[str | Path]
) -> tuple[list[str], list[tuple[str, str, str]]]:
    """Split the pool into what is to be scored and what is already transcribed.

    Args:
        keys: The pool's utterance ids.
        pool_dirs: Data directories of the pool: as the corpus gave it, as ESPnet's stage 3 wrote
            it anew, and of clips that were cut from it: these are known by their utterances, too.
        exclude_dirs: The same of the training, validation and test sets.

    Returns:
        Sorted ids, and (id, reason, detail) of those that share their id or a piece of a
        recording with another set.
    """
    ids: dict[str, str] = {}
    taken: dict[str, list[tuple[Clip, str]]] = defaultdict(list)
    for directory in exclude_dirs:
        for uid, clip in clips_of(directory).items():
            ids.setdefault(uid, str(directory))
            taken[clip.source].append((clip, str(directory)))
    for clips in taken.values():
        clips.sort(key=lambda pair: pair[0][1:3])
    places: dict[str, Segment] = {}
    for directory in pool_dirs:
        places |= read_whole(directory)
    places = {uid: places.get(uid, Segment(uid, 0.0, None)) for uid in keys}
    wanted = {*keys, *(place.recording for place in places.values())}
    own = [clips_of(directory, wanted) for directory in pool_dirs] if keys and taken else []
    free, aside = [], []
    for uid in sorted(keys):
        place = places[uid]
        mine = (clips.get(uid) or _part(clips.get(place.recording), place) for clips in own)
        owner = ids.get(uid) or ids.get(place.recording)
        owner = owner or next((found for c in mine if c and (found := _owner(taken, c))), None)
        if owner is None:
            free.append(uid)
        else:
            aside.append((uid, "already_transcribed", f"also in {owner}"))
    return free, aside


def _part(clip: Clip | None, place: Segment) -> Clip | None:
    if clip is None:
        return None
    end = math.inf if place.end is None else clip.start + place.end
    return clip._replace(start=clip.start + place.start, end=min(clip.end, end))


def _owner(taken: dict[str, list[tuple[Clip, str]]], clip: Clip) -> str | None:
    if not clip.source:
        return None
    # Sorted by start: the overlapping one, if any, begins before this clip's end.
    for other, owner in taken.get(clip.source, []):
        if other.start >= clip.end:
            return None
        if other.overlaps(clip):
            return owner
    return None


def lengths_of(key_file: str | Path, keys: Sequence[str], pool: Mapping[str, str]) -> list[float]:
    """How long the clips are, in one unit, whatever it is.

    No audio is opened: segments, utt2dur or utt2num_samples tell, or else the sizes of the files.
    A clip of which none of them tells is taken to be as long as the others on average.

    Args:
        key_file: The pool's wav.scp, segments or feats.scp.
        keys: Of the utterances wanted.
        pool: What the key file says of each.
    """
    key_file = Path(key_file)
    known: Mapping[str, float] = {}
    if key_file.name == "segments":
        cuts = read_segments(key_file).good
        known = {uid: c.end - c.start for uid, c in cuts.items() if c.end is not None}
    for name in ("utt2dur", "utt2num_samples"):
        path = key_file.with_name(name)
        if not known and path.exists():
            known = read_durations(path).good
    lengths = [known.get(uid) or (0.0 if known else _file_size(pool[uid])) for uid in keys]
    found = [length for length in lengths if length > 0]
    mean = sum(found) / len(found) if found else 1.0
    return [length or mean for length in lengths]


def _file_size(source: str) -> float:
    try:
        return float(Path(source).stat().st_size)
    except OSError:
        return 0.0


def balanced_cuts(lengths: Sequence[float], parts: int) -> list[int]:
    """Where to cut a list so that its parts, none of them empty, are about as long.

    >>> balanced_cuts([1, 1, 1, 3], 2)
    [3]

    Args:
        lengths: Each above 0.
        parts: From 1 to the number of lengths.

    Returns:
        The first index of every part but the first.
    """
    ends = list(accumulate(lengths))
    cuts: list[int] = []
    for part in range(1, parts):
        cut = bisect_left(ends, ends[-1] * part / parts)
        # The clip across the line goes where more of it lies.
        if ends[cut] - ends[-1] * part / parts <= lengths[cut] / 2:
            cut += 1
        least = cuts[-1] + 1 if cuts else 1
        cuts.append(min(max(cut, least), len(lengths) - parts + part))
    return cuts
