"""How a data directory is read, and what was selected from it before."""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_egl.bin import al_prepare
from espnet_egl.data.directory import key_file, score_words, selected_before
from espnet_egl.errors import DataError


def make(directory: Path, *names: str, audio_format: str = "") -> Path:
    directory.mkdir(parents=True)
    for name in names:
        (directory / name).write_text("")
    if audio_format:
        (directory / "audio_format").write_text(f"{audio_format}\n")
    return directory


def test_utterances_are_segments_where_there_are_some(tmp_path: Path) -> None:
    directory = make(tmp_path / "a", "wav.scp", "segments", "utt2dur")
    assert key_file(directory) == directory / "segments"
    assert score_words(directory)[1:] == [
        f"{directory}/wav.scp,speech,sound",
        *("--segments", f"{directory}/segments", "--utt2dur", f"{directory}/utt2dur"),
    ]


def test_features_stand_in_for_audio_and_nothing_is_refused(tmp_path: Path) -> None:
    directory = make(tmp_path / "a", "feats.scp")
    assert key_file(directory) == directory / "feats.scp"
    assert score_words(directory)[1] == f"{directory}/feats.scp,speech,kaldi_ark"
    with pytest.raises(DataError, match=r"neither wav\.scp nor feats\.scp"):
        key_file(make(tmp_path / "b"))


@pytest.mark.parametrize(
    ("place", "own", "given", "kind"),
    [
        ("dump/raw/pool", "flac.ark", "", "kaldi_ark"),
        ("dump/raw/pool", "", "wav.ark", "kaldi_ark"),
        ("dump/raw/pool", "wav", "flac.ark", "sound"),
        ("dump/raw/pool", "multi_flac", "", "multi_columns_sound"),
        # What a recipe packs is packed in dump/ alone.
        ("data/pool", "", "flac.ark", "sound"),
    ],
)
def test_the_type_is_how_espnet_packed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, own: str, given: str, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make(Path(place), "wav.scp", audio_format=own)
    assert score_words(place, given)[1] == f"{place}/wav.scp,speech,{kind}"


def test_what_was_selected_in_earlier_rounds_is_left_out_under_every_tag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, al_dir = make(tmp_path / "pool"), tmp_path / "al"
    (data / "wav.scp").write_text("a a.wav\nb b.wav\nc c.wav\nd d.wav\n")
    for uid, place in (("a", "r1/select"), ("b", "r1/select_x"), ("c", "r2/select")):
        (make(al_dir / place) / "wav.scp").write_text(f"{uid} {uid}.wav\n")
    assert selected_before(al_dir, 2) == [al_dir / "r1/select", al_dir / "r1/select_x"]
    logdir = tmp_path / "logdir"
    words = ["--data_dir", str(data), "--al_dir", str(al_dir), "--round", "2", "--nj", "1"]
    al_prepare.main([*words, "--output_dir", str(logdir)])
    assert capsys.readouterr().out == "1 1\n"
    keys = (logdir / "keys.1.scp").read_text().splitlines()
    assert [line.split()[0] for line in keys] == ["c", "d"]
    assert (logdir / "data.args").read_text().splitlines() == score_words(data)
