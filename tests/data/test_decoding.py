"""A header is a claim, and the decoder decides: lengths, cuts and formats of real recordings."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from conftest import make_speech
from encoding import encode

from espnet_egl.data.audio import read_audio, write_clip
from espnet_egl.data.decoding import SUFFIXES
from espnet_egl.data.recordings import Recordings
from espnet_egl.errors import UtteranceError

SECONDS, RATE = 3.0, 16000
SPEECH = make_speech(SECONDS, rate=RATE)
NOISE = np.random.default_rng(0).standard_normal(10 * RATE) * 0.2
# The first frames are of the most bits, or of the fewest: what is guessed by them is far off.
LOUD_START = np.where(np.arange(10 * RATE) < 2 * RATE, NOISE, 1e-3 * NOISE)
QUIET_START = LOUD_START[::-1]


VARIABLE = {"flags": "+qscale", "global_quality": str(6 * 118)}  # bit rate


def plain(format: str = "WAV", subtype: str = "PCM_16", wave: np.ndarray = SPEECH) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, wave, RATE, format=format, subtype=subtype)
    return content.getvalue()


def mp3(wave: np.ndarray, xing: bool = False, container: str = "mp3") -> bytes:
    options = {"write_xing": str(int(xing)), "id3v2_version": "0"} if container == "mp3" else {}
    return encode(container, "libmp3lame", wave, RATE, options, VARIABLE)


def put(content: bytes, place: int, value: int, size: int = 4, order: str = "little") -> bytes:
    """A number of a header changed."""
    return content[:place] + value.to_bytes(size, order) + content[place + size :]  # type: ignore[arg-type]


def data_size(content: bytes, value: int) -> bytes:
    """A WAV that says that of its data."""
    return put(content, content.index(b"data") + 4, value)


def read(content: bytes, path: Path, *segment: float) -> float | str:
    """How many seconds are read, of a file and of a pipe alike; or why not."""
    path.write_bytes(content)
    found: list[float | str] = []
    for entry in (str(path), f"cat {path} |")[: 1 if path.suffix in (".ul", ".al", ".vox") else 2]:
        try:
            wave, seconds = read_audio(entry, RATE, *segment)
            assert np.abs(wave).max() > 1e-4
            found.append(round(seconds, 6))
        except UtteranceError as e:
            found.append(e.reason)
    assert found[0] == found[-1]
    return found[0]


# ---- lengths ----


@pytest.mark.parametrize("wave", [LOUD_START, QUIET_START], ids=["loud_start", "quiet_start"])
@pytest.mark.parametrize("container", ["mp3", "wav"])
def test_mp3_without_a_count_of_frames_is_as_long_as_it_is(
    wave: np.ndarray, container: str, tmp_path: Path
) -> None:
    content = mp3(wave, container=container)
    with soundfile.SoundFile(io.BytesIO(content)) as f:
        assert abs(f.frames / RATE - 10) > 1  # or else nothing is tested
    path = tmp_path / f"a.{container}"
    assert read(content, path) == pytest.approx(10, abs=0.15)
    assert read(content, path, 9.0, 10.0) == 1.0
    measured = Recordings().measure(str(path))
    assert measured.seconds == pytest.approx(10, abs=0.15)
    assert not measured.is_plain


def test_mp3_with_a_count_of_frames_is_told_when_it_is_cut_off(tmp_path: Path) -> None:
    content, path = mp3(SPEECH, xing=True), tmp_path / "a.mp3"
    assert read(content, path) == pytest.approx(SECONDS, abs=0.01)
    assert Recordings().measure(str(path)).is_plain
    tagged = b"ID3\4\0\0\0\0\2\0" + bytes(256) + content + b"TAG" + bytes(125)
    assert read(tagged, path) == pytest.approx(SECONDS, abs=0.01)
    assert read(content + content, path) == pytest.approx(2 * SECONDS, abs=0.2)
    assert read(content[: len(content) // 2], path) == "truncated_audio"


def test_flac_of_unknown_length_is_decoded_to_its_end(tmp_path: Path) -> None:
    content, path = bytearray(plain("FLAC")), tmp_path / "a.flac"
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    assert read(bytes(content), path) == SECONDS
    assert read(bytes(content), path, 1.0, 2.5) == 1.5
    assert not Recordings().measure(str(path)).is_plain


def test_flac_that_is_cut_off_says_how_much_is_missing(tmp_path: Path) -> None:
    content, path = plain("FLAC"), tmp_path / "a.flac"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UtteranceError, match=r"of 3\.00 s are missing"):
        read_audio(str(path), RATE)
    assert read_audio(str(path), RATE, 0.2, 0.7)[1] == 0.5


@pytest.mark.parametrize("more", [1, 16, 44, -1])
def test_a_size_that_is_off_by_a_few_bytes_is_inaudible(more: int, tmp_path: Path) -> None:
    content = plain()
    size = 2 * len(SPEECH) + more
    assert read(data_size(content, size), tmp_path / "a.wav") == pytest.approx(SECONDS, abs=1e-4)


def test_a_noticeable_part_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(plain()[: 44 + RATE])
    with pytest.raises(UtteranceError, match=r"2\.50 s of 3\.00 s are missing; copy it again"):
        read_audio(str(tmp_path / "a.wav"), RATE)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM"])
def test_a_recorder_that_was_killed_left_all_that_it_wrote(
    subtype: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = data_size(plain(subtype=subtype), 0)
    with caplog.at_level(logging.WARNING):
        found = read(put(content, 4, 0), tmp_path / "a.wav")
    assert found == pytest.approx(SECONDS, abs=0.07)
    if subtype != "IMA_ADPCM":
        assert "does not say how long it is" in caplog.text
        assert read(content, tmp_path / "a.wav", 1.0, 2.0) == 1.0


def killed(format: str) -> bytes:
    """A header as libsndfile and others write it first."""
    content = plain(format)
    if format == "AU":
        return put(content, 8, 0)
    if format == "AIFF":
        content = put(content, content.index(b"COMM") + 10, 0, 4, "big")
        return put(content, content.index(b"SSND") + 4, 8, 4, "big")
    if format == "W64":
        return put(content, content.index(b"data") + 16, (1 << 64) - 1, 8)
    if format == "CAF":
        return put(content, content.index(b"data") + 4, (1 << 64) - 1, 8)
    return put(content, content.index(b"ds64") + 8, 0, 24)


@pytest.mark.parametrize("format", ["AU", "AIFF", "W64", "CAF", "RF64"])
def test_other_headers_that_were_never_completed(format: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{format.lower()}"
    assert read(killed(format), path) == SECONDS
    wave, _ = read_audio(str(path), RATE)
    assert np.abs(wave - SPEECH).max() < 1e-4
    # This one libsndfile reads to its end by itself.
    assert Recordings().measure(str(path)).is_plain == (format == "W64")


def test_a_file_without_samples_is_still_empty(tmp_path: Path) -> None:
    for format in ("WAV", "AU", "AIFF", "W64", "CAF", "RF64"):
        assert read(plain(format, wave=SPEECH[:0]), tmp_path / "a") == "empty_audio", format


@pytest.mark.parametrize("size", [2 * 3600 * RATE, 0xFFFFFFFF])
def test_a_wav_above_4_gib_is_read_to_its_end(size: int, tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(data_size(plain(), size))
    os.truncate(path, 44 + (1 << 32) + 2 * 3600 * RATE)  # takes no room on the disk
    with path.open("r+b") as f:
        f.seek(-2 * len(SPEECH), os.SEEK_END)
        f.write((SPEECH * 32767).astype("<i2").tobytes())
    end = (1 << 31) / RATE + 3600
    wave, seconds = read_audio(str(path), RATE, end - SECONDS, end)
    assert seconds == SECONDS
    assert np.abs(wave - SPEECH).max() < 1e-3


def test_audio_behind_the_audio_is_worth_a_warning_and_tags_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content, path = plain(), tmp_path / "a.wav"
    with caplog.at_level(logging.WARNING):
        for tags in (
            b"LIST" + (5000).to_bytes(4, "little") + bytes(5000),
            b"LIST" + (5001).to_bytes(4, "little") + bytes(5001) + b"id3 \0\0\1\0" + bytes(65536),
            bytes(16),
        ):
            assert read(content + tags, path) == SECONDS
        assert not caplog.text
        assert read(data_size(content, 2 * RATE), path) == 1.0
    assert "names 1.00 s of audio, and bytes for another 2.00 s stand behind it" in caplog.text


# ---- what cannot be sought in ----


@pytest.mark.parametrize(
    ("format", "subtype", "suffix"),
    [
        ("WAV", "GSM610", ".wav"),
        ("AIFF", "GSM610", ".aiff"),
        ("W64", "GSM610", ".w64"),
        ("AU", "G721_32", ".au"),
        ("AU", "G723_24", ".au"),
        ("WAV", "G721_32", ".wav"),
        ("RAW", "GSM610", ".gsm"),
        ("RAW", "VOX_ADPCM", ".vox"),
        ("RAW", "ULAW", ".ul"),
        ("RAW", "ALAW", ".al"),
    ],
)
def test_telephony_is_read_from_the_front(
    format: str, subtype: str, suffix: str, tmp_path: Path
) -> None:
    content, path = io.BytesIO(), tmp_path / f"a{suffix}"
    soundfile.write(content, make_speech(SECONDS), 8000, format=format, subtype=subtype)
    path.write_bytes(content.getvalue())
    whole, seconds = read_audio(str(path), 8000)
    assert seconds == pytest.approx(SECONDS, abs=0.05)
    assert np.corrcoef(whole[:20000], make_speech(SECONDS)[:20000])[0, 1] > 0.8
    assert np.abs(whole).max() < 1.3 * np.abs(make_speech(SECONDS)).max()
    part, seconds = read_audio(str(path), 8000, 1.0, 2.0)
    assert seconds == 1.0
    assert np.array_equal(part, whole[8000:16000])
    with pytest.raises(UtteranceError, match="lies beyond"):
        read_audio(str(path), 8000, 5.0, 6.0)
    with pytest.raises(UtteranceError, match="too_long"):
        read_audio(str(path), 8000, max_seconds=2.0)


def test_silence_in_mu_law_is_no_mp3_and_a_header_counts_more_than_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a.ul"
    path.write_bytes(b"\xff" * 8000 + plain("RAW", "ULAW")[:8000])
    assert read_audio(str(path), 8000)[1] == 2.0
    path.write_bytes(plain())
    assert read_audio(str(path), RATE)[1] == SECONDS


# ---- phones ----

PHONES = {
    "memo.m4a": ("ipod", "aac", {}),
    "fragments.mp4": ("mp4", "aac", {"movflags": "frag_keyframe+empty_moov"}),
    "lossless.m4a": ("ipod", "alac", {}),
    "browser.webm": ("webm", "libopus", {}),
    "live.webm": ("webm", "libopus", {"live": "1"}),
    "old.wma": ("asf", "wmav2", {}),
    "raw.aac": ("adts", "aac", {}),
    "video.mkv": ("matroska", "flac", {}),
    "a.wv": ("wv", "wavpack", {}),
    "a.tta": ("tta", "tta", {}),
    "g722.wav": ("wav", "g722", {}),
    "flac.oga": ("ogg", "flac", {}),
}


@pytest.mark.parametrize("name", PHONES)
def test_what_phones_make_is_read(name: str, tmp_path: Path) -> None:
    container, codec, options = PHONES[name]
    content, path = encode(container, codec, SPEECH, RATE, options), tmp_path / name
    assert read(content, path) == pytest.approx(SECONDS, abs=0.11)
    assert read(content, path, 1.0, 2.0) == 1.0
    assert path.suffix in SUFFIXES
    assert not Recordings().measure(str(path)).is_plain
    # Formats that say how long they are tell when a half is missing; others are shorter, or gone.
    half = read(content[: len(content) // 2], path)
    assert half in ("truncated_audio", "unreadable_audio") or half < SECONDS - 1
    told = {"browser.webm", "video.mkv", "a.tta", "g722.wav", "flac.oga", "old.wma"}
    assert half == "truncated_audio" or name not in told


def test_amr_is_read(tmp_path: Path) -> None:
    content = Path(__file__).with_name("clip.amr").read_bytes()
    assert read(content, tmp_path / "a.amr") == 1.54


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXTINF:1,\n{}\n",
        "ffconcat version 1.0\nfile {}\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
        "<?xml version='1.0'?><MPD><Period><BaseURL>{}</BaseURL></Period></MPD>",
        "https://example.com/a.m4a\n",
    ],
)
def test_a_file_that_names_another_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "other.m4a").write_bytes(encode("ipod", "aac", SPEECH, RATE))
    for suffix in (".m4a", ".wav", ".m3u8", ".ac3", ""):
        path = tmp_path / f"a{suffix}"
        path.write_text(text.format(tmp_path / "other.m4a"))
        with pytest.raises(UtteranceError, match="unreadable_audio"):
            read_audio(str(path), RATE)


def test_a_film_without_sound_is_named(tmp_path: Path) -> None:
    content = encode("ipod", "aac", SPEECH, RATE).replace(b"soun", b"vide")
    (tmp_path / "a.m4a").write_bytes(content)
    with pytest.raises(UtteranceError, match="unreadable_audio"):
        read_audio(str(tmp_path / "a.m4a"), RATE)


def test_a_codec_that_nobody_knows_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(put(plain(), 20, 0x1234, 2))
    with pytest.raises(
        UtteranceError, match=r"unreadable_audio: .*/a\.wav: no audio is in it that"
    ):
        read_audio(str(tmp_path / "a.wav"), RATE)


@pytest.mark.parametrize("name", ["memo.m4a", "browser.webm", "old.wma", "raw.aac", "g722.wav"])
def test_damage_is_reported_not_raised(name: str, tmp_path: Path) -> None:
    container, codec, options = PHONES[name]
    content, path = encode(container, codec, SPEECH, RATE, options), tmp_path / name
    draw = np.random.default_rng(0)
    reasons = set()
    for _ in range(60):
        damaged = np.frombuffer(content, np.uint8).copy()
        area = draw.choice([64, 512, len(damaged)])
        damaged[draw.integers(0, area, 8)] = draw.integers(0, 256, 8)
        path.write_bytes(damaged.tobytes()[: draw.integers(len(content) // 2, len(content))])
        try:
            wave, seconds = read_audio(str(path), 8000, max_seconds=20)
            assert np.isfinite(wave).all()
            assert 0 < seconds <= 20
        except UtteranceError as e:
            reasons.add(e.reason)
    assert reasons & {"unreadable_audio", "truncated_audio"} or name == "raw.aac"


# ---- scale ----


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_integers_stored_as_floats_are_heard_as_speech(bits: int, tmp_path: Path) -> None:
    path, loud = tmp_path / "a.wav", tmp_path / "loud.wav"
    soundfile.write(path, (SPEECH * 2 ** (bits - 1)).astype("f4"), RATE, subtype="FLOAT")
    assert np.abs(read_audio(str(path), RATE)[0] - SPEECH).max() < 1e-4
    assert not Recordings().measure(str(path)).is_plain
    write_clip(tmp_path / "heard.flac", str(path))
    heard, _ = soundfile.read(tmp_path / "heard.flac")
    assert np.abs(heard - SPEECH).max() < 1e-3
    # A mix that goes above 1 is no integer.
    soundfile.write(loud, SPEECH * 2.5 / np.abs(SPEECH).max(), RATE, subtype="FLOAT")
    assert np.abs(read_audio(str(loud), RATE)[0]).max() == pytest.approx(2.5)


# ---- once ----


def test_segments_in_a_row_run_a_command_once(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(plain())
    runs, opened = tmp_path / "runs", Recordings()
    entry = f"echo x >> {runs}; cat {tmp_path / 'a.wav'} |"
    for i in range(40):
        wave, _ = opened.read(entry, i * 0.05, i * 0.05 + 0.5)
        assert np.array_equal(
            wave[:, 0], read_audio(str(tmp_path / "a.wav"), RATE)[0][i * 800 :][:8000]
        )
    assert runs.read_text().split() == ["x"]
    opened.read(str(tmp_path / "a.wav"))
    opened.read(entry)
    assert runs.read_text().split() == ["x", "x"]


@pytest.mark.parametrize("name", ["memo.m4a", "raw.aac", "browser.webm"])
def test_segments_of_a_stream_are_the_same_in_any_order(name: str, tmp_path: Path) -> None:
    container, codec, options = PHONES[name]
    (tmp_path / name).write_bytes(encode(container, codec, SPEECH, RATE, options))
    source, opened = str(tmp_path / name), Recordings()
    whole, rate = Recordings().read(source)
    for start, end in [(0.5, 1.0), (0.7, 1.2), (2.0, 2.5), (0.1, 0.2), (0.0, 2.9), (1.0, 1.1)]:
        part, _ = opened.read(source, start, end)
        assert np.array_equal(part, whole[round(start * rate) : round(end * rate)])


def test_damage_around_a_segment_of_a_stream_costs_what_is_around_it(tmp_path: Path) -> None:
    content = bytearray(encode("mp4", "aac", NOISE, RATE))
    start = content.index(b"mdat") + len(content) // 2
    content[start : start + 1000] = bytes([255] * 1000)
    path = tmp_path / "a.m4a"
    path.write_bytes(content)
    opened = Recordings()
    found = [opened.read_around(str(path), second, second + 1, 2) for second in range(1, 4)]
    opened.close()
    lengths = [(round(len(wave) / rate), before) for wave, rate, before in found]
    assert lengths == [(4, 1.0), (5, 2.0), (1, 0.0)]
    with pytest.raises(UtteranceError, match="truncated_audio"):
        opened.read_around(str(path), 5, 6, 2)


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    script = """
import resource, sys
from espnet_egl.data.recordings import Recordings
opened = Recordings()
opened.read(sys.argv[1], 0, 5)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for start in range(600, 3600, 600):
    opened.read(sys.argv[1], start, start + 5)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    content = io.BytesIO()
    # An hour: as floats 115 MB.
    soundfile.write(content, np.zeros(3660 * 8000, "int16"), 8000, format="FLAC")
    (tmp_path / "a.flac").write_bytes(content.getvalue())
    (tmp_path / "a.ul").write_bytes(b"\xff" * (3660 * 8000))
    for entry in (f"cat {tmp_path}/a.flac |", f"{tmp_path}/a.ul"):
        command = [sys.executable, "-c", script, entry]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert int(done.stdout) < 20 << 10  # KiB


def holed(content: bytes, length: int) -> bytes:
    """With zeros in its middle, as a disk or a network leaves them."""
    middle = len(content) // 2
    return content[:middle] + bytes(length) + content[middle + length :]


@pytest.mark.parametrize(
    ("suffix", "container", "codec"),
    [("aac", "adts", "aac"), ("mp3", "mp3", "libmp3lame"), ("wav", "wav", "libmp3lame")],
)
def test_a_hole_in_frames_that_stand_alone_is_named(
    suffix: str, container: str, codec: str, tmp_path: Path
) -> None:
    content = encode(container, codec, LOUD_START, RATE, codec_options={}, options={})
    whole = tmp_path / f"whole.{suffix}"
    assert read(content, whole) == pytest.approx(LOUD_START.size / RATE, abs=0.2)
    assert read(holed(content, len(content) // 8), tmp_path / f"holed.{suffix}") == (
        "truncated_audio"
    )
    # Nobody hears that a frame is gone.
    assert isinstance(read(holed(content, 40), tmp_path / f"scratched.{suffix}"), float)


def test_two_recordings_one_behind_the_other_with_their_tags_are_whole(tmp_path: Path) -> None:
    tag = b"ID3\4\0\0" + bytes((0, 0, 100, 0)) + bytes(100 << 7)
    for suffix, container, codec in (("mp3", "mp3", "libmp3lame"), ("aac", "adts", "aac")):
        options = {"write_xing": "0"} if suffix == "mp3" else {}
        content = encode(container, codec, LOUD_START, RATE, options)
        twice = tag + content + tag + content
        assert read(twice, tmp_path / f"twice.{suffix}") == pytest.approx(
            2 * LOUD_START.size / RATE, abs=0.4
        )


def test_a_wma_that_is_cut_off_is_named(tmp_path: Path) -> None:
    content = encode("asf", "wmav2", LOUD_START, RATE)
    assert isinstance(read(content, tmp_path / "whole.wma"), float)
    for kept in (0.5, 0.8):
        cut = content[: int(kept * len(content))]
        assert read(cut, tmp_path / f"cut{kept}.wma") == "truncated_audio"


def film(wave: np.ndarray, picture_seconds: float) -> bytes:
    """A Matroska file with sound and a picture that goes on as long as is said."""
    content: Any = io.BytesIO()
    with av.open(content, "w", format="matroska") as out:
        sound: Any = out.add_stream("libopus", rate=48000, layout="mono")
        picture: Any = out.add_stream("mpeg4", rate=5)
        picture.width = picture.height = 16
        frame = av.AudioFrame.from_ndarray(
            np.repeat(wave, 48000 // RATE)[None].astype(np.float32), "flt", "mono"
        )
        frame.sample_rate, frame.pts = 48000, 0
        packets = [*sound.encode(frame), *sound.encode(None)]
        for index in range(round(5 * picture_seconds)):
            image = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), "rgb24")
            image.pts = index
            packets += picture.encode(image)
        packets += picture.encode(None)
        out.mux(sorted(packets, key=lambda p: float(p.pts * p.time_base)))
    return content.getvalue()


@pytest.mark.parametrize("picture_seconds", [1.0, 30.0])
def test_a_film_whose_picture_ends_sooner_or_later_is_whole_or_cut_off(
    picture_seconds: float, tmp_path: Path
) -> None:
    content = film(LOUD_START, picture_seconds)
    assert read(content, tmp_path / "whole.mkv") == pytest.approx(LOUD_START.size / RATE, abs=0.2)
    assert read(content[: len(content) // 2], tmp_path / "cut.mkv") == "truncated_audio"


def test_what_a_codec_pads_is_not_missed(tmp_path: Path) -> None:
    for seconds in (0.6, 1.5):
        content = encode("matroska", "libmp3lame", LOUD_START[: int(seconds * RATE)], RATE)
        assert read(content, tmp_path / f"{seconds}.mkv") == pytest.approx(seconds, abs=0.25)


@pytest.mark.parametrize("chunk", [b"LIST", b"bext"])
def test_a_wav_without_samples_has_none_behind_its_tags_either(
    chunk: bytes, tmp_path: Path
) -> None:
    empty = plain(wave=SPEECH[:0])
    tagged = empty + chunk + (4000).to_bytes(4, "little") + b"INFOICMT" * 500
    tagged = put(tagged, 4, len(tagged) - 8)
    assert read(tagged, tmp_path / "empty.wav") == "empty_audio"


def test_a_quiet_segment_of_integers_stored_as_floats_has_the_scale_of_the_others(
    tmp_path: Path,
) -> None:
    wave = np.round(SPEECH / np.abs(SPEECH).max() * 20000).astype(np.float32)
    wave[: RATE // 2] = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], RATE // 2)
    path = tmp_path / "pcm.wav"
    soundfile.write(path, wave, RATE, subtype="FLOAT")
    quiet, _ = read_audio(str(path), RATE, 0.0, 0.5)
    assert np.abs(quiet).max() == pytest.approx(1 / 32768)
