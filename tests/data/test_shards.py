from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_egl.data.arrivals import plan_shards
from espnet_egl.data.shards import balanced_cuts, lengths_of, set_aside


def write(path: Path, rows: dict[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{k} {v}\n" for k, v in rows.items()))
    return path


def test_transcribed_utterances_are_set_aside_by_id_and_by_audio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths count by where they lead, relative or absolute; pipes by their words."""
    monkeypatch.chdir(tmp_path)
    rows = {"a": "1.wav", "x": f"{tmp_path}/same.wav", "y": "sox  2.wav -t wav - |"}
    write(tmp_path / "train" / "wav.scp", rows)
    pool = {"a": "2.wav", "b": "./same.wav", "c": "3.wav", "d": "sox 2.wav -t wav - |"}
    write(tmp_path / "pool" / "wav.scp", pool)
    keys, aside = set_aside(pool, ["pool"], ["train"])
    assert keys == ["c"]
    assert aside == [(uid, "already_transcribed", "also in train") for uid in "abd"]


def test_audio_that_was_dumped_is_known_by_where_it_came_from(tmp_path: Path) -> None:
    """ESPnet's stage 3 gives every set copies of its own."""
    for name, uid in (("train", "t"), ("pool", "p")):
        write(tmp_path / "data" / name / "wav.scp", {uid: "same.wav"})
        write(tmp_path / "dump" / name / "wav.scp", {uid: f"dump/{name}/{uid}.flac"})
    pools, trains = ([tmp_path / d / n for d in ("dump", "data")] for n in ("pool", "train"))
    assert set_aside(["p"], pools[:1], trains[:1])[0] == ["p"]
    assert set_aside(["p"], pools, trains)[0] == []


def test_segments_share_audio_where_their_times_overlap(tmp_path: Path) -> None:
    for name in ("train", "pool"):
        write(tmp_path / name / "wav.scp", {"rec": "long.wav", f"{name}-only": f"{name}.wav"})
    write(tmp_path / "train" / "segments", {"t1": "rec 10 20", "t0": "rec 0 5"})
    segments = {
        "before": "rec 5 10",
        "across": "rec 19.5 25",
        "inside": "rec 12 13",
        "after": "rec 20 30",
        "other": "pool-only 0 5",
    }
    write(tmp_path / "pool" / "segments", segments)
    keys, aside = set_aside(segments, [tmp_path / "pool"], [tmp_path / "train"])
    assert keys == ["after", "before", "other"]
    assert [uid for uid, *_ in aside] == ["across", "inside"]
    # A set that took the whole recording leaves nothing of it.
    (tmp_path / "train" / "segments").unlink()
    assert set_aside(segments, [tmp_path / "pool"], [tmp_path / "train"])[0] == ["other"]


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=60), st.data())
def test_shards_are_about_as_long_and_none_is_empty(
    lengths: list[float], data: st.DataObject
) -> None:
    parts = data.draw(st.integers(1, len(lengths)))
    cuts = [0, *balanced_cuts(lengths, parts), len(lengths)]
    assert all(start < end for start, end in pairwise(cuts))
    if max(lengths) * parts < sum(lengths):
        # No clip is longer than a share: no shard is off by more than one.
        share = sum(lengths) / parts
        sums = [sum(lengths[start:end]) for start, end in pairwise(cuts)]
        assert max(abs(total - share) for total in sums) <= max(lengths) * 1.001


def test_lengths_come_from_the_data_directory(tmp_path: Path) -> None:
    scp = tmp_path / "wav.scp"
    scp.write_text("a /missing\nb cat x |\n")
    pool = {"a": "/missing", "b": "cat x |", "c": str(scp)}
    # Of files: the size where there is one, the mean of those for others.
    size = float(scp.stat().st_size)
    assert lengths_of(scp, ["a", "c"], pool) == [size, size]
    (tmp_path / "utt2num_samples").write_text("a 800\nb 2400\n")
    assert lengths_of(scp, ["a", "b", "c"], pool) == [800, 2400, 1600]
    (tmp_path / "utt2dur").write_text("a 1.5\nb 0.5\n")
    assert lengths_of(scp, ["b", "a"], pool) == [0.5, 1.5]
    segments = tmp_path / "segments"
    segments.write_text("s r 1 4\nt r 5 6\n")
    assert lengths_of(segments, ["s", "t"], {}) == [3, 1]


def test_bad_lines_of_a_pool_cost_nothing_but_their_clips(tmp_path: Path) -> None:
    rows = {"a": "rec 0 5", "b": "rec 7 7", "c": "rec 5 -1", "d": "rec 1"}
    segments = write(tmp_path / "pool" / "segments", rows)
    write(tmp_path / "pool" / "wav.scp", {"rec": "long.wav"})
    train = write(tmp_path / "train" / "segments", {"t": "rec 8 9", "u": "rec 2 2", "d": "rec 3"})
    write(tmp_path / "train" / "wav.scp", {"rec": "long.wav"})
    keys, aside = set_aside(rows, [segments.parent], [train.parent])
    # To the end is over what is transcribed; a segment of nothing is over nothing; ids stay ids.
    assert (keys, [uid for uid, *_ in aside]) == (["a", "b"], ["c", "d"])
    assert lengths_of(segments, list(rows), {}) == [5, 5, 5, 5]
    assert plan_shards(segments, 2, tmp_path / "log").jobs == range(1, 3)
    write(tmp_path / "pool" / "utt2dur", {"x": "2", "y": "0", "z": "nan"})
    assert lengths_of(tmp_path / "pool" / "wav.scp", ["x", "y", "z"], {}) == [2, 2, 2]
    for entry in ("", " "):
        write(tmp_path / "train" / "wav.scp", {"rec": entry})
        write(tmp_path / "pool" / "wav.scp", {"rec": entry})
        assert set_aside(["a"], [segments.parent], [train.parent])[0] == ["a"]
