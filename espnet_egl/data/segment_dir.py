"""A data directory whose utterances are clips of the recordings of another one.

Beside Kaldi's tables it says what is in no clip: ``silence.tsv`` and ``skipped.tsv``. Clips,
silence and what was skipped add up to the recordings, to the sample.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from espnet_egl import __version__
from espnet_egl.data.directory import key_file
from espnet_egl.data.kaldi import (
    Segment,
    read_durations,
    read_pool_table,
    write_spk2utt,
    write_table,
)
from espnet_egl.data.recordings import Recordings
from espnet_egl.data.segment_shard import PASSING, Cut, Piece, read_pieces
from espnet_egl.data.segmenting import Rules
from espnet_egl.data.shards import put_aside, split_keys
from espnet_egl.errors import ConfigError, DataError, ManifestError, UtteranceError
from espnet_egl.progress import progress
from espnet_egl.store.files import check_directory, file_hash, parse_json, text_hash, write_lines
from espnet_egl.store.journal import JOURNAL, read_entries
from espnet_egl.store.tables import SKIPPED_COLUMNS, duration, one_line, write_rows

SILENCE, SKIPPED, SPEECH = "silence.tsv", "skipped.tsv", "utt2speech"
_PLACE = ("start", "end", "seconds")
# Of a clip they say something else than of the recording.
_OWN = {"utt2spk", "utt2dur", "utt2num_samples", "utt2num_frames", SPEECH}

# Runs the shards: their directory, how many there are, and directories with earlier ones.
Run = Callable[[Path, int, Sequence[Path]], None]


def settings_of(rules: Rules) -> dict[str, Any]:
    """What determines where recordings are cut, for manifests."""
    versions = {name: version(name) for name in ("silero-vad", "soxr")}
    return {**vars(rules), **versions, "espnet_egl": __version__}


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
            f"{self.recordings} recordings, {duration(self.seconds)} = {self.clips} clips, "
            f"{duration(self.clip_seconds)} ({duration(self.speech_seconds)} of speech) + silence, "
            f"{duration(self.silence_seconds)} + skipped, {duration(self.skipped_seconds)} of "
            f"{self.skipped} recordings"
        )
        if self.unknown:
            said += f", and of {self.unknown} of them a rest of unknown length"
        if self.whole:
            said += f"; {self.whole} that are short enough are left whole"
        return said


@dataclass
class _Tables:
    """What is written."""

    segments: dict[str, str] = field(default_factory=dict)
    becomes: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    speech: dict[str, float] = field(default_factory=dict)
    channels: dict[str, str] = field(default_factory=dict)
    silence: list[list[str]] = field(default_factory=list)
    skipped: list[list[str]] = field(default_factory=list)
    total: Total = field(default_factory=Total)


def segment_pool(
    data_dir: str | Path,
    output_dir: str | Path,
    rules: Rules,
    nj: int,
    run: Run,
    recordings: Recordings,
    longest: float | None = None,
    advice: str = "",
) -> tuple[Path, str]:
    """Cut the recordings of a data directory.

    Args:
        data_dir: A Kaldi data directory with wav.scp; utterances of its segments are cut, too.
        output_dir: The directory to write; one that was made of the same is left.
        rules: How long clips are.
        nj: The largest number of shards.
        run: Runs them.
        recordings: What reads headers.
        longest: Seconds: what is no longer is left whole. None: everything is cut.
        advice: What to do about a directory of other settings.

    Returns:
        The directory, or ``data_dir`` where all is short enough; and what was found, for a person.

    Raises:
        ConfigError: There are features alone, or channels that are read together.
        DataError: A table is missing or malformed, a shard failed, or nothing can be read.
        ManifestError: ``output_dir`` was made with other settings.
    """
    data_dir, output_dir = Path(data_dir), Path(output_dir)
    if (problem := _no_way(data_dir)) is not None:
        if longest is None:
            raise ConfigError(problem)
        return data_dir, ""
    pieces = read_pieces(data_dir)
    settings = {**settings_of(rules), "longest": longest}
    made_of = {"settings": settings, "tables": _hashes(data_dir), "audio": _audio_hash(pieces)}
    manifest = output_dir / "manifest.json"
    known = parse_json(manifest.read_text(encoding="utf-8")) if manifest.exists() else {}
    if known and known["made_of"]["settings"] != settings:
        raise ManifestError(
            _other_settings(output_dir, known["made_of"]["settings"], settings, advice)
        )
    if known.get("made_of") == made_of and not known["passing"]:
        return (output_dir if known["cut"] else data_dir), known["said"]
    chosen = pieces
    if longest is not None:
        chosen = _longer(pieces, _durations(data_dir), longest, recordings)
    note = {"made_of": made_of, "cut": len(chosen), "passing": 0, "said": ""}
    if not chosen:
        if (output_dir / "segments").exists():
            raise DataError(f"{output_dir} has clips of recordings that are gone now. {advice}")
        write_lines(manifest, [json.dumps(note, indent=2)])
        return data_dir, ""
    cuts = _cut(data_dir, output_dir, chosen, rules, nj, run, advice)
    tables = _Tables()
    for uid in sorted(pieces):
        _add(tables, pieces[uid], cuts.get(uid))
    if not tables.segments:
        raise DataError(_nothing(tables, data_dir))
    manifest.unlink(missing_ok=True)
    _write(tables, data_dir, output_dir)
    note["passing"] = sum(not PASSING.isdisjoint(c.broken) for c in cuts.values())
    note["said"] = tables.total.describe()
    write_lines(manifest, [json.dumps(note, indent=2, ensure_ascii=False)])
    return output_dir, str(note["said"])


def _other_settings(
    output_dir: Path, there: Mapping[str, Any], now: Mapping[str, Any], advice: str
) -> str:
    differences = [
        f"  {key}: {there.get(key)!r} there, {now.get(key)!r} now"
        for key in sorted({*there, *now})
        if there.get(key) != now.get(key)
    ]
    found = "\n".join(differences)
    return f"{output_dir} holds clips that were cut with other settings:\n{found}\n{advice}"


def _no_way(data_dir: Path) -> str | None:
    """Why nothing of a directory can be cut."""
    if not (data_dir / "wav.scp").exists():
        key_file(data_dir)
        return f"{data_dir} has no wav.scp: features cannot be cut"
    audio_format = data_dir / "audio_format"
    if audio_format.exists() and "multi" in audio_format.read_text(encoding="utf-8"):
        return f"{audio_format}: the model takes all channels together; they cannot be cut"
    return None


def _hashes(data_dir: Path) -> dict[str, str]:
    maps = (p for p in sorted(data_dir.glob("utt2*")) if p.is_file())
    paths = (data_dir / "wav.scp", data_dir / "segments", data_dir / "reco2dur", *maps)
    return {p.name: file_hash(p) for p in paths if p.exists()}


def _audio_hash(pieces: Mapping[str, Piece]) -> str:
    """Changes with any of the files."""
    states: dict[str, str] = {}
    for piece in pieces.values():
        if piece.entry not in states:
            states[piece.entry] = piece.state
    return text_hash(json.dumps(states))


def _durations(data_dir: Path) -> dict[str, float]:
    """What tables tell of utterances' lengths."""
    found: dict[str, float] = {}
    names = ["utt2dur"] if (data_dir / "segments").exists() else ["reco2dur", "utt2dur"]
    for name in names:
        if (data_dir / name).exists():
            found |= read_durations(data_dir / name).good
    return found


def _longer(
    pieces: Mapping[str, Piece],
    durations: Mapping[str, float],
    longest: float,
    recordings: Recordings,
) -> dict[str, Piece]:
    """Those that are longer, as tables or else headers tell. A command is not run to find out."""
    chosen = {}
    lengths: dict[str, float] = {}
    for uid, piece in progress(sorted(pieces.items()), len(pieces), unit="header"):
        where, entry = piece.where, piece.entry
        if where.end is not None:
            seconds = where.end - where.start
        elif uid in durations:
            seconds = durations[uid]
        elif not entry or entry.endswith("|"):
            continue
        else:
            if entry not in lengths:
                lengths[entry] = _length(recordings, entry, where.start + longest)
            seconds = lengths[entry] - where.start
        if seconds > longest:
            chosen[uid] = piece
    recordings.close()
    return chosen


def _length(recordings: Recordings, entry: str, most: float) -> float:
    try:
        return recordings.seconds_of(entry, most)
    except UtteranceError:
        return 0.0  # told when it is scored


def _cut(
    data_dir: Path,
    output_dir: Path,
    chosen: Mapping[str, Piece],
    rules: Rules,
    nj: int,
    run: Run,
    advice: str,
) -> dict[str, Cut]:
    """What became of every piece, by shards."""
    logdir, source = output_dir / "logdir", key_file(data_dir)
    for shard in sorted(output_dir.glob("logdir*/output.*")):
        check_directory(shard, settings_of(rules), advice)
    table = read_pool_table(source).good
    keys = output_dir / "to_cut" / source.name
    write_table(keys, {uid: table.get(uid, "") for uid in chosen})
    lengths = {u: f"{s:.3f}" for u, s in _durations(data_dir).items() if u in chosen}
    if lengths:
        write_table(keys.with_name("utt2dur"), lengths)
    earlier = put_aside(logdir, keys)
    nj = split_keys(keys, nj, logdir, advice=advice)
    run(logdir, nj, earlier)
    cuts: dict[str, Cut] = {}
    for job in range(1, nj + 1):
        journal = logdir / f"output.{job}" / JOURNAL
        cuts |= {entry["uid"]: Cut.of(entry) for entry in read_entries(journal)}
    if lost := chosen.keys() - cuts.keys():
        raise DataError(
            f"the shards in {logdir} lack {len(lost)} recordings, e.g. '{min(lost)}': run the same "
            "command again"
        )
    for directory in earlier:
        shutil.rmtree(directory)
    return cuts


def _add(tables: _Tables, piece: Piece, found: Cut | None) -> None:
    """Write down what became of a piece."""
    total, where = tables.total, piece.where
    if found is None and not piece.problem:
        tables.segments[piece.uid] = _line(where, where.start, where.end)
        tables.becomes[piece.uid] = [piece.uid]
        total.whole += 1
        return
    found = found or Cut(broken=piece.problem)
    offset = where.start
    total.recordings += 1
    total.seconds += found.samples / found.rate if found.rate else 0.0
    names = []
    for start, end, speech in found.clips:
        name = f"{piece.uid}-{_ms(offset, start):07d}-{_ms(offset, end):07d}"
        seconds = found.seconds(start, end)
        tables.segments[name] = _line(where, offset + start / 1000, offset + end / 1000)
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


def _add_broken(tables: _Tables, piece: Piece, found: Cut, offset: float) -> None:
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


def _nothing(tables: _Tables, data_dir: Path) -> str:
    said = f"{data_dir}: no clip: {tables.total.describe()}"
    return f"{said}, e.g. {': '.join(tables.skipped[0][:3])}" if tables.skipped else said


def _write(tables: _Tables, data_dir: Path, output_dir: Path) -> None:
    recordings = read_pool_table(data_dir / "wav.scp").good
    used = {line.split()[0] for line in tables.segments.values()}
    write_table(output_dir / "wav.scp", {r: recordings[r] for r in recordings if r in used})
    write_table(output_dir / "segments", tables.segments)
    speakers = data_dir / "utt2spk"
    known = read_pool_table(speakers).good if speakers.exists() else {}
    becomes = tables.becomes.items()
    spoken = {name: known.get(uid) or uid for uid, names in becomes for name in names}
    write_table(output_dir / "utt2spk", spoken)
    write_spk2utt(output_dir)
    lengths = _durations(data_dir) | tables.seconds
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
