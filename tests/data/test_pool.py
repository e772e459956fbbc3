"""Good audio in every shape ESPnet's users have it, and bad audio reported, not raised."""

from __future__ import annotations

import importlib
import pickle
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import make_speech

from espnet_egl.data.kaldi import read_durations
from espnet_egl.data.pool import Pool, read_ahead
from espnet_egl.data.sources import find_sound
from espnet_egl.errors import ConfigError, DataError, UtteranceError
from espnet_egl.types import Skipped, Utterance


def make_pool(tmp_path: Path, scp: dict[str, str], **options: object) -> Pool:
    (tmp_path / "wav.scp").write_text("".join(f"{k} {v}\n" for k, v in scp.items()))
    data = [(str(tmp_path / "wav.scp"), "speech", "sound")]
    keys = options.pop("keys", list(scp))
    return Pool(data, keys, 8000, **options)  # type: ignore[arg-type]


def write(path: Path, wave: np.ndarray, rate: int = 8000, **options: str) -> str:
    soundfile.write(path, wave, rate, **options)
    return str(path)


def test_formats_rates_channels_and_pipes_give_the_same_speech(tmp_path: Path) -> None:
    wave = make_speech(1.0)
    plain = write(tmp_path / "a.wav", wave)
    scp = {
        "flac": write(tmp_path / "a.flac", wave),
        "wav24": write(tmp_path / "b.wav", wave, subtype="PCM_24"),
        "stereo": write(tmp_path / "s.wav", np.stack([wave, 0 * wave], 1)),
        "pipe": f"cat {plain} |",
        "wav": plain,
    }
    for item in make_pool(tmp_path, scp):
        assert isinstance(item, Utterance)
        assert item.seconds == 1.0
        assert item.speech.dtype == np.float32
        assert np.abs(item.speech - wave).max() < 1e-4, item.uid


def test_segments_of_a_command_run_it_once_in_every_process(tmp_path: Path) -> None:
    wave, runs = make_speech(2.0), tmp_path / "runs"
    path = write(tmp_path / "r.wav", wave)
    (tmp_path / "segments").write_text(
        "".join(f"{i:02} r {i / 20} {i / 20 + 1}\n" for i in range(20))
    )
    keys = [f"{i:02}" for i in range(20)]
    scp = {"r": f"echo x >> {runs}; cat {path} |"}
    pool = make_pool(tmp_path, scp, keys=keys, segments=tmp_path / "segments")
    for workers in (0, 2):
        runs.unlink(missing_ok=True)
        pool.read("03")  # what is open already is not shared with the processes
        for i, item in enumerate(read_ahead(pool, workers)):
            assert isinstance(item, Utterance)
            assert np.abs(item.speech - wave[i * 400 :][:8000]).max() < 1e-4
        assert len(runs.read_text().split()) <= 1 + workers


def test_another_sampling_rate_is_resampled(tmp_path: Path) -> None:
    time = np.arange(16000) / 16000
    path = write(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 500 * time), 16000)
    (item,) = make_pool(tmp_path, {"a": path})
    assert isinstance(item, Utterance)
    assert (len(item.speech), item.seconds) == (8000, 1.0)
    expected = 0.5 * np.sin(2 * np.pi * 500 * np.arange(8000) / 8000)
    assert np.abs(item.speech - expected)[100:-100].max() < 0.01


def test_segments_cut_recordings(tmp_path: Path) -> None:
    wave = make_speech(2.0)
    path = write(tmp_path / "r.wav", wave, subtype="FLOAT")
    (tmp_path / "segments").write_text("a r 0.5 1.25\nb r 1.0 2.01\nc r 5 6\nd gone 0 1\n")
    pool = make_pool(tmp_path, {"r": path}, keys=list("abcd"), segments=tmp_path / "segments")
    a, b, c, d = pool
    assert isinstance(a, Utterance)
    assert np.array_equal(a.speech, wave[4000:10000])
    assert isinstance(b, Utterance)
    assert len(b.speech) == 8000  # an overshoot by rounding is forgiven
    assert isinstance(c, Skipped)
    assert "lies beyond the 2.00 s" in c.detail
    assert isinstance(d, Skipped)
    assert d.reason == "missing_recording"


def test_a_bad_line_costs_one_clip(tmp_path: Path) -> None:
    wave = make_speech(2.0)
    scp = {"r": write(tmp_path / "r.wav", wave, subtype="FLOAT"), "none": ""}
    lines = {"good": "r 0.5 1.25", "to_the_end": "r 0.5 -1", "no_length": "r 1 1"}
    lines |= {"beyond": "r 1.5 2.6", "no_path": "none 0 1", "nowhere": "gone 0 1"}
    lines |= {"twice": "t 0 1"}
    (tmp_path / "segments").write_text("".join(f"{u} {line}\n" for u, line in lines.items()))
    make_pool(tmp_path, scp)
    with (tmp_path / "wav.scp").open("a") as f:
        f.write("t 1.wav\nt 2.wav\n")
    data = [(str(tmp_path / "wav.scp"), "speech", "sound")]
    pool = Pool(data, list(lines), 8000, segments=tmp_path / "segments")
    found = {item.uid: item for item in pool}
    assert {u: i.reason for u, i in found.items() if isinstance(i, Skipped)} == {
        "no_length": "bad_segment",
        "beyond": "bad_segment",
        "no_path": "unreadable_audio",
        "nowhere": "missing_recording",
        "twice": "bad_line",
    }
    assert np.array_equal(found["good"].speech, wave[4000:10000])  # type: ignore[union-attr]
    assert np.array_equal(found["to_the_end"].speech, wave[4000:])  # type: ignore[union-attr]


def test_a_clip_of_no_duration_is_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", make_speech(0.5))
    (tmp_path / "utt2dur").write_text("a 0.5\nb 0\nc nan\n")
    durations = read_durations(tmp_path / "utt2dur")
    a, b, c, d = make_pool(tmp_path, dict.fromkeys("abcd", path), utt2dur=durations)
    assert isinstance(a, Utterance)
    assert (b.reason, c.reason) == ("bad_duration", "bad_duration")  # type: ignore[union-attr]
    assert "utt2dur: 'b' lasts '0'" in b.detail  # type: ignore[union-attr]
    assert isinstance(d, Utterance)  # of which utt2dur says nothing


def test_arks_of_kaldis_wav_copy_are_read(tmp_path: Path) -> None:
    """Their entries are RIFF files as they are, one behind the other."""
    waves = {"a": make_speech(0.5), "b": make_speech(0.25)}
    ark, places = b"", {}
    for uid, wave in waves.items():
        ark += f"{uid} ".encode()
        places[uid] = f"{tmp_path}/raw_wav.ark:{len(ark)}"
        ark += Path(write(tmp_path / f"{uid}.wav", wave)).read_bytes()
    (tmp_path / "raw_wav.ark").write_bytes(ark)
    for item in make_pool(tmp_path, places):
        assert isinstance(item, Utterance)
        assert np.abs(item.speech - waves[item.uid]).max() < 1e-4
    # As ESPnet reads them, they are integers: beside others they must not be trained on.
    with pytest.raises(UtteranceError, match="no sound as ESPnet's format_wav_scp"):
        find_sound(places["a"], framed=True)
    (tmp_path / "raw_wav.ark").write_bytes(ark[:-100])
    a, b = make_pool(tmp_path, places)
    assert isinstance(a, Utterance)
    assert "the ark ends before the entry does" in b.detail  # type: ignore[union-attr]


def test_bad_audio_is_reported_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("this is no audio")
    whole = Path(write(tmp_path / "whole.wav", make_speech(1.0))).read_bytes()
    (tmp_path / "header.wav").write_bytes(whole[:20])
    nan = make_speech(0.1)
    nan[3] = np.nan
    scp = {
        "corrupt": str(tmp_path / "text.wav"),
        "empty": write(tmp_path / "empty.wav", np.zeros(0)),
        "fails": "echo 'no such tape' >&2; exit 3 |",
        "header": str(tmp_path / "header.wav"),
        "missing": str(tmp_path / "missing.wav"),
        "nan": write(tmp_path / "nan.wav", nan, subtype="FLOAT"),
        "zero": str(tmp_path / "zero.wav"),
    }
    (tmp_path / "zero.wav").touch()
    found = {item.uid: item for item in make_pool(tmp_path, scp)}
    assert {uid: getattr(item, "reason", None) for uid, item in found.items()} == {
        "corrupt": "unreadable_audio",
        "empty": "empty_audio",
        "fails": "failed_pipe",
        "header": "unreadable_audio",
        "missing": "unreadable_audio",
        "nan": "not_finite_audio",
        "zero": "unreadable_audio",
    }
    assert "ended with 3: no such tape" in found["fails"].detail  # type: ignore[union-attr]


def test_pipes_can_be_forbidden(tmp_path: Path) -> None:
    scp = {"a": f"touch {tmp_path}/ran |"}
    (item,) = make_pool(tmp_path, scp, allow_pipes=False)
    assert isinstance(item, Skipped)
    assert item.reason == "pipe_not_allowed"
    assert not (tmp_path / "ran").exists()


def test_features_are_read_by_espnet(tmp_path: Path) -> None:
    features = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    np.save(tmp_path / "a.npy", features)
    (tmp_path / "feats.scp").write_text(f"a {tmp_path / 'a.npy'}\nb {tmp_path / 'b.npy'}\n")
    pool = Pool([(str(tmp_path / "feats.scp"), "speech", "npy")], ["a", "b"], 8000)
    a, b = pool
    assert isinstance(a, Utterance)
    assert np.array_equal(a.speech, features)
    assert a.seconds == 0.5
    assert isinstance(b, Skipped)


def test_kaldi_ark_audio_is_read_by_espnet(tmp_path: Path) -> None:
    # ESPnet 202611 reads archives with omniio, 202511 with kaldiio.
    io = importlib.import_module("omniio.kaldi" if find_spec("omniio") else "kaldiio")
    wave = (make_speech(0.5) * 32767).astype(np.int16)
    ark, scp = tmp_path / "wav.ark", tmp_path / "wav.scp"
    with io.WriteHelper(f"ark,scp:{ark},{scp}") as writer:
        writer["a"] = (8000, wave)
    (item,) = Pool([(str(scp), "speech", "kaldi_ark")], ["a"], 8000)
    assert isinstance(item, Utterance)
    assert item.seconds == 0.5
    # Integers, not [-1, 1]: ESPnet trains on them as they are, so they are scored as they are.
    assert np.array_equal(item.speech, wave)


def test_workers_keep_the_order(tmp_path: Path) -> None:
    scp = {f"u{i}": write(tmp_path / f"{i}.wav", make_speech(0.1 + i / 10)) for i in range(5)}
    pool = make_pool(tmp_path, scp)
    for workers in (0, 2):
        assert [item.uid for item in read_ahead(pool, workers)] == list(scp)


def test_wrong_lists_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must name 'speech'"):
        Pool([("a", "text", "text")], [], 8000)
    with pytest.raises(DataError, match=r"lacks 1 of the keys, e\.g\. 'z'"):
        make_pool(tmp_path, {"a": "a.wav"}, keys=["a", "z"])
    with pytest.raises(DataError, match="cannot be read"):
        Pool([(str(tmp_path / "none.scp"), "speech", "kaldi_ark")], ["a"], 8000)


def test_no_clip_can_end_the_worker_that_reads_it(tmp_path: Path) -> None:
    def broken(uid: str, data: dict[str, object]) -> dict[str, object]:
        raise OverflowError("a bug")

    scp = write_scp(tmp_path, {"a": write(tmp_path / "a.wav", make_speech(0.2))})
    (item,) = Pool([(scp, "speech", "sound")], ["a"], 8000, preprocess=broken)
    assert item == Skipped("a", "unexpected_error", "OverflowError: a bug")


def test_a_pool_can_be_sent_to_another_process(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, {"a": write(tmp_path / "a.wav", make_speech(0.2))})
    (item,) = pickle.loads(pickle.dumps(pool))
    assert item.uid == "a"


def make_channels(tmp_path: Path, scp: dict[str, str], rate: int = 8000, **options: object) -> Pool:
    data = [(write_scp(tmp_path, scp), "speech", "multi_columns_sound")]
    keys = options.pop("keys", list(scp))
    return Pool(data, keys, rate, **options)  # type: ignore[arg-type]


def test_columns_of_several_channels_are_read_as_espnet_reads_them(tmp_path: Path) -> None:
    from espnet2.train.dataset import ESPnetDataset

    wave = make_speech(0.5)
    a, b = write(tmp_path / "a.wav", wave), write(tmp_path / "b.flac", wave / 2)
    both = write(tmp_path / "both.wav", np.stack([wave / 3, wave / 4], 1))
    scp = {"columns": f"{a} {b}", "file": both, "mixed": f"{both} {a}", "mono": a}
    pool = make_channels(tmp_path, scp)
    espnet = ESPnetDataset([(pool.path, "speech", pool.type)], preprocess=None)
    for item in pool:
        assert isinstance(item, Utterance)
        assert item.seconds == 0.5
        assert item.speech.dtype == np.float32
        assert np.array_equal(item.speech, espnet[item.uid][1]["speech"])


def test_columns_of_another_rate_are_resampled_each_channel_by_itself(tmp_path: Path) -> None:
    wave = make_speech(1.0, rate=16000)
    a, b = write(tmp_path / "a.wav", wave, 16000), write(tmp_path / "b.wav", wave / 2, 16000)
    both = write(tmp_path / "both.wav", np.stack([wave, wave / 2], 1), 16000)
    slow = write(tmp_path / "slow.wav", make_speech(1.0))
    scp = {"columns": f"{a} {b}", "file": both, "mono": a, "slow": slow}
    channels = [make_pool(tmp_path, {"a": path}).read("a").speech for path in (a, b)]
    columns, file, mono, slow_item = make_channels(tmp_path, scp)
    for item in (columns, file, mono, slow_item):
        assert (len(item.speech), item.seconds) == (8000, 1.0)
    for item in (columns, file):
        assert np.allclose(item.speech, np.stack(channels, 1), atol=1e-4)
    assert np.array_equal(mono.speech, channels[0])


def test_columns_may_be_cut_by_segments_and_come_from_a_command(tmp_path: Path) -> None:
    wave = np.stack([make_speech(2.0), make_speech(2.0) / 2], 1)
    path = write(tmp_path / "r.wav", wave, subtype="FLOAT")
    (tmp_path / "segments").write_text("a r 0.5 1.25\nb p 0.5 1.25\n")
    scp = {"r": path, "p": f"cat {path} |"}
    pool = make_channels(tmp_path, scp, keys=["a", "b"], segments=tmp_path / "segments")
    for item in pool:
        assert np.array_equal(item.speech, wave[4000:10000])


def test_bad_columns_are_reported_with_their_reason(tmp_path: Path) -> None:
    wave = make_speech(1.0)
    good = write(tmp_path / "a.wav", wave)
    whole = Path(good).read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    bad = wave.copy()
    bad[3] = np.nan
    scp = {
        "cut": f"{good} {tmp_path}/cut.wav",
        "length": f"{good} {write(tmp_path / 'b.wav', wave[:-1])}",
        "long": write(tmp_path / "long.wav", make_speech(3.0)),
        "missing": f"{good} {tmp_path}/none.wav",
        "nan": write(tmp_path / "nan.wav", np.stack([wave, bad], 1), subtype="FLOAT"),
        "none": "",
        "pipe": f"touch {tmp_path}/ran |",
        "pipe_in_columns": f"{good} touch|",
        "rate": f"{good} {write(tmp_path / 'c.wav', wave, 16000)}",
    }
    pool = make_channels(tmp_path, scp, allow_pipes=False, max_seconds=2.0)
    found = {item.uid: item for item in pool}
    assert {uid: getattr(item, "reason", None) for uid, item in found.items()} == {
        "cut": "truncated_audio",
        "length": "unreadable_audio",
        "long": "too_long",
        "missing": "unreadable_audio",
        "nan": "not_finite_audio",
        "none": "unreadable_audio",
        "pipe": "pipe_not_allowed",
        "pipe_in_columns": "pipe_not_allowed",
        "rate": "unreadable_audio",
    }
    assert "7999 samples at 8000 Hz" in found["length"].detail  # type: ignore[union-attr]
    assert "8000 samples at 16000 Hz" in found["rate"].detail  # type: ignore[union-attr]
    assert not (tmp_path / "ran").exists()


def test_commands_are_not_run_by_any_type_that_must_not(tmp_path: Path) -> None:
    scp = write_scp(tmp_path, {"a": f"touch {tmp_path}/ran |"})
    (item,) = Pool([(scp, "speech", "kaldi_ark")], ["a"], 8000, allow_pipes=False)
    assert (item.reason, (tmp_path / "ran").exists()) == ("pipe_not_allowed", False)


def write_scp(directory: Path, rows: dict[str, str]) -> str:
    path = directory / "list.scp"
    path.write_text("".join(f"{uid} {value}\n" for uid, value in rows.items()))
    return str(path)
