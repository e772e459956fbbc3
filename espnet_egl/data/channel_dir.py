"""A data directory whose clips are of the channel that is asked for."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from espnet_egl.data.kaldi import (
    MEAN,
    Rows,
    Segment,
    read_pool_table,
    read_segments,
    write_spk2utt,
    write_table,
)
from espnet_egl.data.pipes import PIPE_TIMEOUT
from espnet_egl.data.recordings import Recordings
from espnet_egl.data.sources import file_states
from espnet_egl.errors import ConfigError, UtteranceError
from espnet_egl.progress import progress
from espnet_egl.store.files import file_hash, parse_json, write_lines

# Of every recording its first channel, the mean of all, an utterance of each; or the number of one,
# from 1 on.
FIRST, EACH = "first", "each"
Choice = int | Literal["first", "mean", "each"]

# Recording, how many channels it has, and of which file they were counted.
COUNTS = "reco2channels"


class Counted(NamedTuple):
    """The channels of a recording.

    Attributes:
        channels: How many; 1 where it cannot be read.
        state: Of its file, see :func:`~espnet_egl.data.sources.file_states`.
    """

    channels: int
    state: str

    @property
    def line(self) -> str:
        """As it is written."""
        return f"{self.channels} {self.state}"


def choose_channel(
    data_dir: str | Path,
    choice: Choice,
    output_dir: str | Path,
    allow_pipes: bool = True,
    pipe_timeout: float = PIPE_TIMEOUT,
) -> Path:
    """Write a data directory whose ``segments`` name the channel, as Kaldi has it.

    With :data:`EACH`, an utterance ``call1`` of a recording with two channels becomes ``call1-ch1``
    and ``call1-ch2``, and its speaker likewise; what has one channel, or cannot be read, stays as
    it is. Segments that name a channel keep it.

    Args:
        data_dir: A Kaldi data directory with wav.scp.
        choice: See :data:`Choice`.
        output_dir: The directory to write; one that was made of the same tables is left, but
            for recordings whose files changed since, and their channels with them.
        allow_pipes: Whether commands are run, to count their channels.
        pipe_timeout: How long such a command may take, in seconds.

    Returns:
        The directory; ``data_dir`` itself where the first channel is asked for.

    Raises:
        ConfigError: It has features alone, or its channels are read together.
        DataError: A table is missing or malformed.
    """
    data_dir, output_dir = Path(data_dir), Path(output_dir)
    if choice == FIRST:
        return data_dir
    _check(data_dir)
    segments = data_dir / "segments"
    maps = [p for p in sorted(data_dir.glob("utt2*")) if p.is_file()]
    sources = [data_dir / "wav.scp", *maps, *([segments] if segments.exists() else [])]
    made_of = {"channel": str(choice)} | {p.name: file_hash(p) for p in sources}
    manifest = output_dir / "manifest.json"
    is_made = manifest.exists() and parse_json(manifest.read_text(encoding="utf-8")) == made_of
    if is_made and choice != EACH:
        return output_dir
    recordings = read_pool_table(data_dir / "wav.scp")
    # What is wrong with a line is told when the clip is read.
    if segments.exists():
        cuts, lines = read_segments(segments), read_pool_table(segments).good
        table = {uid: lines.get(uid, "") for uid in cuts.bad}
    else:
        cuts = Rows({uid: Segment(uid, 0.0, None) for uid in recordings.good}, recordings.bad)
        table = {uid: _line(Segment(uid, 0.0, None)) for uid in recordings.bad}
    counts: dict[str, Counted] = {}
    if choice == EACH:
        wanted = {cut.recording for cut in cuts.good.values() if cut.channel is None}
        found = {name: entry for name, entry in recordings.good.items() if name in wanted}
        known = _read_counts(output_dir) if is_made else {}
        counts = _count_channels(found, known, allow_pipes, pipe_timeout)
        had = {name: counted.channels for name, counted in known.items()}
        is_made = is_made and all(had.get(n) == counts[n].channels for n in counts)
    if is_made:
        _write_counts(output_dir, counts)
        return output_dir
    becomes = {uid: [uid] for uid in cuts.bad}
    taken = cuts.good.keys() | cuts.bad.keys()
    for uid, cut in cuts.good.items():
        count = counts[cut.recording].channels if cut.recording in counts else 1
        pieces = _pieces(uid, cut, choice, count)
        named = {n if n == uid else unused(n, taken): piece for n, piece in pieces.items()}
        becomes[uid] = list(named)
        table |= {name: _line(piece) for name, piece in named.items()}
    write_table(output_dir / "wav.scp", recordings.good)
    write_table(output_dir / "segments", table)
    for path in maps:
        rows = read_pool_table(path).good
        spread = {n: rows[uid] for uid, names in becomes.items() if uid in rows for n in names}
        write_table(output_dir / path.name, spread)
    _write_speakers(data_dir, output_dir, becomes)
    # Whatever ESPnet dumped it as, files and entries of arks are read by their own headers.
    write_lines(output_dir / "audio_format", ["wav"])
    write_lines(manifest, [json.dumps(made_of, indent=2)])
    if choice == EACH:  # last: what is cut short is counted again
        _write_counts(output_dir, counts)
    return output_dir


def _check(data_dir: Path) -> None:
    if not (data_dir / "wav.scp").exists():
        raise ConfigError(f"{data_dir} has no wav.scp: of features no channel can be chosen")
    audio_format = data_dir / "audio_format"
    if audio_format.exists() and "multi" in audio_format.read_text(encoding="utf-8"):
        raise ConfigError(f"{audio_format}: the model takes all channels, none can be chosen")


def _read_counts(output_dir: Path) -> dict[str, Counted]:
    """What was counted the last time."""
    path = output_dir / COUNTS
    rows = read_pool_table(path).good if path.exists() else {}
    parts = {name: value.partition(" ") for name, value in rows.items()}
    return {name: Counted(int(count), state) for name, (count, _, state) in parts.items()}


def _write_counts(output_dir: Path, counts: Mapping[str, Counted]) -> None:
    write_table(output_dir / COUNTS, {name: counted.line for name, counted in counts.items()})


def _count_channels(
    entries: Mapping[str, str],
    known: Mapping[str, Counted],
    allow_pipes: bool,
    pipe_timeout: float,
) -> dict[str, Counted]:
    """Recording -> its channels; counted again where the file is another one by now."""
    states = {name: "".join(file_states(entry)) for name, entry in entries.items()}
    counts = {
        name: known[name]
        for name, state in states.items()
        if name in known and (not state or state == known[name].state)
    }
    to_count = [name for name in entries if name not in counts]
    opened = Recordings(allow_pipes, pipe_timeout)
    for name in progress(to_count, len(to_count), unit="recording") if to_count else ():
        try:
            channels = opened.count_channels(entries[name])
        except UtteranceError:
            channels = 1  # told when it is scored
        counts[name] = Counted(channels, states[name])
    opened.close()
    return counts


def _pieces(uid: str, cut: Segment, choice: Choice, count: int) -> dict[str, Segment]:
    """What an utterance becomes."""
    if cut.channel is not None or (choice == EACH and count == 1):
        return {uid: cut}
    if choice == EACH:
        return {f"{uid}-ch{n + 1}": cut._replace(channel=n) for n in range(count)}
    return {uid: cut._replace(channel=MEAN if choice == MEAN else int(choice) - 1)}


def unused(name: str, known: Container[str]) -> str:
    """A name that is not among those known."""
    while name in known:
        name += "_"
    return name


def _line(cut: Segment) -> str:
    end = -1 if cut.end is None else cut.end
    channel = "" if cut.channel is None else f" {cut.channel}"
    return f"{cut.recording} {cut.start} {end}{channel}"


def _write_speakers(data_dir: Path, output_dir: Path, becomes: Mapping[str, list[str]]) -> None:
    """Two channels of a call are two speakers."""
    path = data_dir / "utt2spk"
    speakers = read_pool_table(path).good if path.exists() else {}
    spread = {
        name: (speakers.get(uid) or uid) + name.removeprefix(uid)
        for uid, names in becomes.items()
        for name in names
    }
    write_table(output_dir / "utt2spk", spread)
    write_spk2utt(output_dir)
