"""Audio that is cut off or damaged is told from audio that is whole, in every format that can."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import make_speech

from espnet_egl.data.audio import read_audio
from espnet_egl.data.headers import lacking_share
from espnet_egl.errors import UtteranceError

SECONDS = 3.0
CODECS = ["VORBIS", "OPUS"]
CLAIMING = ["WAV", "AIFF", "AU", "RF64", "NIST", "W64", "SVX", "MAT4", "VOC"]


def encode(
    subtype: str | None = None, rate: int = 8000, channels: int = 1, format: str = "OGG"
) -> bytes:
    """The same 3 s in every format."""
    content = io.BytesIO()
    wave = np.stack([make_speech(SECONDS, rate=rate)] * channels, 1)
    soundfile.write(content, wave, rate, format=format, subtype=subtype)
    return content.getvalue()


def pages(content: bytes) -> Iterator[bytes]:
    """The pages of an Ogg file."""
    while content:
        body = 27 + content[26]
        size = body + sum(content[27:body])
        yield content[:size]
        content = content[size:]


def damaged(content: bytes, place: int) -> bytes:
    """Other bytes from ``place`` on, as many as a block of a disk has."""
    return content[:place] + np.random.default_rng(0).bytes(512) + content[place + 512 :]


def seconds(content: bytes, path: Path, *segment: float) -> float | str:
    """How much is read, or why not."""
    path.write_bytes(content)
    try:
        return read_audio(str(path), 8000, *segment)[1]
    except UtteranceError as e:
        return e.reason


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("codec", CODECS)
def test_whole_ogg_is_read_and_cut_off_ogg_is_refused(
    codec: str, rate: int, channels: int, tmp_path: Path
) -> None:
    whole, path = encode(codec, rate, channels), tmp_path / "a.ogg"
    last = len(list(pages(whole))[-1])
    assert seconds(whole, path) == pytest.approx(SECONDS)
    for left in (0.9 * len(whole), len(whole) - 1, len(whole) - last + 9, len(whole) - last):
        assert seconds(whole[: int(left)], path) == "truncated_audio"


@pytest.mark.parametrize("codec", CODECS)
def test_damage_within_ogg_is_refused_wherever_it_is(codec: str, tmp_path: Path) -> None:
    whole, path = encode(codec), tmp_path / "a.ogg"
    *_, before_last, last = sizes = [len(page) for page in pages(whole)]
    first = sizes[0] + sizes[1]  # behind the headers, without which nothing is opened
    for place in (
        first + sizes[2] // 2,
        first + sizes[2] + sizes[3] // 2,
        len(whole) - last - before_last // 2,
        len(whole) - last // 2,
    ):
        assert seconds(damaged(whole, place)[: len(whole)], path) == "truncated_audio"


@pytest.mark.parametrize("codec", CODECS)
def test_segments_of_damaged_ogg_are_read_where_it_is_whole(codec: str, tmp_path: Path) -> None:
    content = io.BytesIO()
    soundfile.write(content, make_speech(20.0), 8000, format="OGG", subtype=codec)
    whole, path = content.getvalue(), tmp_path / "a.ogg"
    path.write_bytes(whole)
    expected = [read_audio(str(path), 8000, at, at + 1.0)[0] for at in range(20)]
    for place in (len(whole) // 3, len(whole) // 2):
        broken = [seconds(damaged(whole, place), path, at, at + 1.0) for at in range(20)]
        assert set(broken) == {1.0, "truncated_audio"}
        assert broken.count("truncated_audio") <= 6
        for at, found in enumerate(broken):
            if found == 1.0:
                wave, _ = read_audio(str(path), 8000, at, at + 1.0)
                # Frames overlap: of the one before a segment, not everything is decoded.
                assert np.abs(wave - expected[at])[800:].max() < 0.05
    cut = whole[: int(0.6 * len(whole))]
    assert seconds(cut, path, 2.0, 3.0) == 1.0
    # Nothing is where it should be if the beginning is missing.
    first = sum(len(page) for page in list(pages(whole))[:2])
    assert seconds(damaged(whole, first + 300), path, 12.0, 13.0) == "truncated_audio"


@pytest.mark.parametrize("codec", CODECS)
def test_ogg_of_several_streams_or_with_tags_behind_it_is_read(codec: str, tmp_path: Path) -> None:
    whole, other, path = encode(codec), encode(codec, rate=16000), tmp_path / "a.ogg"
    assert seconds(whole + other, path) == pytest.approx(SECONDS)
    assert seconds(whole + b"TAG" + bytes(125), path) == pytest.approx(SECONDS)
    (first, *mine), (other_first, *others) = list(pages(whole)), list(pages(other))
    for streams in ((mine, others), (others, mine)):
        turns = [page for pair in zip(*streams, strict=False) for page in pair]
        turns += [page for pages_ in streams for page in pages_[min(len(mine), len(others)) :]]
        mixed = first + other_first + b"".join(turns)
        assert seconds(mixed, path) == pytest.approx(SECONDS)
        assert seconds(mixed[: -len(turns[-1])] + turns[-1][:99], path) == "truncated_audio"


@pytest.mark.parametrize("codec", CODECS)
def test_a_stream_recorded_from_its_midst_is_read(codec: str, tmp_path: Path) -> None:
    headers, more, _, *rest = pages(encode(codec))
    found = seconds(headers + more + b"".join(rest), tmp_path / "a.ogg")
    assert isinstance(found, float)
    assert 0.5 < found < SECONDS - 0.5


@pytest.mark.parametrize("codec", CODECS)
def test_ogg_in_arks_and_from_commands_is_refused_too(codec: str, tmp_path: Path) -> None:
    whole = encode(codec)
    path, ark = tmp_path / "a.ogg", tmp_path / "a.ark"
    for content, cut_off in ((whole, False), (whole[: int(0.9 * len(whole))], True)):
        with soundfile.SoundFile(io.BytesIO(content)) as f:
            assert lacking_share(f, io.BytesIO(content)) == float(cut_off)
        path.write_bytes(content)
        ark.write_bytes(b"a AUDIO\2" + len(content).to_bytes(2, "little") + content)
        for entry in (f"cat {path} |", f"{ark}:2"):
            if cut_off:
                with pytest.raises(UtteranceError, match="truncated_audio"):
                    read_audio(entry, 8000)
            else:
                assert read_audio(entry, 8000)[1] == pytest.approx(SECONDS)


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize(
    ("format", "channels"),
    [(format, channels) for format in CLAIMING for channels in (1, 2) if format != "SVX"]
    + [("SVX", 1)],
)
def test_formats_that_claim_a_length_tell_when_they_are_cut_off(
    format: str, rate: int, channels: int, tmp_path: Path
) -> None:
    whole, path = encode("PCM_16", rate, channels, format), tmp_path / "a.audio"
    assert seconds(whole, path) == pytest.approx(SECONDS)
    for keep in (0.9, 0.5):
        assert seconds(whole[: int(keep * len(whole))], path) == "truncated_audio"
