"""The seed set and what was labelled, joined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_egl.bin import al_train_data
from espnet_egl.data.kaldi import read_table
from espnet_egl.errors import ConfigError, DataError
from espnet_egl.loop.training import join_sets, parse_factors

RATE = 8000


def data_dir(directory: Path, **tables: str) -> Path:
    directory.mkdir(parents=True)
    for name, text in tables.items():
        (directory / name.replace("_scp", ".scp")).write_text(text)
    uids = [line.split()[0] for line in tables["text"].splitlines()]
    # The first is drawn, the others are chosen.
    rows = [f"{u}\tlabelled\t1\t{'egl rank 1 of 9' if i else 'random'}" for i, u in enumerate(uids)]
    head = "utterance\tstate\tseconds\treason"
    (directory / "returned.tsv").write_text("\n".join([head, *rows]) + "\n")
    return directory


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    return data_dir(tmp_path / "seed", wav_scp="s /s.wav\n", text="s one\n", utt2spk="s sp\n")


def wav(path: Path, seconds: float, rate: int = RATE) -> Path:
    ramp = np.linspace(0, 0.5, int(seconds * rate), dtype=np.float32)
    soundfile.write(path, ramp, rate)
    return path


def test_files_pipes_segments_and_rates(tmp_path: Path, seed: Path) -> None:
    ready, other = wav(tmp_path / "ready.wav", 1.0), wav(tmp_path / "other.wav", 1.0, 16000)
    first = data_dir(
        tmp_path / "first",
        wav_scp=f"a {ready}\nb {other}\nc cat {ready} |\nd /missing.wav\n",
        text="a one\nb two\nc three\nd four\n",
        utt2spk="a x\nb x\nc y\nd y\n",
    )
    second = data_dir(
        tmp_path / "second",
        wav_scp=f"rec {ready}\n",
        segments="e/.. rec 0.25 0.75\nf rec 0.1 0.15\n",
        text="e/.. five\nf six\n",
        utt2spk="e/.. x\nf x\n",
    )
    out = tmp_path / "out"
    assert join_sets(seed, [first, second], out, RATE, 0.1, 20.0) == (1, 4, 2)
    assert read_table(out / "text") == {
        "a": "one",
        "b": "two",
        "c": "three",
        "e/..": "five",
        "s": "one",
    }
    assert read_table(out / "spk2utt") == {"sp": "s", "x": "a b e/..", "y": "c"}
    paths = read_table(out / "wav.scp")
    assert paths["a"] == str(ready)
    whole, _ = soundfile.read(ready)
    for uid, expected in (("c", whole), ("e/..", whole[2000:6000])):
        assert Path(paths[uid]).parent == out / "audio"
        wave, rate = soundfile.read(paths[uid])
        assert rate == RATE
        np.testing.assert_allclose(wave, expected, atol=2**-15)
    assert soundfile.info(paths["b"]).samplerate == RATE
    skipped = (out / "skipped.tsv").read_text()
    assert "d\tunreadable_audio" in skipped
    assert "f\tduration\t0.050 s" in skipped


def test_an_utterance_of_the_seed_set_is_refused(tmp_path: Path, seed: Path) -> None:
    again = data_dir(tmp_path / "x", wav_scp="s /s.wav\n", text="s one\n", utt2spk="s sp\n")
    with pytest.raises(DataError, match="'s' is in the training set already"):
        join_sets(seed, [again], tmp_path / "out", RATE)


def test_the_command_prints_the_sizes(
    tmp_path: Path, seed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = wav(tmp_path / "a.wav", 1.0)
    new = data_dir(tmp_path / "n", wav_scp=f"a {path}\n", text="a one\n", utt2spk="a sp\n")
    cmd = ["--seed_dir", str(seed), "--labelled_dir", str(new), "--output_dir", str(tmp_path / "o")]
    al_train_data.main([*cmd, "--fs", "8k"])
    assert "1 of the seed set, 1 labelled" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        al_train_data.main([*cmd, "--fs", "fast"])


def test_without_a_seed_set_what_is_labelled_stands_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = wav(tmp_path / "a.wav", 1.0)
    new = data_dir(tmp_path / "n", wav_scp=f"a {path}\n", text="a one\n", utt2spk="a sp\n")
    out = tmp_path / "o"
    cmd = ["--labelled_dir", str(new), "--output_dir", str(out), "--model_dir", str(out / "asr")]
    al_train_data.main([*cmd, "--fs", "8k"])
    assert read_table(out / "text") == {"a": "one"}
    assert "0 of the seed set, 1 labelled" in capsys.readouterr().out


def test_a_part_of_what_is_labelled(tmp_path: Path, seed: Path) -> None:
    ready = wav(tmp_path / "ready.wav", 1.0)
    new = data_dir(
        tmp_path / "n",
        wav_scp=f"a {ready}\nb {ready}\n",
        text="a one\nb two\n",
        utt2spk="a x\nb x\n",
    )
    for part, expected in (
        ("all", ["a", "b", "s"]),
        ("random", ["a", "s"]),
        ("chosen", ["b", "s"]),
    ):
        join_sets(seed, [new], tmp_path / part, RATE, part=part)
        assert list(read_table(tmp_path / part / "text")) == expected


def test_a_model_of_other_data_is_not_taken_for_this_ones(
    tmp_path: Path, seed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ready = wav(tmp_path / "ready.wav", 1.0)
    new = data_dir(tmp_path / "n", wav_scp=f"a {ready}\n", text="a one\n", utt2spk="a x\n")
    cmd = ["--seed_dir", str(seed), "--labelled_dir", str(new), "--output_dir", str(tmp_path / "o")]
    cmd += ["--fs", "8k", "--model_dir", str(tmp_path / "asr")]
    for _ in range(2):
        al_train_data.main([*cmd, "--train_options", "--max_epoch 5"])
    (new / "text").write_text("a two\n")
    before = (tmp_path / "o" / "text").read_bytes()
    for options in ("--max_epoch 5", "--max_epoch 6"):
        with pytest.raises(SystemExit):
            al_train_data.main([*cmd, "--train_options", options])
        assert "move the directory away" in capsys.readouterr().err
        # The training set is still that of the model.
        assert (tmp_path / "o" / "text").read_bytes() == before


def test_audio_that_changed_is_cut_anew(tmp_path: Path, seed: Path) -> None:
    ready = wav(tmp_path / "ready.wav", 3.0)
    new = data_dir(
        tmp_path / "n", wav_scp=f"r {ready}\n", segments="a r 0 1\n", text="a x\n", utt2spk="a x\n"
    )
    for end, rate in ((1, RATE), (2, RATE), (2, 2 * RATE)):
        (new / "segments").write_text(f"a r 0 {end}\n")
        join_sets(seed, [new], tmp_path / "out", rate)
        info = soundfile.info(read_table(tmp_path / "out" / "wav.scp")["a"])
        assert (info.duration, info.samplerate) == (end, rate)


def test_labelled_clips_are_perturbed_as_the_seed_set_is(tmp_path: Path, seed: Path) -> None:
    ready = wav(tmp_path / "ready.wav", 1.0)
    labelled = data_dir(tmp_path / "first", wav_scp=f"a {ready}\n", text="a one\n", utt2spk="a x\n")
    factors = parse_factors("0.9 1.0 1.1")
    out = tmp_path / "out"
    assert join_sets(seed, [labelled], out, RATE, speed_factors=factors) == (1, 1, 0)
    assert read_table(out / "utt2spk") == {
        "a": "x",
        "s": "sp",
        "sp0.9-a": "sp0.9-x",
        "sp1.1-a": "sp1.1-x",
    }
    assert set(read_table(out / "text").values()) == {"one"}
    paths = read_table(out / "wav.scp")
    frames = {uid: soundfile.info(paths[uid]).frames for uid in ("a", "sp0.9-a", "sp1.1-a")}
    assert frames["a"] == RATE
    assert frames["sp0.9-a"] == pytest.approx(RATE / 0.9, abs=2)
    assert frames["sp1.1-a"] == pytest.approx(RATE / 1.1, abs=2)


@pytest.mark.parametrize("text", ["0.9 fast", "0", "-1 1", "nan"])
def test_speeds_are_numbers_above_zero(text: str) -> None:
    with pytest.raises(ConfigError, match="speed_perturb_factors"):
        parse_factors(text)


def test_no_speeds_are_one() -> None:
    assert parse_factors("") == (1.0,)
