"""Recordings with several channels: which one is read, scored, heard and trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import make_speech

from espnet_egl.bin import al_channel
from espnet_egl.data.audio import read_audio
from espnet_egl.data.channel_dir import choose_channel
from espnet_egl.data.channels import is_overheard, pick
from espnet_egl.data.kaldi import read_segments, read_table, subset_data_dir
from espnet_egl.data.pool import Pool
from espnet_egl.data.shards import set_aside
from espnet_egl.errors import ConfigError, UtteranceError
from espnet_egl.exchange.clips import place_audio
from espnet_egl.exchange.tasks import read_tasks
from espnet_egl.loop.training import join_sets
from espnet_egl.types import Skipped, Utterance

RATE = 8000
LEFT, RIGHT = make_speech(1.0, seed=1), make_speech(1.0, seed=2)
SILENCE = np.zeros(RATE, np.float32)


def pauses(wave: np.ndarray) -> np.ndarray:
    """Speech in a half of every second of it."""
    return wave * (np.arange(len(wave)) % RATE < RATE // 2)


def noise(level: float) -> np.ndarray:
    return (level * np.random.default_rng(3).standard_normal(RATE)).astype(np.float32)


def click() -> np.ndarray:
    wave = SILENCE.copy()
    wave[:200] = 0.9
    return wave


@pytest.mark.parametrize(
    ("read", "other", "overheard"),
    [
        pytest.param(SILENCE, LEFT, True, id="the_read_one_is_silent"),
        pytest.param(SILENCE, 0.02 * pauses(LEFT), True, id="and_the_other_faint"),
        pytest.param(noise(0.003), pauses(LEFT), True, id="the_read_one_is_noise"),
        pytest.param(pauses(LEFT), pauses(RIGHT)[::-1], True, id="in_turns"),
        pytest.param(LEFT, LEFT, False, id="the_same"),
        pytest.param(LEFT, 0.6 * LEFT, False, id="two_microphones"),
        pytest.param(0.5 * LEFT, LEFT, False, id="the_louder_one_is_the_other"),
        pytest.param(LEFT, SILENCE, False, id="the_other_is_silent"),
        pytest.param(LEFT, noise(0.003), False, id="the_other_is_noise"),
        pytest.param(SILENCE, noise(0.003), False, id="nothing_but_noise"),
        pytest.param(SILENCE, click(), False, id="a_click"),
        pytest.param(SILENCE, SILENCE, False, id="nothing"),
    ],
)
def test_another_channel_speaks(read: np.ndarray, other: np.ndarray, overheard: bool) -> None:
    both = np.stack([read, other], 1)
    assert is_overheard(both, None, RATE) is overheard
    assert is_overheard(both[:, ::-1], 1, RATE) is overheard
    assert not is_overheard(both, "mean", RATE)
    assert not is_overheard(both[:, :1], None, RATE)
    assert not is_overheard(both[:10], None, RATE)


def test_one_channel_of_all() -> None:
    both = np.stack([LEFT, RIGHT], 1)
    assert np.array_equal(pick(both, None, "a"), LEFT)
    assert np.array_equal(pick(both, 1, "a"), RIGHT)
    assert np.allclose(pick(both, "mean", "a"), (LEFT + RIGHT) / 2)
    with pytest.raises(UtteranceError, match=r"no_channel: a: no channel 3, it has 2"):
        pick(both, 2, "a")


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """A pool of two calls, one of them by a command, a memo, and what is no audio."""
    both = np.stack([LEFT, RIGHT], 1)
    soundfile.write(tmp_path / "call.wav", both, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "memo.wav", LEFT, RATE, subtype="FLOAT")
    (tmp_path / "broken.wav").write_text("no audio")
    pool = tmp_path / "pool"
    pool.mkdir()
    entries = {"broken": f"{tmp_path}/broken.wav", "call": f"{tmp_path}/call.wav"}
    entries |= {"memo": f"{tmp_path}/memo.wav", "pipe": f"cat {tmp_path}/call.wav |"}
    tables = {"wav.scp": entries, "utt2spk": {"call": "anna", "memo": "anna"}}
    tables["utt2lang"] = {"call": "en"}
    for name, rows in tables.items():
        (pool / name).write_text("".join(f"{uid} {value}\n" for uid, value in rows.items()))
    return pool


def pool_of(directory: Path, **options: bool) -> Pool:
    segments = directory / "segments"
    keys = list(read_table(segments if segments.exists() else directory / "wav.scp"))
    data = [(str(directory / "wav.scp"), "speech", "sound")]
    return Pool(data, keys, RATE, segments=segments if segments.exists() else None, **options)


def test_every_channel_is_an_utterance(calls: Path, tmp_path: Path) -> None:
    out = choose_channel(calls, "each", tmp_path / "each")
    assert read_segments(out / "segments").all() == {
        "broken": ("broken", 0.0, None, None),
        "call-ch1": ("call", 0.0, None, 0),
        "call-ch2": ("call", 0.0, None, 1),
        "memo": ("memo", 0.0, None, None),
        "pipe-ch1": ("pipe", 0.0, None, 0),
        "pipe-ch2": ("pipe", 0.0, None, 1),
    }
    assert read_table(out / "utt2spk") == {
        "broken": "broken",
        "call-ch1": "anna-ch1",
        "call-ch2": "anna-ch2",
        "memo": "anna",
        "pipe-ch1": "pipe-ch1",
        "pipe-ch2": "pipe-ch2",
    }
    assert read_table(out / "utt2lang") == {"call-ch1": "en", "call-ch2": "en"}
    found = {item.uid: item for item in pool_of(out)}
    assert isinstance(found.pop("broken"), Skipped)
    for uid, item in found.items():
        assert isinstance(item, Utterance)
        assert np.array_equal(item.speech, RIGHT if uid.endswith("ch2") else LEFT)
        assert not item.overheard  # the other one is an utterance, too


def test_channels_that_are_cut_at_their_own_pauses_are_all_read(
    calls: Path, tmp_path: Path
) -> None:
    """Who speaks in a pause of another one is in a clip of the own channel."""
    soundfile.write(calls.parent / "call.wav", np.stack([LEFT, SILENCE], 1), RATE)
    out = choose_channel(calls, "each", tmp_path / "each")
    lines = ["call-ch1 call 0 0.8 0", "call-ch2 call 0.1 0.9 1", "pipe-ch2 pipe 0.1 0.9 1"]
    (out / "segments").write_text("\n".join(lines) + "\n")
    found = {item.uid: item.overheard for item in pool_of(out) if isinstance(item, Utterance)}
    assert found == {"call-ch1": False, "call-ch2": False, "pipe-ch2": True}


def test_one_channel_or_the_mean_keeps_the_names(calls: Path, tmp_path: Path) -> None:
    assert choose_channel(calls, "first", tmp_path / "first") == calls
    assert not (tmp_path / "first").exists()
    second = {i.uid: i for i in pool_of(choose_channel(calls, 2, tmp_path / "2"))}
    assert np.array_equal(second["call"].speech, RIGHT)  # type: ignore[union-attr]
    assert second["memo"].reason == "no_channel"  # type: ignore[union-attr]
    mean = {i.uid: i for i in pool_of(choose_channel(calls, "mean", tmp_path / "mean"))}
    assert np.allclose(mean["call"].speech, (LEFT + RIGHT) / 2)  # type: ignore[union-attr]
    assert np.array_equal(mean["memo"].speech, LEFT)  # type: ignore[union-attr]


def test_speech_that_is_not_read_is_noticed(calls: Path, tmp_path: Path) -> None:
    soundfile.write(calls.parent / "call.wav", np.stack([SILENCE, LEFT], 1), RATE)
    first = {i.uid: i for i in pool_of(calls)}
    assert first["call"].overheard  # type: ignore[union-attr]
    assert not first["memo"].overheard  # type: ignore[union-attr]
    second = pool_of(choose_channel(calls, 2, tmp_path / "2")).read("call")
    assert not second.overheard  # type: ignore[union-attr]


def test_segments_have_their_channels_and_names_that_are_taken_are_not(
    calls: Path, tmp_path: Path
) -> None:
    lines = {"a": "call 0 0.5", "b": "call 0.5 -1 1", "c": "call 1 1", "a-ch1": "memo 0.25 0.5"}
    (calls / "segments").write_text("".join(f"{uid} {line}\n" for uid, line in lines.items()))
    out = choose_channel(calls, "each", tmp_path / "each")
    segments = read_segments(out / "segments")
    assert segments.good == {
        "a-ch1": ("memo", 0.25, 0.5, None),
        "a-ch1_": ("call", 0.0, 0.5, 0),
        "a-ch2": ("call", 0.0, 0.5, 1),
        "b": ("call", 0.5, None, 1),
    }
    assert segments.bad.keys() == {"c"}
    assert np.array_equal(pool_of(out).read("b").speech, RIGHT[4000:])  # type: ignore[union-attr]


def test_what_is_there_is_left_and_what_changed_is_made_anew(calls: Path, tmp_path: Path) -> None:
    out = choose_channel(calls, "each", tmp_path / "each")
    before = (out / "segments").stat().st_mtime_ns
    (tmp_path / "call.wav").unlink()  # nothing is counted again
    assert choose_channel(calls, "each", out) == out
    assert (out / "segments").stat().st_mtime_ns == before
    with (calls / "wav.scp").open("a") as f:
        f.write(f"new {tmp_path}/memo.wav\n")
    choose_channel(calls, "each", out)
    assert "new" in read_table(out / "segments")


def test_what_is_mended_or_replaced_has_its_channels_too(calls: Path, tmp_path: Path) -> None:
    out = choose_channel(calls, "each", tmp_path / "each")
    both = np.stack([LEFT, RIGHT], 1)
    soundfile.write(tmp_path / "broken.wav", both, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "memo.wav", both, RATE, subtype="FLOAT")
    before = set(read_table(out / "segments"))
    assert {"broken", "memo"} < before
    choose_channel(calls, "each", out)
    now = set(read_table(out / "segments"))
    assert now - before == {"broken-ch1", "broken-ch2", "memo-ch1", "memo-ch2"}
    assert before - now == {"broken", "memo"}
    same = (out / "segments").stat().st_mtime_ns
    soundfile.write(tmp_path / "memo.wav", 0.5 * both, RATE, subtype="FLOAT")
    choose_channel(calls, "each", out)
    assert (out / "segments").stat().st_mtime_ns == same


def test_commands_are_not_run_to_count_their_channels(calls: Path, tmp_path: Path) -> None:
    (calls / "wav.scp").write_text(f"a touch {tmp_path}/ran |\n")
    out = choose_channel(calls, "each", tmp_path / "each", allow_pipes=False)
    assert list(read_table(out / "segments")) == ["a"]
    assert not (tmp_path / "ran").exists()


def test_where_no_channel_can_be_chosen_it_is_said(calls: Path, tmp_path: Path) -> None:
    (calls / "audio_format").write_text("multi_flac\n")
    with pytest.raises(ConfigError, match="the model takes all channels"):
        choose_channel(calls, "each", tmp_path / "each")
    (tmp_path / "feats.scp").touch()
    with pytest.raises(ConfigError, match=r"has no wav\.scp: of features"):
        choose_channel(tmp_path, 2, tmp_path / "each")


def test_the_command_prints_where_to_go_on(
    calls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data_dir", str(calls), "--output_dir", str(tmp_path / "pool")]
    al_channel.main(words)
    assert capsys.readouterr().out.strip() == str(calls)
    al_channel.main([*words, "--channel", "each"])
    assert capsys.readouterr().out.strip() == str(tmp_path / "pool_each")
    for wrong in ("0", "left", "-1"):
        with pytest.raises(SystemExit):
            al_channel.main([*words, "--channel", wrong])
    assert "neither first, mean, each, nor the number of a channel" in capsys.readouterr().err


def test_another_channel_is_not_transcribed_yet(calls: Path, tmp_path: Path) -> None:
    out = choose_channel(calls, "each", tmp_path / "each")
    asked = tmp_path / "asked"
    subset_data_dir(out, asked, ["call-ch1", "memo"], {"call-ch1": 1.0, "memo": 1.0})
    keys, aside = set_aside(read_table(out / "segments"), [out], [asked])
    assert keys == ["broken", "call-ch2", "pipe-ch1", "pipe-ch2"]
    assert [uid for uid, *_ in aside] == ["call-ch1", "memo"]
    # Of a set that names no channel, all may have been heard.
    assert set_aside(read_table(out / "segments"), [out], [calls])[0] == []


def test_people_hear_and_models_learn_the_channel_that_was_scored(
    calls: Path, tmp_path: Path
) -> None:
    out, select = choose_channel(calls, "each", tmp_path / "each"), tmp_path / "select"
    subset_data_dir(out, select, ["call-ch2", "pipe-ch1"], {"call-ch2": 1.0, "pipe-ch1": 1.0})
    rows = [f"{uid}\t1.000\thello" for uid in ("call-ch2", "pipe-ch1")]
    header = "utterance\tseconds\tbest_hypothesis"
    (select / "selection.tsv").write_text("\n".join([header, *rows, ""]))
    tasks = read_tasks(select)
    for how in ("link", "copy", "cut"):
        (ch2, ch1), skipped = place_audio(tasks, tmp_path / how, how, "flac")
        assert not skipped
        for task, wave in ((ch2, RIGHT), (ch1, LEFT)):
            heard, rate = soundfile.read(task.audio, dtype="float32")
            assert (rate, task.channel) == (RATE, None)
            np.testing.assert_allclose(heard, wave, atol=1e-4)
    labelled = tmp_path / "labelled"
    subset_data_dir(select, labelled, ["call-ch2", "pipe-ch1"], {"call-ch2": 1, "pipe-ch1": 1})
    (labelled / "text").write_text("call-ch2 one\npipe-ch1 two\n")
    (labelled / "returned.tsv").write_text(
        "utterance\tstate\tseconds\treason\n"
        "call-ch2\tlabelled\t1.0\tscore\npipe-ch1\tlabelled\t1.0\tscore\n"
    )
    join_sets(None, [labelled], tmp_path / "train", RATE)
    paths = read_table(tmp_path / "train" / "wav.scp")
    for uid, wave in (("call-ch2", RIGHT), ("pipe-ch1", LEFT)):
        np.testing.assert_allclose(read_audio(paths[uid], RATE)[0], wave, atol=1e-4)


def test_a_whole_file_of_two_channels_is_handed_over_as_it_was_scored(
    calls: Path, tmp_path: Path
) -> None:
    (calls / "selection.tsv").write_text(
        "utterance\tseconds\tbest_hypothesis\ncall\t1.000\t\nmemo\t1.000\t\n"
    )
    (call, memo), _ = place_audio(read_tasks(calls), tmp_path / "link", "link", "flac")
    heard, _ = soundfile.read(call.audio, dtype="float32")
    np.testing.assert_allclose(heard, LEFT, atol=1e-4)
    assert Path(memo.audio).is_symlink()


def test_bad_lines_stay_bad_lines(calls: Path, tmp_path: Path) -> None:
    with (calls / "wav.scp").open("a") as f:
        f.write("twice a.wav\ntwice b.wav\n\x01 c.wav\n")
    out = choose_channel(calls, "each", tmp_path / "each")
    found = {item.uid: item for item in pool_of(out)}
    assert isinstance(found["call-ch1"], Utterance)
    for uid in ("twice", "line_7"):
        assert found[uid].reason == "missing_recording"  # type: ignore[union-attr]
