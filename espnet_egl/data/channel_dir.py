"""A data directory whose clips are of the channel that is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

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
from espnet_egl.errors import ConfigError, UtteranceError
from espnet_egl.progress import progress
from espnet_egl.store.files import file_hash, parse_json, write_lines

# Of every recording its first channel, the mean of all, an utterance of each; or the number of one,
# from 1 on.
FIRST, EACH = "first", "each"
Choice = int | Literal["first", "mean", "each"]


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
        output_dir: The directory to write; one that was made of the same tables is left.
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
    if manifest.exists() and parse_json(manifest.read_text(encoding="utf-8")) == made_of:
        return output_dir
    recordings = read_pool_table(data_dir / "wav.scp")
    # What is wrong with a line is told when the clip is read.
    if segments.exists():
        cuts, lines = read_segments(segments), read_pool_table(segments).good
        table = {uid: lines.get(uid, "") for uid in cuts.bad}
    else:
        cuts = Rows({uid: Segment(uid, 0.0, None) for uid in recordings.good}, recordings.bad)
        table = {uid: _line(Segment(uid, 0.0, None)) for uid in recordings.bad}
    counts: Mapping[str, int] = {}
    if choice == EACH:
        wanted = {cut.recording for cut in cuts.good.values() if cut.channel is None}
        found = {name: entry for name, entry in recordings.good.items() if name in wanted}
        counts = _count_channels(found, allow_pipes, pipe_timeout)
    becomes = {uid: [uid] for uid in cuts.bad}
    known = cuts.good.keys() | cuts.bad.keys()
    for uid, cut in cuts.good.items():
        pieces = _pieces(uid, cut, choice, counts.get(cut.recording, 1))
        named = {n if n == uid else _unused(n, known): piece for n, piece in pieces.items()}
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
    return output_dir


def _check(data_dir: Path) -> None:
    if not (data_dir / "wav.scp").exists():
        raise ConfigError(f"{data_dir} has no wav.scp: of features no channel can be chosen")
    audio_format = data_dir / "audio_format"
    if audio_format.exists() and "multi" in audio_format.read_text(encoding="utf-8"):
        raise ConfigError(f"{audio_format}: the model takes all channels, none can be chosen")


def _count_channels(
    entries: Mapping[str, str], allow_pipes: bool, pipe_timeout: float
) -> dict[str, int]:
    """Recording -> how many channels it has, of those that can be read."""
    opened = Recordings(allow_pipes, pipe_timeout)
    counts = {}
    for recording, entry in progress(entries.items(), len(entries), unit="recording"):
        try:
            counts[recording] = opened.count_channels(entry)
        except UtteranceError:
            continue  # told when it is scored
    opened.close()
    return counts


def _pieces(uid: str, cut: Segment, choice: Choice, count: int) -> dict[str, Segment]:
    """What an utterance becomes."""
    if cut.channel is not None or (choice == EACH and count == 1):
        return {uid: cut}
    if choice == EACH:
        return {f"{uid}-ch{n + 1}": cut._replace(channel=n) for n in range(count)}
    return {uid: cut._replace(channel=MEAN if choice == MEAN else int(choice) - 1)}


def _unused(name: str, known: set[str]) -> str:
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
