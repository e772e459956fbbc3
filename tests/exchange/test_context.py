"""What is around a clip is heard, and the clip marked in it; what is written beside it is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from test_formats import clip_files
from three_clips import RATE, back, export, nothing_yet, select_dir  # noqa: F401

from espnet_egl.data.recordings import Recordings
from espnet_egl.store.tables import read_rows

Back = Callable[..., dict[str, tuple[str, str]]]
Export = Callable[..., Path]


def test_around_a_segment_is_what_there_is(tmp_path: Path) -> None:
    wave = np.linspace(-0.5, 0.5, 4 * RATE, dtype=np.float32)
    for suffix in ("wav", "flac"):
        path = tmp_path / f"a.{suffix}"
        soundfile.write(path, wave, RATE)
        for start, end, first, last in ((1, 2, 0.25, 2.75), (0.5, 3.5, 0, 4), (0, 4, 0, 4)):
            found, rate, before = Recordings().read_around(str(path), start, end, 0.75)
            assert (rate, before) == (RATE, start - first)
            expected = wave[round(first * RATE) : round(last * RATE)]
            np.testing.assert_allclose(found[:, 0], expected, atol=1e-4)
    # It breaks off behind the segment: the segment alone.
    path = tmp_path / "b.wav"
    soundfile.write(path, wave, RATE)
    path.write_bytes(path.read_bytes()[: 44 + 2 * 2 * RATE])
    found, _, before = Recordings().read_around(str(path), 0.5, 1.5, 0.75)
    assert (len(found), before) == (2 * RATE, 0.5)


def fill_textgrid(path: Path) -> None:
    from praatio import textgrid

    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True)
    assert [(e.start, e.end) for e in grid.getTier("clip").entries if e.label] == [(0.75, 1.25)]
    pieces = [(0.0, 0.7, "davor"), (0.75, 0.9, "drei"), (0.9, 1.3, "vier"), (1.4, 2.0, "danach")]
    tier = textgrid.IntervalTier("transcript", pieces, 0, grid.maxTimestamp)
    grid.replaceTier("transcript", tier)
    grid.save(str(path), format="long_textgrid", includeBlankSpaces=True)


def fill_elan(path: Path) -> None:
    from pympi import Elan

    found = Elan.Eaf(str(path))
    ((begin, end, _),) = found.get_annotation_data_for_tier("clip")
    assert (begin, end) == (750, 1250)
    found.remove_annotation("transcript", 800)
    for begin, end, text in ((0, 700, "davor"), (750, 900, "drei"), (900, 1300, "vier")):
        found.add_annotation("transcript", begin, end, text)
    found.add_annotation("transcript", 1400, 2000, "danach")
    found.to_file(str(path))


@pytest.mark.parametrize(
    ("name", "suffix", "fill"),
    [("textgrid", ".TextGrid", fill_textgrid), ("elan", ".eaf", fill_elan)],
)
def test_only_what_is_in_the_clip_is_its_transcript(
    export: Export,
    back: Back,
    tmp_path: Path,
    name: str,
    suffix: str,
    fill: Callable[[Path], None],
) -> None:
    directory = export(name, "--context_seconds", "0.75")
    assert nothing_yet(name, directory)
    path = clip_files(directory, suffix)["b/1"]
    row = next(r for r in read_rows(directory / "clips.tsv") if r["utterance"] == "b/1")
    assert float(row["seconds"]) == 0.5
    heard, rate = soundfile.read(directory / "audio" / row["file"], dtype="float32")
    whole, _ = soundfile.read(tmp_path / "long.wav", dtype="float32")
    np.testing.assert_allclose(heard, whole[rate // 4 : 9 * rate // 4], atol=1e-4)
    fill(path)
    assert back(name)["b/1"] == ("drei vier", "")
    notes = read_rows(tmp_path / "labelled" / "not_used.tsv")
    assert any("'transcript around the clip' is not read" in str(note) for note in notes)


def _first(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Of its predictions, the one that annotators see; a clip without a draft may have none."""
    predictions = entry["predictions"]
    return predictions[0]["result"] if predictions else []


def test_label_studio_says_and_draws_where_the_clip_is(export: Export, back: Back) -> None:
    directory = export("label_studio", "--context_seconds", "0.75")
    entries = json.loads((directory / "tasks.json").read_text())
    data = {e["data"]["utterance"]: e["data"] for e in entries}
    assert data["b/1"]["clip"].startswith("Only from 0.8 s to 1.2 s")
    assert data["b/1"]["seconds"] == 0.5
    config = (directory / "config.xml").read_text()
    assert '<Header value="$clip" size="5"/>' in config
    assert '<Labels name="clip_region" toName="audio">' in config
    drawn = {
        entry["data"]["utterance"]: part["value"]
        for entry in entries
        for part in _first(entry)
        if part["from_name"] == "clip_region"
    }
    assert drawn["b/1"]["start"] == pytest.approx(0.75, abs=1e-3)
    assert drawn["b/1"]["end"] == pytest.approx(1.25, abs=1e-3)
    # It comes back with the answer, and is none.
    for entry in entries:
        text = {"from_name": "transcript", "to_name": "audio", "type": "textarea"}
        text["value"] = {"text": ["zwei"]}
        regions = [part for part in _first(entry) if part["type"] == "labels"]
        entry |= {"id": 1, "annotations": [{"id": 1, "result": [text, *regions]}]}
    (directory / "export.json").write_text(json.dumps(entries))
    assert back("label_studio")["b/1"] == ("zwei", "")
    unused = directory.parent / "labelled" / "not_used.tsv"
    assert not unused.exists() or "region" not in unused.read_text()


def test_without_context_nothing_is_marked(export: Export) -> None:
    directory = export("label_studio")
    assert "$clip" not in (directory / "config.xml").read_text()
    assert "clip" not in json.loads((directory / "tasks.json").read_text())[0]["data"]


@pytest.mark.parametrize(
    ("name", "seconds", "message"),
    [("tsv", "2", "the format tsv cannot mark the clip"), ("elan", "-1", "must be at least 0")],
)
def test_what_cannot_be_is_refused(
    export: Export,
    capsys: pytest.CaptureFixture[str],
    name: str,
    seconds: str,
    message: str,
) -> None:
    with pytest.raises(SystemExit):
        export(name, "--context_seconds", seconds)
    assert message in capsys.readouterr().err


def test_another_context_is_not_taken_for_another_recording(
    export: Export, capsys: pytest.CaptureFixture[str]
) -> None:
    export("elan", "--context_seconds", "0.75")
    for seconds in ("0.5", "0"):
        with pytest.raises(SystemExit):
            export("elan", "--context_seconds", seconds)
        assert "was made with another --context_seconds" in capsys.readouterr().err
    export("elan", "--context_seconds", "0.75")
