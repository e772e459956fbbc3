"""A data directory whose utterances are clips of the recordings of another one.

Beside Kaldi's tables it says what is in no clip: ``silence.tsv`` and ``skipped.tsv``. Clips,
silence and what was skipped add up to the recordings, to the sample.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Container, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from humanfriendly.text import pluralize

from espnet_egl import __version__
from espnet_egl.data.directory import key_file
from espnet_egl.data.kaldi import (
    read_durations,
    read_pool_table,
    write_table,
)
from espnet_egl.data.recordings import Recordings
from espnet_egl.data.segment_shard import PASSING, Cut, Piece, read_pieces
from espnet_egl.data.segment_split import put_aside, split_recordings
from espnet_egl.data.segment_tables import (
    Tables,
    add_piece,
    no_clip,
    read_lengths,
    write_tables,
)
from espnet_egl.data.segmenting import Rules
from espnet_egl.data.shards import WHOLE
from espnet_egl.data.split import CUT_FROM, check_pool, pool_name
from espnet_egl.errors import ConfigError, DataError, ManifestError, UtteranceError
from espnet_egl.progress import progress
from espnet_egl.store.files import check_directory, file_hash, parse_json, text_hash, write_lines
from espnet_egl.store.journal import JOURNAL, read_entries

# Runs the shards: their directory, how many there are, and directories with earlier ones.
Run = Callable[[Path, int, Sequence[Path]], None]


def settings_of(rules: Rules) -> dict[str, Any]:
    """What determines where recordings are cut, for manifests."""
    versions = {name: version(name) for name in ("silero-vad", "soxr")}
    return {**vars(rules), **versions, "espnet_egl": __version__}


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
        ManifestError: ``output_dir`` was made with other settings, or of another pool.
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
    pool = pool_name(key_file(data_dir))
    check_pool(output_dir, known.get(CUT_FROM, pool), pool, advice)
    if known and known["made_of"]["settings"] != settings:
        raise ManifestError(
            _other_settings(output_dir, known["made_of"]["settings"], settings, advice)
        )
    if known.get("made_of") == made_of and not known["passing"]:
        return (output_dir if known["said"] else data_dir), known["said"]
    chosen = pieces
    if longest is not None:
        lengths = _dumped_lengths(data_dir, pieces, recordings) | read_lengths(data_dir)
        to_cut = _to_cut(data_dir, output_dir)
        before = read_pool_table(to_cut).good if to_cut.exists() else {}
        chosen = _longer(pieces, lengths, longest, recordings, before)
    note: dict[str, Any] = {CUT_FROM: pool, "made_of": made_of, "passing": 0, "said": ""}
    if not chosen and not (output_dir / "segments").exists():
        write_lines(manifest, [json.dumps(note, indent=2)])
        return data_dir, ""
    # What was cut once stays a directory of its own, though all that is left is whole.
    cuts = _cut(data_dir, output_dir, chosen, rules, nj, run, advice) if chosen else {}
    tables = Tables(frozenset(pieces))
    for uid in sorted(pieces):
        add_piece(tables, pieces[uid], cuts.get(uid))
    if not tables.segments:
        raise DataError(no_clip(tables, data_dir))
    manifest.unlink(missing_ok=True)
    write_tables(tables, data_dir, output_dir)
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
    paths = (*(data_dir / name for name in ("wav.scp", "segments", "reco2dur", WHOLE)), *maps)
    return {p.name: file_hash(p) for p in paths if p.exists()}


def _audio_hash(pieces: Mapping[str, Piece]) -> str:
    """Changes with any of the files."""
    states: dict[str, str] = {}
    for piece in pieces.values():
        if piece.entry not in states:
            states[piece.entry] = piece.state
    return text_hash(json.dumps(states))


def _dumped_lengths(
    data_dir: Path, pieces: Mapping[str, Piece], recordings: Recordings
) -> dict[str, float]:
    """What asr.sh's stage 3 tells of what it wrote, all at one rate: arks are read as a whole."""
    path = data_dir / "utt2num_samples"
    if not path.exists() or (data_dir / "segments").exists():
        return {}
    samples = read_durations(path).good
    for uid in samples.keys() & pieces.keys():
        try:
            rate = recordings.rate_of(pieces[uid].entry)
        except UtteranceError:
            continue
        return {uid: count / rate for uid, count in samples.items()}
    return {}


def _longer(
    pieces: Mapping[str, Piece],
    durations: Mapping[str, float],
    longest: float,
    recordings: Recordings,
    before: Container[str],
) -> dict[str, Piece]:
    """Those that are longer, as tables or else headers tell. A command is not run to find out.

    What was cut before, and whose length cannot be told now, stays cut.
    """
    chosen = {}
    lengths: dict[str, float | None] = {}
    for uid, piece in progress(sorted(pieces.items()), len(pieces), unit="header"):
        where, entry = piece.where, piece.entry
        seconds: float | None = None
        if where.end is not None:
            seconds = where.end - where.start
        elif uid in durations:
            seconds = durations[uid]
        elif entry and not entry.endswith("|"):
            if entry not in lengths:
                lengths[entry] = _length(recordings, entry, where.start + longest)
            found = lengths[entry]
            seconds = None if found is None else found - where.start
        if uid in before if seconds is None else seconds > longest:
            chosen[uid] = piece
    recordings.close()
    return chosen


def _length(recordings: Recordings, entry: str, most: float) -> float | None:
    try:
        return recordings.seconds_of(entry, most)
    except UtteranceError:
        return None  # told when it is scored


def _to_cut(data_dir: Path, output_dir: Path) -> Path:
    """The table of what was cut the last time."""
    return output_dir / "to_cut" / key_file(data_dir).name


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
    logdir, keys = output_dir / "logdir", _to_cut(data_dir, output_dir)
    for shard in sorted(output_dir.glob("logdir*/output.*")):
        check_directory(shard, settings_of(rules), advice)
    table = read_pool_table(key_file(data_dir)).good
    write_table(keys, {uid: table.get(uid, "") for uid in chosen})
    lengths = {u: f"{s:.3f}" for u, s in read_lengths(data_dir).items() if u in chosen}
    if lengths:
        write_table(keys.with_name("utt2dur"), lengths)
    earlier = put_aside(logdir, keys)
    nj = split_recordings(keys, nj, logdir)
    run(logdir, nj, earlier)
    cuts: dict[str, Cut] = {}
    for job in range(1, nj + 1):
        journal = logdir / f"output.{job}" / JOURNAL
        cuts |= {entry["uid"]: Cut.of(entry) for entry in read_entries(journal)}
    if lost := chosen.keys() - cuts.keys():
        raise DataError(
            f"the shards in {logdir} lack {pluralize(len(lost), 'recording')}, e.g. '{min(lost)}': "
            "run the same command again"
        )
    for directory in earlier:
        shutil.rmtree(directory)
    return cuts
