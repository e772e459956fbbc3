"""Folders with a file a clip, as they come back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from three_clips import back, export, select_dir  # noqa: F401

from espnet_egl.data.kaldi import read_table
from espnet_egl.errors import DataError
from espnet_egl.exchange import importers
from espnet_egl.store.tables import read_rows

Export = Callable[..., Path]
Back = Callable[..., dict[str, tuple[str, str]]]
PIECE = (
    '<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="{id}" TIME_SLOT_REF1="{slot}" '
    'TIME_SLOT_REF2="{slot}"><ANNOTATION_VALUE>{text}</ANNOTATION_VALUE>'
    "</ALIGNABLE_ANNOTATION></ANNOTATION>"
)
GRID = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n1\n<exists>\n'


def grid(**tiers: str) -> str:
    """A TextGrid in Praat's short form."""
    each = (f'"IntervalTier"\n"{name}"\n0\n1\n1\n0\n1\n"{text}"' for name, text in tiers.items())
    return "\n".join([f"{GRID}{len(tiers)}", *each, ""])


def of_clip(directory: Path, uid: str, suffix: str) -> Path:
    rows = {r["utterance"]: r["file"] for r in read_rows(directory / "clips.tsv")}
    return (directory / "audio" / rows[uid]).with_suffix(suffix)


def fill(path: Path, text: str) -> None:
    path.write_text(path.read_text().replace('text = ""', f'text = "{text}"', 1))


def elan(*pieces: tuple[str, str, str], **tiers: str) -> str:
    """A file of ELAN with pieces (id, slot, text) in the tier transcript."""
    slots = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="{slot}" TIME_VALUE="{time}"/>'
        for slot, time in (("s1", 0), ("s2", 300), ("s3", 600))
    )
    inside = "".join(PIECE.format(id=i, slot=slot, text=text) for i, slot, text in pieces)
    others = "".join(
        f'<TIER TIER_ID="{name}">{PIECE.format(id="x", slot="s1", text=text)}</TIER>'
        for name, text in tiers.items()
    )
    return (
        f"<ANNOTATION_DOCUMENT><TIME_ORDER>{slots}</TIME_ORDER>"
        f'<TIER TIER_ID="transcript">{inside}</TIER>{others}</ANNOTATION_DOCUMENT>'
    )


def test_what_we_write_tells_elan_its_last_number(export: Export) -> None:
    path = of_clip(export("elan"), "a", ".eaf")
    root = ElementTree.parse(path).getroot()
    (last,) = [p.text for p in root.iter("PROPERTY") if p.get("NAME") == "lastUsedAnnotationId"]
    used = [int(a.attrib["ANNOTATION_ID"][1:]) for a in root.iter("ALIGNABLE_ANNOTATION")]
    assert int(last or 0) == max(used)


def test_pieces_of_elan_with_one_id_are_all_taken(export: Export, back: Back) -> None:
    directory = export("elan")
    path = of_clip(directory, "a", ".eaf")
    # As ELAN numbers from 1 again; made out of order.
    path.write_text(
        elan(("a2", "s3", "six four"), ("a2", "s1", "three"), ("a1", "s2", "four")), "utf-8-sig"
    )
    assert back("elan")["a"] == ("three four six four", "")


def test_a_slot_of_elan_without_a_time_stands_where_it_stands(export: Export) -> None:
    directory = export("elan")
    path = of_clip(directory, "a", ".eaf")
    text = elan(("a1", "s1", "one"), ("a2", "s2", "two"), ("a3", "s3", "three"))
    path.write_text(text.replace('TIME_SLOT_ID="s2" TIME_VALUE="300"', 'TIME_SLOT_ID="s2"'))
    assert importers.build("elan", {}).read(directory)[0].transcript == "one two three"


@pytest.mark.parametrize("name", ["elan", "textgrid"])
def test_other_tiers_and_changed_drafts_are_named(
    export: Export, back: Back, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    directory = export(name)
    suffix = importers.build(name, {}).suffix
    a, b = (of_clip(directory, uid, suffix) for uid in ("a", "b/1"))
    if name == "elan":
        a.write_text(elan(("a1", "s1", "one"), comments="a dog"))
        b.write_text(elan(draft="three!"))
    else:
        a.write_text(grid(transcript="one", comments="dog"))
        b.write_text(grid(transcript="", draft="three!"))
    assert back(name) == {"a": ("one", ""), "b/1": ("", ""), "c": ("", "")}
    printed = capsys.readouterr().out
    assert f"Not used of {directory}, 2:" in printed
    assert f"1 x the tier 'comments' is not read, only 'transcript': audio/{a.name}" in printed
    assert "1 x the draft was changed and the transcript is empty" in printed
    assert "Still out: 1 clip, 0.75 s, e.g. c." in printed
    assert "Came back without an answer: 1 clip, 0.5 s, e.g. b/1." in printed
    rows = {r["utterance"]: r for r in read_rows(directory.parent / "labelled" / "returned.tsv")}
    assert rows["b/1"]["state"] == "out"
    assert "the draft was changed" in rows["b/1"]["detail"]
    listed = read_rows(directory.parent / "labelled" / "not_used.tsv")
    assert {(r["utterance"], r["where"]) for r in listed} == {("a", str(a)), ("b/1", str(b))}


def test_the_case_of_a_suffix_does_not_count_and_renamed_files_are_named(
    export: Export, back: Back, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = export("textgrid")
    a, b, c = (of_clip(directory, uid, ".TextGrid") for uid in ("a", "b/1", "c"))
    # Beside the empty one that went out.
    shutil.copy(a, a.with_suffix(".textgrid"))
    fill(a.with_suffix(".textgrid"), "one")
    copies = [b.with_name(f"{b.stem}{more}.TextGrid") for more in ("_KL", " (1)")]
    for copy in copies:
        shutil.copy(b, copy)
        fill(copy, "two")
    (directory / "audio" / "._x.TextGrid").write_bytes(b"\0")
    (directory / "notes.docx").write_text("x")
    (directory / "audio" / "other.TextGrid").write_text("x")
    assert back("textgrid")["a"] == ("one", "")
    printed = capsys.readouterr().out
    assert "2 x renamed: give it its clip's name again" in printed
    assert all(copy.name in printed for copy in copies)
    for said in (
        "1 x its name is that of no clip: audio/other.TextGrid",
        "1 x not a file '.TextGrid': notes.docx",
        "1 x a file of the computer's own, not of an annotator: audio/._x.TextGrid",
        "Came back without an answer: 1 clip, 0.5 s, e.g. b/1.",
        "Still out: 1 clip, 0.75 s, e.g. c.",
    ):
        assert said in printed
    assert c.exists()


def test_files_are_found_wherever_they_lie(export: Export, back: Back, tmp_path: Path) -> None:
    directory = export("textgrid")
    fill(of_clip(directory, "a", ".TextGrid"), "one")
    # As an archive unpacks, with the table and without.
    nested = tmp_path / "back" / "annotate (2)"
    shutil.move(directory, nested)
    assert back("textgrid", "--return_file", str(tmp_path / "back"))["a"] == ("one", "")
    shutil.rmtree(tmp_path / "labelled")
    table = (nested / "clips.tsv").read_text()
    (nested / "clips.tsv").unlink()
    assert back("textgrid", "--return_file", str(tmp_path / "back"))["a"] == ("one", "")
    shutil.rmtree(tmp_path / "labelled")
    (nested / "clips.tsv").write_text(table)
    single = of_clip(nested, "a", ".TextGrid")
    assert back("textgrid", "--return_file", str(single))["a"] == ("one", "")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"holds neither clips\.tsv nor a file '\.TextGrid' of"):
        importers.build("textgrid", {}).read(empty)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_textgrids_in_every_encoding_of_praat(export: Export, encoding: str) -> None:
    directory = export("textgrid")
    path = of_clip(directory, "a", ".TextGrid")
    text = grid(transcript="zwölf", draft="x").replace("\n", "\r\n")
    mark = "\ufeff" if encoding.endswith("e") else ""
    path.write_bytes((mark + text).encode(encoding))
    assert importers.build("textgrid", {}).read(directory)[0].transcript == "zwölf"


def test_a_tier_of_points_is_read(export: Export) -> None:
    directory = export("textgrid")
    tier = '"TextTier"\n"transcript"\n0\n1\n2\n0.2\n"one"\n0.6\n"two"'
    of_clip(directory, "a", ".TextGrid").write_text(f"{GRID}1\n{tier}\n")
    assert importers.build("textgrid", {}).read(directory)[0].transcript == "one two"


def test_labels_of_audacity_in_utf_16_and_out_of_order(export: Export) -> None:
    directory = export("audacity")
    path = of_clip(directory, "a", ".txt")
    path.write_bytes("0,5\t0,5\tzwölf\r\n0.1\t0.2\televen\r\n\r\n".encode("utf-16"))
    assert importers.build("audacity", {}).read(directory)[0].transcript == "eleven zwölf"


def test_a_draft_that_was_changed_in_the_table_is_told(
    export: Export, back: Back, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = export("audacity")
    of_clip(directory, "a", ".txt").write_text("0\t1\tone\n")
    table = directory / "clips.tsv"
    table.write_text(table.read_text().replace("\tthree", "\tthree two"))
    back("audacity")
    printed = capsys.readouterr().out
    assert "1 x the draft was changed and the transcript is empty" in printed
    assert "Came back without an answer: 1 clip, 0.5 s, e.g. b/1." in printed


def test_forms_of_a_character_and_directions_are_the_same_text(
    export: Export, back: Back, tmp_path: Path
) -> None:
    directory = export("audacity")
    path = of_clip(directory, "a", ".txt")
    path.write_text("0\t1\tcaf\u00e9\n")
    (directory / path.name).write_text("0\t1\t\u200fcafe\u0301\u200e\n")
    # The deeper file's, beside the audio.
    assert back("audacity")["a"] == ("caf\u00e9", "")
    first = read_table(tmp_path / "labelled" / "text")
    # The same again, in the other form: what is there stays.
    (directory / path.name).unlink()
    path.write_text("0\t1\tcafe\u0301\n")
    back("audacity")
    assert read_table(tmp_path / "labelled" / "text") == first
    (directory / path.name).write_text("0\t1\tca\u200cf\u00e9\n")
    with pytest.raises(DataError, match=r"keep one .*nothing and U\+200C ZERO WIDTH NON-JOINER"):
        importers.build("audacity", {}).read(directory)
