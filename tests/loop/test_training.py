"""The seed set and what was labelled, joined."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
from espnet2.train.dataset import ESPnetDataset

from espnet_egl.bin import al_train_data
from espnet_egl.data.audio import change_speed
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
    config = tmp_path / "train.yaml"
    config.write_text("lr: 0.1\n")
    (new / "text").write_text("a two\n")
    before = (tmp_path / "o" / "text").read_bytes()
    for other in (["--train_options", "--max_epoch 6"], ["--train_file", str(config)]):
        with pytest.raises(SystemExit):
            al_train_data.main([*cmd, *other])
        assert "move the directory away" in capsys.readouterr().err
        # The training set is still that of the model.
        assert (tmp_path / "o" / "text").read_bytes() == before


def test_a_model_of_fewer_transcripts_is_kept_aside(
    tmp_path: Path, seed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ready = wav(tmp_path / "ready.wav", 1.0)
    scp = f"a {ready}\nb {ready}\n"
    new = data_dir(tmp_path / "n", wav_scp=scp, text="a one\nb x\n", utt2spk="a x\nb x\n")
    (new / "text").write_text("a one\n")
    model = tmp_path / "asr"
    cmd = ["--seed_dir", str(seed), "--labelled_dir", str(new), "--output_dir", str(tmp_path / "o")]
    cmd += ["--fs", "8k", "--model_dir", str(model)]
    al_train_data.main(cmd)
    (model / "train_seconds").write_text("7\n")
    al_train_data.main([*cmd, "--only_check", "true"])
    for number, text in ((1, "a one\nb two\n"), (2, "a one\nb three\n")):
        (new / "text").write_text(text)
        # Its error rates would be booked as those of all transcripts.
        with pytest.raises(SystemExit):
            al_train_data.main([*cmd, "--only_check", "true"])
        assert "trained on other transcripts" in capsys.readouterr().err
        al_train_data.main(cmd)
        assert read_table(tmp_path / "o" / "text")["b"] == text.split()[-1]
        assert (tmp_path / f"asr.{number}" / "manifest.json").exists()
        assert [path.name for path in model.iterdir()] == ["manifest.json"]
    assert (tmp_path / "asr.1" / "train_seconds").exists()


def test_a_half_of_which_nothing_came_back_is_named(tmp_path: Path, seed: Path) -> None:
    ready = wav(tmp_path / "ready.wav", 1.0)
    new = data_dir(tmp_path / "n", wav_scp=f"a {ready}\n", text="a one\n", utt2spk="a x\n")
    with pytest.raises(DataError, match="nothing of the chosen half is transcribed yet"):
        join_sets(seed, [new], tmp_path / "chosen", RATE, part="chosen")
    assert not (tmp_path / "chosen" / "text").exists()


def test_what_espnet_would_not_read_to_its_end_is_written_anew(tmp_path: Path, seed: Path) -> None:
    ready = wav(tmp_path / "ready.wav", 1.0)
    ramp, _ = soundfile.read(ready, dtype="float32")
    killed, scale, raw = (tmp_path / name for name in ("killed.wav", "scale.wav", "raw.ul"))
    content = ready.read_bytes()
    killed.write_bytes(content[:40] + bytes(4) + content[44:])
    soundfile.write(scale, ramp * 2**15, RATE, subtype="FLOAT")
    soundfile.write(raw, ramp, RATE, format="RAW", subtype="ULAW")
    new = data_dir(
        tmp_path / "new",
        wav_scp=f"a {ready}\nb {killed}\nc {scale}\nd {raw}\n",
        text="a one\nb one\nc one\nd one\n",
        utt2spk="a x\nb x\nc x\nd x\n",
    )
    assert join_sets(seed, [new], tmp_path / "out", RATE) == (1, 4, 0)
    paths = read_table(tmp_path / "out" / "wav.scp")
    assert paths["a"] == str(ready)
    for uid in "bcd":
        assert Path(paths[uid]).suffix == ".flac"
        np.testing.assert_allclose(soundfile.read(paths[uid])[0], ramp, atol=0.02)


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


def seed_in_ark(directory: Path, container: str) -> Path:
    """As ESPnet's format_wav_scp.py dumps it: ramp.wav, which is left beside it, for 's'."""
    io = importlib.import_module("omniio.kaldi" if find_spec("omniio") else "kaldiio")
    wave, _ = soundfile.read(wav(directory.parent / "ramp.wav", 1.0))
    scp = directory.parent / "all.scp"
    with (directory.parent / "data_wav.ark").open("wb") as f, scp.open("w") as f_scp:
        for uid in ("s0", "s"):
            io.save_ark(
                *(f, {uid: (wave, RATE)}, f_scp),
                append=True,
                write_function="soundfile",
                write_kwargs={"format": container, "subtype": None},
            )
    entry = read_table(scp)["s"]
    return data_dir(directory, wav_scp=f"s {entry}\n", text="s one\n", utt2spk="s sp\n")


@pytest.mark.parametrize(("audio_format", "container"), [("flac.ark", "FLAC"), ("wav.ark", "WAV")])
def test_espnet_reads_labelled_clips_as_it_reads_a_seed_set_in_arks(
    tmp_path: Path, audio_format: str, container: str
) -> None:
    seed = seed_in_ark(tmp_path / "seed", container)
    ramp, pooled = tmp_path / "ramp.wav", read_table(seed / "wav.scp")["s"]
    new = data_dir(
        tmp_path / "n",
        wav_scp=f"\u3042 {ramp}\nb cat {ramp} |\nc {pooled}\nd {wav(tmp_path / 'd.wav', 0.05)}\n",
        text="\u3042 one\nb two\nc three\nd four\n",
        utt2spk="\u3042 x\nb x\nc x\nd x\n",
    )
    out = tmp_path / "out"
    sizes = join_sets(
        *(seed, [new], out, RATE, 0.1), speed_factors=(0.9, 1.0), audio_format=audio_format
    )
    assert sizes == (1, 3, 2)
    assert (out / "audio_format").read_text() == f"{audio_format}\n"
    entries = read_table(out / "wav.scp")
    # Of a dumped pool, nothing is written once more.
    assert entries["c"] == pooled
    assert entries["b"].startswith(f"{out / 'labelled.ark'}:")
    assert not (out / "audio").exists()
    dataset = ESPnetDataset([(str(out / "wav.scp"), "speech", "kaldi_ark")])
    expected, _ = soundfile.read(ramp, dtype="float32")
    slower = change_speed(expected, RATE, 0.9)
    for uid in entries:
        assert uid.removeprefix("sp0.9-") in ("s", "\u3042", "b", "c")
        speech = dataset[uid][1]["speech"]
        whole = slower if uid.startswith("sp0.9-") else expected
        np.testing.assert_allclose(speech, whole, atol=2**-15, err_msg=uid)


def test_an_ark_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = seed_in_ark(tmp_path / "seed", "FLAC")
    ramp = tmp_path / "ramp.wav"
    new = data_dir(
        tmp_path / "n", wav_scp=f"a {ramp}\nb {ramp}\n", text="a x\nb y\n", utt2spk="a x\nb x\n"
    )
    out = tmp_path / "out"
    join_sets(seed, [new], out, RATE, audio_format="flac.ark")
    before = {path: path.read_bytes() for path in out.iterdir()}
    (new / "text").write_text("b x\ns y\n")
    (new / "utt2spk").write_text("b x\ns x\n")
    (new / "wav.scp").write_text(f"b {ramp}\ns {ramp}\n")
    (new / "returned.tsv").write_text((new / "returned.tsv").read_text().replace("\na", "\ns"))
    with pytest.raises(DataError, match="'s' is in the training set already"):
        join_sets(seed, [new], out, RATE, audio_format="flac.ark")
    assert {path: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize(
    ("entry", "audio_format", "message"),
    [
        ("{}/a.flac", "flac.ark", "'s' is no entry of an ark, but --audio_format is flac.ark"),
        ("{}/data_wav.ark:3", "flac", "'s' is an entry of an ark, but --audio_format is flac"),
        ("{}/data_wav.ark:2", "flac.ark", "no sound as ESPnet's format_wav_scp.py"),
        ("{}/none.ark:3", "flac.ark", "none.ark: no such file; run stages 3 and 4 again"),
        ("{}/data_wav.ark:3", "mp3.ark", "--audio_format mp3.ark: training on it is not supported"),
    ],
)
def test_a_seed_set_of_another_format_is_refused(
    tmp_path: Path, entry: str, audio_format: str, message: str
) -> None:
    seed = seed_in_ark(tmp_path / "seed", "FLAC")
    (seed / "wav.scp").write_text(f"s {entry.format(tmp_path)}\n")
    with pytest.raises((ConfigError, DataError), match=message):
        join_sets(seed, [], tmp_path / "out", RATE, audio_format=audio_format)


def test_entries_of_arks_become_files_where_the_seed_set_is_of_files(
    tmp_path: Path, seed: Path
) -> None:
    pooled = read_table(seed_in_ark(tmp_path / "pool", "FLAC") / "wav.scp")["s"]
    new = data_dir(
        tmp_path / "n",
        wav_scp=f"a {pooled}\nb {pooled}9\n",
        text="a x\nb y\n",
        utt2spk="a x\nb x\n",
    )
    assert join_sets(seed, [new], tmp_path / "out", RATE) == (1, 1, 1)
    wave, _ = soundfile.read(read_table(tmp_path / "out" / "wav.scp")["a"])
    np.testing.assert_allclose(wave, soundfile.read(tmp_path / "ramp.wav")[0], atol=2**-15)
    assert "b\tunreadable_audio" in (tmp_path / "out" / "skipped.tsv").read_text()
