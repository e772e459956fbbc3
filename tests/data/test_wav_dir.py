"""What is in a folder is taken, or listed with its reason."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import make_speech

from espnet_egl.data.audio import read_audio
from espnet_egl.data.kaldi import read_table
from espnet_egl.data.wav_dir import SKIPPED, write_data_dir
from espnet_egl.errors import DataError
from espnet_egl.store.tables import read_rows


def fill(folder: Path, *names: str) -> Path:
    """Empty files: what they hold is not asked here."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def taken(wav_dir: Path, output_dir: Path) -> dict[str, str]:
    """Utterance -> what of the path is below the folder."""
    write_data_dir(wav_dir, output_dir)
    table = read_table(output_dir / "wav.scp")
    return {uid: path.removeprefix(f"{wav_dir}/") for uid, path in table.items()}


def left(output_dir: Path) -> dict[str, str]:
    return {row["utterance"]: row["reason"] for row in read_rows(output_dir / SKIPPED)}


def test_ids_are_paths_and_speakers_folders(tmp_path: Path) -> None:
    wavs = fill(tmp_path / "wavs", "anna/one two.wav", "anna/b.flac", "bert/b.WAV", "broken.wav")
    assert write_data_dir(wavs, tmp_path / "data") == (4, 0)
    assert read_table(tmp_path / "data" / "utt2spk") == {
        "anna-b": "anna",
        "anna-one_two": "anna",
        "bert-b": "bert",
        "broken": "broken",
    }
    table = read_table(tmp_path / "data" / "wav.scp")
    assert table["anna-one_two"] == str(wavs / "anna" / "one two.wav")


def test_what_is_no_folder_or_has_no_audio_is_called_that(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none: no such folder"):
        write_data_dir(tmp_path / "none", tmp_path / "data")
    path = fill(tmp_path, "a.wav") / "a.wav"
    with pytest.raises(DataError, match=r"a\.wav: this is a file, not a folder"):
        write_data_dir(path, tmp_path / "data")
    fill(tmp_path / "texts", "a.txt")
    with pytest.raises(DataError, match=r"no audio file is in it .*; what is: .*skipped\.tsv"):
        write_data_dir(tmp_path / "texts", tmp_path / "data")
    assert left(tmp_path / "data") == {"a.txt": "no_audio_suffix"}


def test_links_are_followed_and_never_in_circles(tmp_path: Path) -> None:
    wavs = fill(tmp_path / "wavs", "a.wav", "deep/b.wav")
    fill(tmp_path / "elsewhere", "c.wav", "more/d.wav")
    (wavs / "deep" / "linked").symlink_to(tmp_path / "elsewhere")
    (wavs / "file.wav").symlink_to(tmp_path / "elsewhere" / "c.wav")
    (wavs / "a_deep").symlink_to(wavs / "deep")  # would be first in the alphabet
    (wavs / "deep" / "root").symlink_to(wavs)
    (wavs / "up").symlink_to(tmp_path)
    (tmp_path / "elsewhere" / "back").symlink_to(wavs / "deep")
    (wavs / "gone.wav").symlink_to(tmp_path / "nothing")
    (wavs / "self").symlink_to(wavs / "self")
    assert taken(wavs, tmp_path / "data") == {
        "a": "a.wav",
        "deep-b": "deep/b.wav",
        "deep-linked-c": "deep/linked/c.wav",
        "deep-linked-more-d": "deep/linked/more/d.wav",
        "file": "file.wav",
    }
    assert left(tmp_path / "data") == {
        "a_deep": "met_already",
        "deep/root": "met_already",
        "deep/linked/back": "met_already",
        "gone.wav": "broken_link",
        "self": "broken_link",
        "up": "circle",
    }


def test_a_folder_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wavs = fill(tmp_path / "wavs", "a.wav", "secret/b.wav")
    scandir = os.scandir

    def refuse(path: object) -> object:  # who runs this may be root, whom nothing refuses
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", refuse)
    assert taken(wavs, tmp_path / "data") == {"a": "a.wav"}
    (row,) = read_rows(tmp_path / "data" / SKIPPED)
    assert (row["utterance"], row["reason"]) == ("secret", "unreadable_folder")
    assert row["detail"] == f"{wavs}/secret: Permission denied"


def test_every_file_that_is_not_taken_is_listed(tmp_path: Path) -> None:
    names = ["a.wav", ".hidden.wav", ".DS_Store", "x/._a.wav", "Thumbs.db", "a.txt", "none"]
    wavs = fill(tmp_path / "wavs", *names, "tab\tin.doc", os.fsdecode(b"\xfc.doc"), ".wav")
    os.mkfifo(wavs / "pipe.wav")
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{short}/s.wav")  # a socket's path must be short
        shutil.move(f"{short}/s.wav", wavs / "socket.wav")
        found = taken(wavs, tmp_path / "data")
    assert found == {".hidden": ".hidden.wav", "a": "a.wav"}
    assert left(tmp_path / "data") == {
        ".DS_Store": "system_file",
        ".wav": "no_audio_suffix",
        "Thumbs.db": "system_file",
        "a.txt": "no_audio_suffix",
        "none": "no_audio_suffix",
        "pipe.wav": "not_a_file",
        "socket.wav": "not_a_file",
        "tab\\tin.doc": "no_audio_suffix",
        "x/._a.wav": "system_file",
        "\\udcfc.doc": "no_audio_suffix",
    }


def test_vowel_signs_and_marks_are_part_of_a_name(tmp_path: Path) -> None:
    hindi, thai = ("\u0915\u093f", "\u0915\u0940"), ("\u0e01\u0e34", "\u0e01\u0e35")
    names = {*hindi, *thai, "Vi\u1ec7t", "\u05d0\u05b7", "\u0628\u064e"}
    wavs = fill(tmp_path / "wavs", *(f"{name}.wav" for name in names))
    assert taken(wavs, tmp_path / "data") == {name: f"{name}.wav" for name in names}


def test_what_clashes_is_numbered_and_refuses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["b.wav", "b.flac", "a b.wav", "a_b.wav", "a+b.wav", "a_b/2.wav", "a/b.wav", "a-b.wav"]
    wavs = fill(tmp_path / "wavs", *names, "e\u0301.wav", "\u00e9.wav", "A.wav", "a.wav")
    assert taken(wavs, tmp_path / "data") == {
        "A": "A.wav",
        "a": "a.wav",
        "a-b": "a/b.wav",
        "a_b": "a b.wav",
        "a_b-3": "a+b.wav",
        "a_b-4": "a-b.wav",
        "a_b-2": "a_b/2.wav",  # its own
        "a_b-5": "a_b.wav",
        "b": "b.flac",
        "b-2": "b.wav",
        "\u00e9": "e\u0301.wav",
        "\u00e9-2": "\u00e9.wav",
    }
    assert "b.wav is called 'b-2': another one is 'b'" in caplog.text


def test_our_own_files_are_not_taken_for_the_users(tmp_path: Path) -> None:
    wavs = fill(tmp_path / "wavs", "a.wav", "scores.tsv", "work/links/x.wav", "work/data/y.wav")
    for _ in range(2):
        own = (wavs / "scores.tsv", wavs / "work")
        assert write_data_dir(wavs, wavs / "work" / "data", own) == (1, 0)


NAMES = [b"a\nb.wav", b"a\rb.wav", b"a\tb.wav", b"a b.wav ", "a\u00fcb.wav".encode("latin-1")]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_no_table_holds_are_read_by_a_link(tmp_path: Path, name: bytes) -> None:
    folder = tmp_path / "wavs" / os.fsdecode(name)
    folder.mkdir(parents=True)
    soundfile.write(tmp_path / "wavs" / "z.wav", make_speech(), 8000)
    shutil.copy(tmp_path / "wavs" / "z.wav", folder / os.fsdecode(name))
    for _ in range(2):
        assert write_data_dir(tmp_path / "wavs", tmp_path / "data") == (2, 0)
        speakers = read_table(tmp_path / "data" / "utt2spk")
        assert len(speakers) == 2
        (uid,) = speakers.keys() - {"z"}
        assert uid.startswith("a_b.wav")
        paths = read_table(tmp_path / "data" / "wav.scp")
        assert paths["z"] == str(tmp_path / "wavs" / "z.wav")
        assert np.array_equal(read_audio(paths[uid], 8000)[0], read_audio(paths["z"], 8000)[0])


def test_a_link_needs_a_place_that_a_table_holds(tmp_path: Path) -> None:
    fill(tmp_path / "wavs", "a\nb.wav")
    with pytest.raises(DataError, match=r"a.+b\.wav' cannot stand in wav\.scp: rename it"):
        write_data_dir(tmp_path / "wavs", tmp_path / "da\nta")
