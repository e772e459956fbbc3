"""Every format there and back: what is handed over, filled in as its tool would, and checked."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from three_clips import ANSWERS, DRAFTS, back, export, nothing_yet, select_dir  # noqa: F401

from espnet_egl.errors import DataError
from espnet_egl.exchange import importers

Back = Callable[..., dict[str, tuple[str, str]]]
Export = Callable[..., Path]


def in_words(uid: str) -> str:
    """An answer where a format has nothing but text."""
    transcript, mark = ANSWERS[uid]
    return transcript or f"<{mark}>"


def fill_table(path: Path, delimiter: str, encoding: str = "utf-8") -> None:
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding)), delimiter=delimiter))
    for row in rows:
        row["transcript"], row["mark"] = ANSWERS[row["utterance"]]
    with path.open("w", encoding=encoding, newline="") as f:
        writer = csv.DictWriter(f, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def fill_tsv(directory: Path) -> None:
    fill_table(directory / "transcribe.tsv", "\t")


def fill_csv(directory: Path) -> None:
    path = directory / "transcribe.csv"
    assert path.read_bytes().startswith(b"\xef\xbb\xbfutterance,audio")
    fill_table(path, ",", "utf-8-sig")


def fill_text(directory: Path) -> None:
    assert (directory / "text").read_text() == "a\nb/1\nc\n"
    assert (directory / "draft").read_text().splitlines()[0] == f"a {DRAFTS['a']}"
    assert "b/1 b/1 1.000 1.500" in (directory / "segments").read_text()
    (directory / "text").write_text("".join(f"{uid} {in_words(uid)}\n" for uid in ANSWERS))


def fill_nemo(directory: Path) -> None:
    path = directory / "manifest.jsonl"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert (entries[0]["pred_text"], entries[0]["duration"]) == (DRAFTS["a"], 1.0)
    for entry in entries:
        assert soundfile.info(directory / entry["audio_filepath"]).duration == entry["duration"]
        entry["text"], entry["mark"] = ANSWERS[entry["utterance"]]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def fill_lhotse(directory: Path) -> None:
    import lhotse

    recordings = lhotse.load_manifest(directory / "recordings.jsonl.gz")
    recordings = recordings.with_path_prefix(directory)
    found = lhotse.load_manifest(directory / "supervisions.jsonl.gz")
    cuts = lhotse.CutSet.from_manifests(recordings, found)
    lhotse.validate(cuts, read_data=True)
    assert {cut.id.rpartition("-")[0]: cut.load_audio().shape[1] for cut in cuts} == {
        "a": 8000,
        "b/1": 4000,
        "c": 6000,
    }
    filled = []
    for supervision in found:
        assert supervision.custom["draft"] == DRAFTS[supervision.id]
        supervision.text, supervision.custom["mark"] = ANSWERS[supervision.id]
        filled.append(supervision)
    path = directory / "supervisions.jsonl.gz"
    lhotse.SupervisionSet.from_segments(filled).to_file(path)


def clip_files(directory: Path, suffix: str) -> dict[str, Path]:
    rows = csv.DictReader((directory / "clips.tsv").open(encoding="utf-8"), delimiter="\t")
    return {r["utterance"]: (directory / "audio" / r["file"]).with_suffix(suffix) for r in rows}


def fill_textgrid(directory: Path) -> None:
    from praatio import textgrid

    for uid, path in clip_files(directory, ".TextGrid").items():
        grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True)
        assert [entry.label for entry in grid.getTier("draft").entries] == [DRAFTS[uid]]
        words, end = in_words(uid).split(), grid.maxTimestamp
        step = end / len(words)
        pieces = [(i * step, min(end, (i + 1) * step), word) for i, word in enumerate(words)]
        tier = textgrid.IntervalTier("transcript", pieces, 0, end)
        grid.replaceTier("transcript", tier)
        grid.save(str(path), format="short_textgrid", includeBlankSpaces=True)
        # Praat writes what is not ASCII as UTF-16.
        path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16"))


def fill_elan(directory: Path) -> None:
    from pympi import Elan

    for uid, path in clip_files(directory, ".eaf").items():
        found = Elan.Eaf(str(path))
        (media,) = found.media_descriptors
        assert (path.parent / media["RELATIVE_MEDIA_URL"]).suffix == ".wav"
        assert (path.parent / media["RELATIVE_MEDIA_URL"]).exists()
        assert [value for _, _, value in found.get_annotation_data_for_tier("draft")] == [
            DRAFTS[uid]
        ]
        found.remove_all_annotations_from_tier("transcript")
        words = in_words(uid).split()
        # Not in the order of time.
        for i, word in reversed(list(enumerate(words))):
            found.add_annotation("transcript", 100 * i, 100 * i + 100, word)
        found.to_file(str(path))


def fill_audacity(directory: Path) -> None:
    for uid, path in clip_files(directory, ".txt").items():
        words = in_words(uid).split()
        lines = [f"{i / 10:.6f}\t{i / 10 + 0.1:.6f}\t{word}\n" for i, word in enumerate(words)]
        path.write_text("".join(f"{line}\\\t100.0\t200.0\n" for line in reversed(lines)))


FILL = {
    "tsv": fill_tsv,
    "csv": fill_csv,
    "text": fill_text,
    "nemo": fill_nemo,
    "lhotse": fill_lhotse,
    "textgrid": fill_textgrid,
    "elan": fill_elan,
    "audacity": fill_audacity,
}


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()
    }


@pytest.mark.parametrize("name", FILL)
def test_there_and_back(name: str, export: Export, back: Back) -> None:
    directory = export(name)
    assert nothing_yet(name, directory)
    FILL[name](directory)
    filled = contents(directory)
    assert export(name) == directory
    assert contents(directory) == filled
    assert back(name) == ANSWERS


@pytest.mark.parametrize("name", FILL)
def test_a_file_of_another_selection_is_not_overwritten(
    name: str, export: Export, select_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(export(name))
    lines = (select_dir / "selection.tsv").read_text().splitlines(keepends=True)
    (select_dir / "selection.tsv").write_text("".join(lines[:-1]))
    with pytest.raises(SystemExit):
        export(name)
    assert "'c' is not in this selection; move the file away" in capsys.readouterr().err
    assert contents(select_dir.parent / "annotate") == before


@pytest.mark.parametrize("name", ["textgrid", "elan", "audacity", "lhotse"])
def test_formats_of_files_refuse_recordings_that_are_only_named(
    name: str, export: Export, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        export(name, "--audio", "none")
    assert "needs the audio as files: --audio link, copy or cut" in capsys.readouterr().err


def test_a_manifest_names_no_commands(export: Export, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        export("nemo", "--audio", "none")
    assert "'c' is a command, which a manifest of files cannot name" in capsys.readouterr().err


DEEP = b"[" * 100_000
GOOD_LINE = '{"utterance": "a", "text": "one"}\n'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("csv", b"utterance,draft\na,x\n", ":1: column transcript is missing; save it comma-sep"),
        ("csv", b"utterance,transcript\na,\xff\n", "not UTF-8"),
        ("csv", b'utterance,transcript\na,"one\nb,two\n', "a quote is not closed"),
        ("csv", b'utterance,transcript\na,"one\nb",two\n', ":3: transcript of 'a' goes over"),
        ("nemo", f"{GOOD_LINE}{{".encode(), ":2: not JSON"),
        pytest.param("nemo", DEEP, ":1: not JSON: too many lists or objects", id="nemo-deep"),
        ("nemo", b"\n[1]\n", ":2: not an object"),
        ("nemo", b'{"text": "one"}\n', ":1: the field utterance is missing"),
        ("nemo", b'{"utterance": "a", "text": ["one"]}\n', r":1: text is \['one'\], not a text"),
        ("nemo", b'{"utterance": "a", "mark": "x"}\n', ":1: mark 'x' is none of not_speech"),
        ("nemo", b'{"utterance": "a", "text": "o\\u0000e"}', ":1: 'a' holds the control .* U.0000"),
        ("nemo", b'{"utterance": "a", "text": "o\\ud800e"}', ":1: 'a' holds the control .* U.D800"),
        ("csv", b"utterance,transcript\na,one, two\n", ":2: 'a' has more cells .* a , in quotes"),
        ("csv", b"utterance,transcript\na\n", ":2: 'a' has fewer cells"),
        ("tsv", b"utterance\ttranscript\na\tone\ttwo\n", ":2: 'a' has more .* take the tab out"),
        ("nemo", b"\xff", "not UTF-8"),
        ("lhotse", b"no gzip", "cannot be read"),
        pytest.param("lhotse", gzip.compress(DEEP, mtime=0), ":1: not JSON: too", id="lhotse-deep"),
        ("lhotse", gzip.compress(b'{"id": "a"}\n', mtime=0), ":1: not a supervision of lhotse"),
        ("lhotse", gzip.compress(b"x", mtime=0)[:-4], "cannot be read"),
    ],
)
def test_a_broken_file_is_refused_by_name_and_place(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    importer = importers.build(name, {})
    path = tmp_path / importer.file_name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        importer.read(path)
    path.unlink()
    with pytest.raises(DataError, match=str(path)):
        importer.read(path)


@pytest.mark.parametrize(
    ("name", "suffix", "content", "message"),
    [
        ("textgrid", ".TextGrid", b"", "not a TextGrid of Praat"),
        ("textgrid", ".TextGrid", b"\xff\x00\xfe", "not a TextGrid of Praat"),
        ("elan", ".eaf", b"<ANNOTATION_DOCUMENT>", "not a file of ELAN with a tier transcript"),
        ("elan", ".eaf", b"<a/>", "not a file of ELAN with a tier transcript"),
        ("audacity", ".txt", b"0.0\t1.0\tone\nx\n", r"\.txt:2: not '<start> <end> <label>'"),
    ],
)
def test_a_broken_file_of_a_clip_is_named_and_stops_no_other(
    export: Export, name: str, suffix: str, content: bytes, message: str
) -> None:
    directory = export(name)
    path = clip_files(directory, suffix)["a"]
    path.write_bytes(content)
    importer = importers.build(name, {})
    assert importer.read(directory)[0].transcript == ""
    (note,) = importer.unused
    assert (note.uid, note.where) == ("a", str(path))
    assert re.search(message, note.reason)


def test_a_textgrid_without_its_tier_is_named(export: Export) -> None:
    directory = export("textgrid")
    path = clip_files(directory, ".TextGrid")["a"]
    path.write_text(path.read_text().replace('"transcript"', '"words"'))
    importer = importers.build("textgrid", {})
    assert len(importer.read(directory)) == 3
    (note,) = importer.unused
    assert note.reason.startswith("the tier transcript is missing; it has ['words'")


def test_files_of_clips_may_lie_beside_the_table_and_be_missing(export: Export) -> None:
    directory = export("audacity")
    files = clip_files(directory, ".txt")
    files["a"].write_text("0\t1\tone\n")
    files["a"].rename(directory / files["a"].name)
    files["c"].unlink()
    answers = importers.build("audacity", {}).read(directory)
    assert [(a.uid, a.transcript) for a in answers] == [("a", "one"), ("b/1", ""), ("c", "")]


def test_of_a_clips_two_files_the_one_that_is_filled_in_counts(export: Export) -> None:
    directory = export("audacity")
    path = clip_files(directory, ".txt")["a"]
    beside = directory / path.name
    for here, there in ((beside, path), (path, beside)):
        here.write_text("0\t1\tone\n")
        there.write_text("0\t1\t\n")
        found = importers.build("audacity", {}).read(directory)[0]
        assert (found.transcript, found.where) == ("one", str(here))
    beside.write_text("0\t1\tone \n")
    assert importers.build("audacity", {}).read(directory)[0].transcript == "one"
    beside.write_text("0\t1\ttwo\n")
    with pytest.raises(DataError, match=f"{path} and {beside} hold different transcripts of 'a'"):
        importers.build("audacity", {}).read(directory)


@pytest.mark.parametrize("name", ["elan", "textgrid", "label_studio"])
def test_no_control_character_of_a_draft_is_handed_over(
    name: str, export: Export, select_dir: Path
) -> None:
    for path in (select_dir / "selection.tsv", select_dir.parent / "nbest.tsv"):
        path.write_text(path.read_text().replace("three", "th\x01ree\uffff"))
    directory = export(name)
    importer = importers.build(name, {})
    assert nothing_yet(name, directory) if importer.file_name else True
    for path in directory.rglob("*"):
        if path.suffix in (".eaf", ".TextGrid", ".json"):
            assert not {"\x01", "\uffff"} & set(path.read_text())
            assert "\\u0001" not in path.read_text()


def test_no_name_in_the_table_leads_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("0\t1\tsecret\n")
    (tmp_path / "in").mkdir()
    for name in ("../secret.txt", "/etc/passwd", ""):
        (tmp_path / "in" / "clips.tsv").write_text(f"utterance\tfile\na\t{name}\n")
        with pytest.raises(DataError, match=r"clips\.tsv:2: '.*' is no name of a file"):
            importers.build("audacity", {}).read(tmp_path / "in")


def test_a_spreadsheet_with_semicolons_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbfutterance;transcript;mark\r\na;one, two;;;\r\n;;;;;\r\n")
    (answer,) = importers.build("csv", {}).read(path)
    assert (answer.uid, answer.transcript) == ("a", "one, two")
    path.write_text(GOOD_LINE, encoding="utf-8-sig")
    (answer,) = importers.build("nemo", {}).read(path)
    assert (answer.uid, answer.transcript) == ("a", "one")
