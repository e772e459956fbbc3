"""Tables from spreadsheets, NeMo's and lhotse's manifests, Kaldi's text: as people and tools leave
them, alone or in folders."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from three_clips import DRAFTS, back, export, select_dir  # noqa: F401

from espnet_egl.errors import DataError
from espnet_egl.exchange import importers
from espnet_egl.exchange.matching import Clips, Source
from espnet_egl.store.tables import read_rows

Export = Callable[..., Path]
Back = Callable[..., dict[str, tuple[str, str]]]
TABLE = "Utterance{d} Transcript{d}mark{d}notes\r\na{d}one{d}{d}\r\nb/1{d}{d}{d}a dog\r\n"


def objects(path: Path, *values: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", ["\t", ",", ";"])
@pytest.mark.parametrize("name", ["tsv", "csv"])
def test_tables_as_spreadsheets_save_them(
    tmp_path: Path, name: str, delimiter: str, encoding: str
) -> None:
    path = tmp_path / "back"
    path.write_bytes(TABLE.format(d=delimiter).encode(encoding))
    importer = importers.build(name, {})
    answers = importer.read(path)
    assert [(a.uid, a.transcript) for a in answers] == [("a", "one"), ("b/1", "")]
    assert [(u.uid, u.where, u.reason) for u in importer.unused] == [
        ("b/1", f"{path}:3", "the column 'notes' is not read")
    ]


@pytest.mark.parametrize("name", ["tsv", "csv", "text", "nemo", "lhotse"])
def test_a_draft_that_was_changed_in_place_is_told(
    export: Export, back: Back, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    directory = export(name)
    path = directory / {"text": "draft"}.get(name, importers.build(name, {}).file_name)
    packed = path.suffix == ".gz"
    content = gzip.decompress(path.read_bytes()).decode() if packed else path.read_text()
    content = content.replace("three", "three two")
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    with pytest.raises(SystemExit):
        back(name)
    said = capsys.readouterr()
    assert "1 x the draft was changed and the transcript is empty: a draft is no answer" in said.out
    assert "what came back and is not used is named above" in said.err
    (row,) = read_rows(directory.parent / "labelled" / "not_used.tsv")
    assert row["utterance"] == "b/1"


@pytest.mark.parametrize("name", sorted(importers.names()))
def test_of_what_went_out_and_came_back_untouched_nothing_is_left(
    export: Export, back: Back, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    directory = export(name)
    with pytest.raises(SystemExit):
        back(name)
    said = capsys.readouterr()
    assert "no clip has a transcript yet" in said.err
    assert "Not used" not in said.out
    assert not (directory.parent / "labelled").exists()


def test_pieces_of_a_manifest_are_joined_by_their_offset(tmp_path: Path) -> None:
    entries = [
        {"utterance": "a", "offset": 1.5, "text": "two"},
        {"utterance": "a", "offset": 0.5, "text": "one"},
        {"utterance": "a", "offset": 0.5, "text": "one"},
        {"utterance": "b", "text": "", "mark": "not_speech"},
    ]
    answers = importers.build("nemo", {}).read(objects(tmp_path / "m.jsonl", *entries))
    assert [(a.uid, a.transcript, a.mark) for a in answers] == [
        ("a", "one two", ""),
        ("b", "", "not_speech"),
    ]
    # Two texts of one time contradict each other; stage 23 refuses them.
    entries[2]["text"] = "three"
    answers = importers.build("nemo", {}).read(objects(tmp_path / "m.jsonl", *entries))
    assert [a.transcript for a in answers if a.uid == "a"] == ["one two", "three"]
    with pytest.raises(DataError, match=":1: offset is 'x', not seconds"):
        importers.build("nemo", {}).read(
            objects(tmp_path / "m.jsonl", {**entries[0], "offset": "x"})
        )


def test_a_manifest_without_our_field_is_known_by_its_files(tmp_path: Path) -> None:
    sources = {
        "a": Source("/pool/a.wav", 0.0, None),
        "r1": Source("/pool/r.wav", 1.0, 2.0),
        "r2": Source("/pool/r.wav", 2.0, None),
    }
    name = sources["a"].name_of("a")
    entries = [
        # As Label Studio exports ASR_MANIFEST.
        {"audio_filepath": f"/data/upload/3/1a2b3c4d-{name}.flac", "text": "one", "annotator": 1},
        {"audio_filepath": "/elsewhere/r.wav", "offset": 2.5, "text": "four"},
        {"audio_filepath": "/elsewhere/r.wav", "offset": 1.5, "text": "three"},
        {"audio_filepath": "/elsewhere/r.wav", "offset": 1.0, "text": "two"},
        {"audio_filepath": "/elsewhere/r.wav", "text": "none", "lang": "en"},
    ]
    for content in (json.dumps(entries, indent=1), "\n".join(map(json.dumps, entries))):
        importer = importers.build("nemo", {})
        importer.clips = Clips(sources)
        path = tmp_path / "m.json"
        path.write_bytes(gzip.compress(content.encode()))
        said = {a.uid: a.transcript for a in importer.read(path)}
        assert said == {"a": "one", "r2": "four", "r1": "two three"}
        assert [u.reason for u in importer.unused] == [
            "its audio is of no clip, or of several: r.wav"
        ]


def test_cuts_and_several_supervisions_of_lhotse(tmp_path: Path) -> None:
    def supervision(name: str, start: float, text: str, recording: str = "b") -> dict[str, Any]:
        times = {"start": start, "duration": 0.5}
        return {"id": name, "recording_id": recording, **times, "channel": 0, "text": text}

    def cut(name: str, start: float, *inside: dict[str, Any]) -> dict[str, Any]:
        times = {"start": start, "duration": 0.5, "channel": 0}
        return {"id": name, **times, "supervisions": [*inside], "type": "MonoCut"}

    importer = importers.build("lhotse", {})
    sources = {u: Source(f"/pool/{u}.wav", 0.0, None) for u in ("a", "b", "c", "d")}
    sources |= {"r1": Source("/pool/r.wav", 1.0, 2.0), "r2": Source("/pool/r.wav", 2.0, None)}
    importer.clips = Clips(sources)
    path = objects(
        tmp_path / "cuts.jsonl",
        supervision("b-2", 0.7, "two"),
        supervision("b-1", 0.1, "one"),
        # In two cuts that overlap.
        cut("b-w", 0.6, supervision("b-2", 0.1 + 1e-9, "two", "b")),
        cut("a-1", 0.5, supervision("x", 0.0, "five", "a")),
        cut("a-0", 0.0, supervision("a", 0.0, "four", "a"), supervision("z", 0.2, "half", "a")),
        {"type": "MixedCut", "tracks": [{"cut": cut("y", 0.0, supervision("c", 0, "six", "c"))}]},
        cut("d", 0.0),
        cut("later", 2.1, supervision("v", 0.3, "eight", "r")),
        supervision("w", 1.1, "seven", "r"),
    )
    assert {a.uid: a.transcript for a in importer.read(path)} == {
        "b": "one two",
        "a": "four half five",
        "c": "six",
        "r1": "seven",
        "r2": "eight",
    }
    assert [(u.uid, u.reason) for u in importer.unused] == [("d", "a cut without supervisions")]


@pytest.mark.parametrize(
    ("name", "suffix", "contents"),
    [
        ("tsv", ".TSV", ["utterance\ttranscript\na\tone\n", "utterance\ttranscript\nc\ttwo\n"]),
        ("csv", ".csv", ["utterance,transcript\na,one\n", "utterance;transcript\nc;two\n"]),
        ("text", ".txt", ["a one\n", "c two\n"]),
        (
            "nemo",
            ".json",
            ['{"utterance": "a", "text": "one"}', '[{"utterance": "c", "text": "two"}]'],
        ),
    ],
)
def test_folders_of_what_annotators_sent(
    back: Back,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    suffix: str,
    contents: list[str],
) -> None:
    for who, content in zip(("KL", "MN"), contents, strict=True):
        folder = tmp_path / "back" / who
        folder.mkdir(parents=True)
        (folder / f"done{suffix}").write_text(content)
        (folder / f"._done{suffix}").write_bytes(b"\0\xff")
    (folder / "letter.docx").write_text("x")
    said = back(name, "--return_file", str(tmp_path / "back"))
    assert said == {"a": ("one", ""), "b/1": ("", ""), "c": ("two", "")}
    printed = capsys.readouterr().out
    assert "2 x a file of the computer's own" in printed
    assert "its name ends in none of" in printed
    assert "MN/letter.docx" in printed


def test_an_archive_is_to_be_unpacked(
    back: Back, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(tmp_path / "back.zip", "w") as archive:
        archive.writestr("text", "a one\n")
    with pytest.raises(SystemExit):
        back("textgrid", "--return_file", str(tmp_path / "back.zip"))
    assert (
        "back.zip is an archive or a spreadsheet: unpack it and give the folder"
        in capsys.readouterr().err
    )
    (tmp_path / "none").mkdir()
    with pytest.raises(SystemExit):
        back("tsv", "--return_file", str(tmp_path / "none"))
    assert "none holds no file that ends in .tsv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"), [("nemo", "\n"), ("lhotse", "[]"), ("text", ""), ("label_studio", "[]")]
)
def test_a_file_with_nothing_in_it_is_named(
    back: Back, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str
) -> None:
    path = tmp_path / "empty"
    path.write_text(content)
    with pytest.raises(SystemExit):
        back(name, "--return_file", str(path))
    assert f"Not used of {path}, 1:\n  1 x nothing is in it: {path}" in capsys.readouterr().out


def test_a_name_in_another_encoding_is_named(
    export: Export, back: Back, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = export("audacity")
    file = directory / b"caf\xe9.txt".decode("utf-8", "surrogateescape")
    file.write_text("0\t1\tone\n")
    with pytest.raises(SystemExit):
        back("audacity")
    assert "its name is that of no clip: caf\\udce9.txt" in capsys.readouterr().out


def test_what_nobody_sees_is_no_transcript(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("a \u200b\u2060\nb \u200e<not_speech>\u200f\nc \ufeffone\n", encoding="utf-8")
    answers = importers.build("text", {}).read(path)
    assert [(a.transcript, a.mark) for a in answers] == [("", ""), ("", "not_speech"), ("one", "")]


def test_every_file_that_came_back_has_its_own_count(
    back: Back, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / "one.tsv", tmp_path / "two.tsv"]
    paths[0].write_text("utterance\ttranscript\tnotes\na\tone\tx\nc\t\ty\n")
    paths[1].write_text("utterance\ttranscript\tspeaker\na\tone\tx\n")
    back("tsv", *(word for path in paths for word in ("--return_file", str(path))))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        f"Not used of {paths[0]}, 2:",
        "  2 x the column 'notes' is not read: 2, 3",
        f"Not used of {paths[1]}, 1:",
        "  1 x the column 'speaker' is not read: 2",
    ]
    # c came back with a note; nothing came back for b/1.
    assert "Still out: 1 clip, 0.5 s, e.g. b/1." in lines
    assert "Came back without an answer: 1 clip, 0.75 s, e.g. c." in lines
    assert DRAFTS["c"] == ""
    rows = read_rows(tmp_path / "labelled" / "not_used.tsv")
    assert [(r["utterance"], r["where"]) for r in rows] == [
        ("a", f"{paths[0]}:2"),
        ("c", f"{paths[0]}:3"),
        ("a", f"{paths[1]}:2"),
    ]
    # What is mended is listed no more.
    paths[0].write_text("utterance\ttranscript\na\tone\n")
    back("tsv", "--return_file", str(paths[0]))
    assert not (tmp_path / "labelled" / "not_used.tsv").exists()
