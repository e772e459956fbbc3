"""What the pool and the selection consist of, by duration and by every map of the pool."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_egl.data.kaldi import read_segments, read_table
from espnet_egl.loop.worth import Say
from espnet_egl.report.blocks import Shares

if TYPE_CHECKING:
    import pandas as pd

# What a table names by itself; the others are taken together.
MOST_VALUES = 12
# Of values that are numbers.
BINS = 6
# Told by the duration, or no property of the clip.
NOT_MAPS = ("utt2dur", "utt2num_samples", "utt2num_frames", "utt2uniq")
RECORDING = "recording"
KNOWN = {
    RECORDING: "recording",
    "utt2spk": "speaker",
    "utt2snr": "noise (SNR, dB)",
    "utt2lang": "language",
}


def read_maps(directory: str | Path) -> dict[str, dict[str, str]]:
    """What segments and the utt2* files of a Kaldi data directory say: name -> utterance -> value.

    Without those in which every utterance has a value of its own, which group nothing.

    Raises:
        DataError: One is malformed.
    """
    maps = {}
    if (segments := Path(directory) / "segments").exists():
        cuts = read_segments(segments).good
        recordings = {uid: cut.recording for uid, cut in cuts.items()}
        if 1 < len(set(recordings.values())) < len(recordings):
            maps[RECORDING] = recordings
    for path in sorted(Path(directory).glob("utt2*")):
        if path.name in NOT_MAPS or not path.is_file():
            continue
        values = read_table(path)
        if len(set(values.values())) < len(values):
            maps[path.name] = values
    return maps


def map_name(name: str, say: Say) -> str:
    """What a map is called for people."""
    return say(KNOWN[name]) if name in KNOWN else name.removeprefix("utt2")


def shares(
    pool: pd.Series, chosen: pd.Series, maps: Mapping[str, Mapping[str, str]], say: Say
) -> list[Shares]:
    """A table for the duration and one a map.

    Args:
        pool: Utterance -> seconds.
        chosen: Likewise, of the selection.
        maps: See :func:`read_maps`.
        say: The language.
    """
    found = {say("duration, seconds"): None, **{map_name(name, say): maps[name] for name in maps}}
    tables = []
    for name, values in found.items():
        uids = pool.index.to_series()
        texts = pool.astype(str) if values is None else uids.map(values.get).fillna("")
        groups = _grouped(texts, say)
        if groups.nunique() < 2:
            continue
        one = 100 * pool.groupby(groups, sort=False).sum() / pool.sum()
        inside = chosen.index.intersection(pool.index)
        other = 100 * chosen[inside].groupby(groups[inside], sort=False).sum() / chosen.sum()
        rows = [(str(v), float(one[v]), float(other.get(v, 0.0))) for v in _ordered(groups, one)]
        title = say("Pool and selection by {name}", name=name)
        head = [name, say("of the pool's audio"), say("of the selection's audio")]
        tables.append(Shares(title, head, rows))
    return tables


def _grouped(values: pd.Series, say: Say) -> pd.Series:
    """Values, or ranges of numbers, or the most frequent values; ranges are ordered."""
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce")
    few = values.nunique() <= MOST_VALUES
    if few and numbers.isna().any():
        return values.replace("", say("not known"))
    if not few and numbers.notna().mean() > 0.3 and numbers.nunique() > BINS:
        # What is no number stands by itself, such as "clean" among signal-to-noise ratios.
        words = values[numbers.isna()].replace("", say("not known"))
        if words.nunique() <= MOST_VALUES:
            ranges = pd.cut(numbers, BINS, precision=2)
            names = {i: f"{i.left:.3g} \u2013 {i.right:.3g}" for i in ranges.cat.categories}
            order = [*dict.fromkeys(names.values()), *sorted(set(words) - set(names.values()))]
            text = ranges.map(names).astype(object).where(numbers.notna(), words)
            return pd.Series(pd.Categorical(text, order, ordered=True), values.index)
    values = values.replace("", say("not known"))
    frequent = values.value_counts().index[:MOST_VALUES]
    return values.where(values.isin(frequent), say("all others"))


def _ordered(groups: pd.Series, size: pd.Series) -> list[str]:
    """Ranges by their numbers, values by their size."""
    if hasattr(groups, "cat"):
        return [v for v in groups.cat.categories if v in size.index]
    return list(size.sort_values(ascending=False, kind="stable").index)
