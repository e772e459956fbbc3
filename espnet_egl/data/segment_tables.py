"""What recordings become, written down: Kaldi's tables of clips, and what is in none of them.

Clips, silence and what was skipped add up to the recordings, to the sample.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from humanfriendly.text import pluralize

from espnet_egl.data.channel_dir import unused
from espnet_egl.data.kaldi import (
    Segment,
    read_durations,
    read_pool_table,
    write_spk2utt,
    write_table,
)
from espnet_egl.data.segment_shard import Cut, Piece
from espnet_egl.data.shards import WHOLE, read_whole
from espnet_egl.store.files import write_lines
from espnet_egl.store.tables import SKIPPED_COLUMNS, duration, one_line, write_rows

SILENCE, SKIPPED, SPEECH = "silence.tsv", "skipped.tsv", "utt2speech"
_PLACE = ("start", "end", "seconds")
# Of a clip they say something else than of the recording.
_OWN = {"utt2spk", "utt2dur", "utt2num_samples", "utt2num_frames", SPEECH}


@dataclass
class Total:
    """What recordings became, in seconds.

    Attributes:
        recordings: How many were cut.
        seconds: All of what is known of them.
        clips: How many they became.
        clip_seconds: In clips.
        speech_seconds: Of these, speech.
        silence_seconds: In silence.tsv.
        skipped_seconds: In skipped.tsv, as far as it is known how much that is.
        skipped: How many recordings have a part in it.
        unknown: Of how many of them nobody can tell how long that part is.
        whole: Utterances that were short enough, and are left as they are.
    """

    recordings: int = 0
    seconds: float = 0.0
    clips: int = 0
    clip_seconds: float = 0.0
    speech_seconds: float = 0.0
    silence_seconds: float = 0.0
    skipped_seconds: float = 0.0
    skipped: int = 0
    unknown: int = 0
    whole: int = 0

    def describe(self) -> str:
        """For a person."""
        said = (
            f"{pluralize(self.recordings, 'recording')}, {duration(self.seconds)} = "
            f"{pluralize(self.clips, 'clip')}, "
            f"{duration(self.clip_seconds)} ({duration(self.speech_seconds)} of speech) + silence, "
            f"{duration(self.silence_seconds)} + skipped, {duration(self.skipped_seconds)} of "
            f"{pluralize(self.skipped, 'recording')}"
        )
        if self.unknown:
            said += f", and of {self.unknown} of them a rest of unknown length"
        if self.whole:
            said += f"; left whole, being short enough: {self.whole}"
        return said


@dataclass
class Tables:
    """What is written; ``taken`` are names that no clip may have, beside those that clips have."""

    taken: frozenset[str] = frozenset()
    segments: dict[str, str] = field(default_factory=dict)
    whole: dict[str, Segment] = field(default_factory=dict)
    becomes: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    speech: dict[str, float] = field(default_factory=dict)
    channels: dict[str, str] = field(default_factory=dict)
    silence: list[list[str]] = field(default_factory=list)
    skipped: list[list[str]] = field(default_factory=list)
    total: Total = field(default_factory=Total)


def read_lengths(data_dir: Path) -> dict[str, float]:
    """What tables tell of utterances' lengths."""
    found: dict[str, float] = {}
    names = ["utt2dur"] if (data_dir / "segments").exists() else ["reco2dur", "utt2dur"]
    for name in names:
        if (data_dir / name).exists():
            found |= read_durations(data_dir / name).good
    return found


def _whole(tables: Tables, data_dir: Path) -> dict[str, str]:
    """Of clips of clips, too."""
    known = read_whole(data_dir)
    lines = {}
    for name, place in tables.whole.items():
        of = known.get(place.recording, Segment(place.recording, 0.0, None))
        end = of.end if place.end is None else of.start + place.end
        lines[name] = _line(of, of.start + place.start, end)
    return lines


def add_piece(tables: Tables, piece: Piece, found: Cut | None) -> None:
    """Write down what became of a piece."""
    total, where = tables.total, piece.where
    if found is None and not piece.problem:
        tables.segments[piece.uid] = _line(where, where.start, where.end)
        tables.becomes[piece.uid] = [piece.uid]
        tables.whole[piece.uid] = Segment(piece.uid, 0.0, None)
        total.whole += 1
        return
    found = found or Cut(broken=piece.problem)
    offset = where.start
    total.recordings += 1
    total.seconds += found.samples / found.rate if found.rate else 0.0
    names = []
    for start, end, speech in found.clips:
        name = f"{piece.uid}-{_ms(offset, start):07d}-{_ms(offset, end):07d}"
        name = unused(name, tables.taken)
        seconds = found.seconds(start, end)
        tables.segments[name] = _line(where, offset + start / 1000, offset + end / 1000)
        tables.whole[name] = Segment(piece.uid, start / 1000, end / 1000)
        tables.seconds[name], tables.speech[name] = seconds, min(seconds, speech / 1000)
        if isinstance(where.channel, int):
            tables.channels[name] = f"{where.recording} {_letter(where.channel)}"
        names.append(name)
        total.clip_seconds += seconds
        total.speech_seconds += tables.speech[name]
    total.clips += len(names)
    tables.becomes[piece.uid] = names
    for start, end in found.silences:
        seconds = found.seconds(start, end)
        total.silence_seconds += seconds
        tables.silence.append([piece.uid, *_row(offset, start, end), f"{seconds:.6f}"])
    if found.broken:
        _add_broken(tables, piece, found, offset)


def _add_broken(tables: Tables, piece: Piece, found: Cut, offset: float) -> None:
    total, missing = tables.total, found.missing
    if missing is None and piece.where.end is not None:
        missing = piece.where.end - offset - (found.samples / found.rate if found.rate else 0.0)
    total.skipped += 1
    start = found.length
    reason, detail = found.broken  # type: ignore[misc]
    row = [piece.uid, reason, one_line(detail)]
    if missing is None:
        total.unknown += 1
        tables.skipped.append([*row, f"{offset + start / 1000:.3f}", "", ""])
        return
    total.seconds += missing
    total.skipped_seconds += missing
    place = _row(offset, start, start + round(1000 * missing))
    tables.skipped.append([*row, *place, f"{missing:.6f}"])


def _row(offset: float, start: int, end: int) -> list[str]:
    return [f"{offset + ms / 1000:.3f}" for ms in (start, end)]


def _ms(offset: float, ms: int) -> int:
    return round(1000 * offset) + ms


def _line(where: Segment, start: float, end: float | None) -> str:
    channel = "" if where.channel is None else f" {where.channel}"
    return f"{where.recording} {_time(start)} {-1 if end is None else _time(end)}{channel}"


def _time(seconds: float) -> str:
    """To the millisecond, unless the recording is a segment that begins between two."""
    exact = math.isclose(round(seconds, 3), seconds, abs_tol=1e-7)
    return f"{seconds:.3f}" if exact else f"{seconds:.6f}"


def _letter(channel: int) -> str:
    return chr(ord("A") + channel) if channel < 26 else str(channel + 1)


def no_clip(tables: Tables, data_dir: Path) -> str:
    said = f"{data_dir}: no clip: {tables.total.describe()}"
    return f"{said}, e.g. {': '.join(tables.skipped[0][:3])}" if tables.skipped else said


def write_tables(tables: Tables, data_dir: Path, output_dir: Path) -> None:
    recordings = read_pool_table(data_dir / "wav.scp").good
    used = {line.split()[0] for line in tables.segments.values()}
    write_table(output_dir / "wav.scp", {r: recordings[r] for r in recordings if r in used})
    write_table(output_dir / "segments", tables.segments)
    write_table(output_dir / WHOLE, _whole(tables, data_dir))
    speakers = data_dir / "utt2spk"
    known = read_pool_table(speakers).good if speakers.exists() else {}
    becomes = tables.becomes.items()
    spoken = {name: known.get(uid) or uid for uid, names in becomes for name in names}
    write_table(output_dir / "utt2spk", spoken)
    write_spk2utt(output_dir)
    lengths = read_lengths(data_dir) | tables.seconds
    spread = {name: f"{lengths[name]:.3f}" for name in tables.segments if name in lengths}
    write_table(output_dir / "utt2dur", spread)
    write_table(output_dir / SPEECH, {u: f"{s:.3f}" for u, s in tables.speech.items()})
    for path in sorted(data_dir.glob("utt2*")):
        if path.is_file() and path.name not in _OWN:
            rows = read_pool_table(path).good
            table = {n: rows[uid] for uid, names in becomes if uid in rows for n in names}
            write_table(output_dir / path.name, table)
    if tables.channels:
        write_table(output_dir / "utt2file_and_channel", tables.channels)
    if (data_dir / "reco2file_and_channel").exists():
        rows = read_pool_table(data_dir / "reco2file_and_channel").good
        write_table(output_dir / "reco2file_and_channel", {r: rows[r] for r in rows if r in used})
    # Whatever ESPnet dumped it as, files and entries of arks are read by their own headers.
    write_lines(output_dir / "audio_format", ["wav"])
    write_rows(output_dir / SILENCE, ("utterance", *_PLACE), tables.silence)
    write_rows(output_dir / SKIPPED, (*SKIPPED_COLUMNS, *_PLACE), tables.skipped)
    summary = {name: round(value, 6) for name, value in vars(tables.total).items()}
    write_lines(output_dir / "run.json", [json.dumps(summary, indent=2)])
