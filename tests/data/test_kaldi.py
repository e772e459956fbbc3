from __future__ import annotations

from pathlib import Path

import pytest

from espnet_egl.data.kaldi import (
    read_durations,
    read_pool_table,
    read_segments,
    read_table,
    subset_data_dir,
    write_table,
)
from espnet_egl.errors import DataError


def test_a_table_round_trips_sorted_as_in_the_c_locale(tmp_path: Path) -> None:
    write_table(tmp_path / "t", {"b": "two words", "B": "1", "a": ""})
    assert (tmp_path / "t").read_bytes() == b"B 1\na\nb two words\n"
    assert read_table(tmp_path / "t") == {"B": "1", "a": "", "b": "two words"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a 1\na 2\n", r"t:2: 'a' stands twice"),
        (b"a 1\n\nb 2\n", r"t:2: empty line"),
        (b"a \xff\n", "not UTF-8"),
    ],
)
def test_a_bad_table_is_refused_by_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "t")


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing: cannot be read"):
        read_table(tmp_path / "nothing")


@pytest.mark.parametrize("line", ["u r 1.0", "u r x 2", "u r 2 1", "u r -1 1", "u r nan 1"])
def test_bad_segments_are_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "segments").write_text(f"{line}\n")
    with pytest.raises(DataError, match="'u"):
        read_segments(tmp_path / "segments")


def make_dir(path: Path, files: dict[str, str]) -> Path:
    path.mkdir()
    for name, content in files.items():
        (path / name).write_text(content)
    return path


def test_a_subset_is_a_valid_data_dir_without_text(tmp_path: Path) -> None:
    source = make_dir(
        tmp_path / "pool",
        {
            "wav.scp": "s1-a a.wav\ns1-b sox b.wav -t wav - |\ns2-c c.wav\n",
            "utt2spk": "s1-a s1\ns1-b s1\ns2-c s2\n",
            "utt2lang": "s1-a en\ns1-b ja\ns2-c en\n",
            "text": "s1-a secret\ns1-b secret\ns2-c secret\n",
            "feats_type": "raw\n",
        },
    )
    subset_data_dir(source, tmp_path / "out", ["s2-c", "s1-b"], {"s2-c": 1.0, "s1-b": 2.5})
    found = {p.name: p.read_text() for p in (tmp_path / "out").iterdir()}
    assert found == {
        "wav.scp": "s1-b sox b.wav -t wav - |\ns2-c c.wav\n",
        "utt2spk": "s1-b s1\ns2-c s2\n",
        "spk2utt": "s1 s1-b\ns2 s2-c\n",
        "utt2lang": "s1-b ja\ns2-c en\n",
        "utt2dur": "s1-b 2.500\ns2-c 1.000\n",
        "feats_type": "raw\n",
    }


def test_a_subset_with_segments_keeps_the_recordings_it_needs(tmp_path: Path) -> None:
    source = make_dir(
        tmp_path / "pool",
        {
            "wav.scp": "r1 1.wav\nr2 2.wav\n",
            "segments": "a r1 0 1\nb r1 1 2\nc r2 0 1\n",
        },
    )
    subset_data_dir(source, tmp_path / "out", ["b"], {"b": 1.0})
    assert (tmp_path / "out/wav.scp").read_text() == "r1 1.wav\n"
    assert (tmp_path / "out/segments").read_text() == "b r1 1 2\n"
    assert (tmp_path / "out/utt2spk").read_text() == "b b\n"


def test_a_pool_that_changed_since_scoring_is_refused(tmp_path: Path) -> None:
    source = make_dir(tmp_path / "pool", {"wav.scp": "a a.wav\n"})
    with pytest.raises(DataError, match="lacks 1 selected utterances, for example 'z'"):
        subset_data_dir(source, tmp_path / "out", ["a", "z"], {"a": 1.0, "z": 1.0})


@pytest.mark.parametrize("value", ["abc", "nan", "inf", "-1", "0", ""])
def test_durations_are_numbers_above_zero(tmp_path: Path, value: str) -> None:
    (tmp_path / "utt2dur").write_text(f"a 1.5\nb {value}\n")
    found = read_durations(tmp_path / "utt2dur")
    assert (found.good, list(found.bad)) == ({"a": 1.5}, ["b"])
    with pytest.raises(DataError, match="utt2dur: 'b' lasts"):
        found.all()
    (tmp_path / "utt2dur").write_text(f"b {value}\n")
    with pytest.raises(DataError, match="utt2dur: 'b' lasts"):
        read_durations(tmp_path / "utt2dur")
    (tmp_path / "utt2dur").write_text("a 1.5\n")
    assert read_durations(tmp_path / "utt2dur").all() == {"a": 1.5}


@pytest.mark.parametrize("end", ["inf", "nan"])
def test_segments_end_somewhere(tmp_path: Path, end: str) -> None:
    (tmp_path / "segments").write_text(f"a rec 0 {end}\n")
    with pytest.raises(DataError, match="'a' runs from"):
        read_segments(tmp_path / "segments")


BAD_SEGMENTS = {
    "backwards": "r 2 1",
    "before": "r -0.5 1",
    "channel": "r 0 1 left",
    "nan": "r nan 1",
    "no_end": "r 0.5",
    "no_length": "r 1 1",
    "nothing": "",
    "other_end": "r 0 -2",
    "words": "r one two",
}


def test_a_bad_segment_is_one_bad_utterance(tmp_path: Path) -> None:
    good = {"a": "r 0 1.5", "b": "r 0.5 -1", "c": "r 0 -1 1", "d": "r 0 1 -1", "e": "r 0 1 mean"}
    write_table(tmp_path / "segments", good | BAD_SEGMENTS)
    found = read_segments(tmp_path / "segments")
    assert found.good == {
        "a": ("r", 0.0, 1.5, None),
        "b": ("r", 0.5, None, None),
        "c": ("r", 0.0, None, 1),
        "d": ("r", 0.0, 1.0, None),
        "e": ("r", 0.0, 1.0, "mean"),
    }
    assert found.bad.keys() == BAD_SEGMENTS.keys()
    assert "segments: 'no_length' runs from 1.0 to 1.0 s" in found.bad["no_length"]


def test_a_bad_line_of_a_pool_is_one_bad_utterance(tmp_path: Path) -> None:
    (tmp_path / "wav.scp").write_bytes(
        b"a a.wav\n\nb b.wav\nb other.wav\nc c.wav\nc c.wav\nd \0\n\x01e e.wav\n  \nf\n"
    )
    found = read_pool_table(tmp_path / "wav.scp")
    assert found.good == {"a": "a.wav", "c": "c.wav", "f": ""}
    assert found.bad.keys() == {"b", "line_7", "line_8"}
    assert found.bad["b"].endswith("wav.scp:4: 'b' stands twice; keep one of its lines")
    (tmp_path / "wav.scp").write_bytes(b"d \0\n")
    with pytest.raises(DataError, match=r"wav\.scp:1: a zero byte"):
        read_pool_table(tmp_path / "wav.scp")
