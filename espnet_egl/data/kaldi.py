"""Kaldi's table files (``id value`` lines) and data directories."""

from __future__ import annotations

import math
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, NamedTuple, TypeVar

from espnet_egl.errors import DataError
from espnet_egl.store.files import write_lines

# Of a recording's channels: one of them, from 0 on, or the mean of all.
MEAN: Literal["mean"] = "mean"
Channel = int | Literal["mean"]

Row = TypeVar("Row")


def read_table(path: str | Path) -> dict[str, str]:
    """Read ``id value`` lines; a value may be empty or hold spaces.

    Returns:
        id -> value, in the order of the file.

    Raises:
        DataError: The file is missing, not UTF-8, or has a zero byte, a line without an id,
            an id with control characters or an id twice; the message names the line.
    """
    table: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), 1):
        uid, value, problem = _entry(line)
        if not problem and uid in table:
            problem = f"'{uid}' stands twice; keep one of its lines"
        if problem:
            raise DataError(f"{path}:{number}: {problem}")
        table[uid] = value
    return table


def read_pool_table(path: str | Path) -> Rows[str]:
    """As :func:`read_table`, but one bad line is one bad clip; a line of spaces is none.

    An id that stands twice is bad where its lines differ: nobody knows which one is meant.

    Returns:
        What is wrong with a line that has no id is under ``line_N``.

    Raises:
        DataError: The file is missing, not UTF-8, or no line of it is good.
    """
    rows: Rows[str] = Rows({}, {})
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        uid, value, problem = _entry(line)
        if problem:
            rows.bad[f"line_{number}"] = f"{path}:{number}: {problem}"
        elif rows.good.setdefault(uid, value) != value:
            rows.bad[uid] = f"{path}:{number}: '{uid}' stands twice; keep one of its lines"
    for uid in rows.bad:
        rows.good.pop(uid, None)
    if rows.bad and not rows.good:
        rows.all()
    return rows


def _entry(line: str) -> tuple[str, str, str]:
    """Id and value of a line, and what is wrong with it."""
    uid, _, value = line.partition(" ")
    if "\0" in line:
        return "", "", "a zero byte is in it: not a text file, or damaged"
    # As ESPnet splits it: at whatever Unicode takes for a space.
    if not value or uid.split() != [uid]:
        parts = line.split(maxsplit=1)
        if not parts:
            return "", "", "empty line; every line is '<id> <value>'"
        uid, value = parts if len(parts) == 2 else (parts[0], "")
    # What is printable has none: most ids, and looking at every character takes a while.
    if not uid.isprintable() and any(unicodedata.category(c) == "Cc" for c in uid):
        return "", "", f"the id {uid!r} has a control character in it"
    return uid, value.strip(), ""


def read_lines(path: str | Path) -> Iterator[str]:
    """The lines of a text, with their ends; without the byte order mark of some editors.

    Raises:
        DataError: It cannot be read, or is not UTF-8.
    """
    try:
        with Path(path).open(encoding="utf-8-sig") as f:
            yield from f
    except OSError as e:
        raise DataError(f"{path}: cannot be read ({e.strerror})") from e
    except UnicodeDecodeError as e:
        raise DataError(f"{path}: not UTF-8 ({e}); convert it, for example with iconv") from e


class Segment(NamedTuple):
    """A piece of a recording.

    Attributes:
        recording: Its id in wav.scp.
        start: In seconds.
        end: In seconds; None: to the end of the recording.
        channel: From 0 on, as Kaldi counts them, or :data:`MEAN`; None: the file does not say.
    """

    recording: str
    start: float
    end: float | None
    channel: Channel | None = None


@dataclass(frozen=True)
class Rows(Generic[Row]):
    """What a table says of every utterance.

    Attributes:
        good: Utterance id -> what its line says.
        bad: Utterance id -> what is wrong with its line.
    """

    good: dict[str, Row]
    bad: dict[str, str]

    def all(self) -> dict[str, Row]:
        """What every line says.

        Raises:
            DataError: One of them is bad.
        """
        for problem in self.bad.values():
            raise DataError(problem)
        return self.good


def read_segments(path: str | Path) -> Rows[Segment]:
    """Read ``segments``: ``<id> <recording> <start> <end> [<channel>]``, in seconds.

    As Kaldi has it, an end of -1 is that of the recording, and a channel of -1 is any.

    Raises:
        DataError: As :func:`read_table`, or no line of it is one.
    """
    return _read_rows(path, _segment)


def _segment(value: str) -> Segment:
    fields = value.split()
    try:
        recording, start, end = fields[0], *map(float, fields[1:3])
        channel = read_channel(*fields[3:]) if fields[3:] else None
    except (ValueError, TypeError, IndexError):
        raise ValueError(
            f"is not '<id> <recording> <start> <end>' in seconds, but '{value}'"
        ) from None
    if end == -1 and 0 <= start < math.inf:
        return Segment(recording, start, None, channel)
    if not 0 <= start < end < math.inf:
        raise ValueError(f"runs from {start} to {end} s; need 0 <= start < end, or an end of -1")
    return Segment(recording, start, end, channel)


def read_channel(text: str) -> Channel | None:
    """A channel as segments have it.

    Raises:
        ValueError: It is none.
    """
    if text == MEAN:
        return MEAN
    channel = int(text)
    if channel < -1:
        raise ValueError(f"channel {channel}: channels are counted from 0 on")
    return None if channel == -1 else channel


def read_durations(path: str | Path) -> Rows[float]:
    """Read ``utt2dur``: id -> seconds.

    Raises:
        DataError: As :func:`read_table`, or no line of it has a duration.
    """
    return _read_rows(path, _duration)


def _duration(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(f"lasts '{value}'; need a number of seconds above 0")
    return seconds


def _read_rows(path: str | Path, parse: Callable[[str], Row]) -> Rows[Row]:
    """One bad line is one bad clip; where all are, the file is something else."""
    lines = read_pool_table(path)
    rows: Rows[Row] = Rows({}, dict(lines.bad))
    for uid, value in lines.good.items():
        try:
            rows.good[uid] = parse(value)
        except ValueError as e:
            rows.bad[uid] = f"{path}: '{uid}' {e}"
    if rows.bad and not rows.good:
        rows.all()
    return rows


def write_table(path: str | Path, table: dict[str, str]) -> None:
    """Write ``id value`` lines sorted as ``LC_ALL=C sort`` does."""
    write_lines(path, (f"{uid} {table[uid]}".rstrip() for uid in sorted(table)))


def subset_data_dir(
    source: str | Path,
    target: str | Path,
    uids: Iterable[str],
    durations: dict[str, float] | None = None,
    speakers: dict[str, str] | None = None,
) -> None:
    """Write the data directory ``target`` with the utterances ``uids`` of ``source``.

    Every table of ``source`` keyed by utterance comes along, but for ``text``: what is
    selected has no transcript yet. Missing speakers become one speaker per utterance.

    Args:
        source: A Kaldi data directory with wav.scp or feats.scp, perhaps segments.
        target: The directory to write.
        uids: Utterance ids, all in ``source``.
        durations: Utterance id -> seconds, for ``utt2dur``; None: there is none.
        speakers: ``utt2spk`` of ``source``, where it was read already.

    Raises:
        DataError: ``source`` is no data directory or lacks one of the utterances.
    """
    source, target = Path(source), Path(target)
    wanted = set(uids)
    target.mkdir(parents=True, exist_ok=True)
    utterances = _utterance_file(source)
    table = read_pool_table(source / utterances).good
    if missing := wanted - table.keys():
        raise DataError(
            f"{source / utterances} lacks {len(missing)} selected utterances, for example "
            f"'{min(missing)}': it changed since the pool was scored; score it again"
        )
    known = {utterances: table} | ({"utt2spk": speakers} if speakers else {})
    for path in _utterance_tables(source, utterances):
        rows = known.get(path.name) or read_pool_table(path).good
        write_table(target / path.name, {uid: rows[uid] for uid in wanted if uid in rows})
    if utterances == "segments":
        recordings = {value.split()[0] for uid, value in table.items() if uid in wanted}
        for name in ("wav.scp", "reco2file_and_channel", "reco2dur"):
            if (source / name).exists():
                rows = read_pool_table(source / name).good
                write_table(target / name, {r: rows[r] for r in rows if r in recordings})
    for name in ("feats_type", "audio_format", "feats_dim", "frame_shift"):
        if (source / name).exists():
            write_lines(target / name, [(source / name).read_text(encoding="utf-8").strip()])
    known_speakers = read_table(target / "utt2spk") if (target / "utt2spk").exists() else {}
    write_table(target / "utt2spk", {uid: known_speakers.get(uid) or uid for uid in wanted})
    write_spk2utt(target)
    if durations is not None:
        write_table(target / "utt2dur", {uid: f"{durations[uid]:.3f}" for uid in wanted})


def read_utterances(directory: str | Path) -> list[str]:
    """The utterances of a Kaldi data directory.

    Raises:
        DataError: It is none.
    """
    return list(read_table(Path(directory) / _utterance_file(Path(directory))))


def read_ids(path: str | Path) -> list[str]:
    """The first word of every line of a file.

    Raises:
        DataError: It cannot be read.
    """
    return [line.split()[0] for line in read_lines(path) if line.strip()]


def _utterance_file(directory: Path) -> str:
    """The file whose keys are the directory's utterances."""
    for name in ("segments", "wav.scp", "feats.scp"):
        if (directory / name).exists():
            return name
    raise DataError(f"{directory} has neither segments, wav.scp nor feats.scp")


def _utterance_tables(source: Path, utterances: str) -> list[Path]:
    tables = [source / utterances]
    if utterances != "segments" and (source / "feats.scp").exists():
        tables.append(source / "feats.scp")
    maps = (p for p in sorted(source.glob("utt2*")) if p.is_file() and p.name != "utt2dur")
    return list(dict.fromkeys([*tables, *maps]))


def write_spk2utt(directory: Path) -> None:
    """Write ``spk2utt`` from ``utt2spk``."""
    speakers: dict[str, list[str]] = defaultdict(list)
    for uid, speaker in read_table(directory / "utt2spk").items():
        speakers[speaker].append(uid)
    write_table(directory / "spk2utt", {s: " ".join(sorted(u)) for s, u in speakers.items()})
