"""Audio that is handed over as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from three_clips import export, select_dir  # noqa: F401

from espnet_egl.data.archives import write_ark_entry
from espnet_egl.errors import DataError
from espnet_egl.exchange import Task, importers
from espnet_egl.exchange.clips import path_inside, place_audio
from espnet_egl.store.tables import read_rows

Export = Callable[..., Path]


def wave(path: Path, seconds: float = 1.0, rate: int = 8000) -> np.ndarray:
    samples = np.linspace(-0.5, 0.5, int(seconds * rate), dtype="float32")
    soundfile.write(path, samples, rate)
    return samples


def test_whole_files_are_linked_or_copied_and_the_rest_is_cut(tmp_path: Path) -> None:
    source = tmp_path / "Long.WAV"
    samples = wave(source)
    with (tmp_path / "all.ark").open("wb") as f:
        offset = write_ark_entry(f, "entry", samples, 8000, "FLAC")
    tasks = [
        Task("whole", str(source), 0.0, None, 1.0, ()),
        Task("part", str(source), 0.25, 0.5, 0.25, ()),
        Task("pipe", f"cat {source} |", 0.0, None, 1.0, ()),
        Task("entry", f"{tmp_path / 'all.ark'}:{offset}", 0.0, None, 1.0, ()),
    ]
    for how in ("link", "copy", "cut"):
        placed, skipped = place_audio(tasks, tmp_path / how, how, "flac")
        assert not skipped
        whole, part, pipe, entry = (Path(task.audio) for task in placed)
        assert (whole.is_symlink(), whole.suffix) == (
            how == "link",
            ".flac" if how == "cut" else ".wav",
        )
        assert not part.is_symlink()
        assert part.suffix == pipe.suffix == entry.suffix == ".flac"
        read, rate = soundfile.read(part, dtype="float32")
        assert rate == 8000
        np.testing.assert_allclose(read, samples[2000:4000], atol=1e-4)
        assert [task.seconds for task in placed] == [1.0, 0.25, 1.0, 1.0]
        assert all((task.start, task.end) == (0.0, None) for task in placed)
        assert place_audio(tasks, tmp_path / how, how, "flac") == (placed, [])


def test_files_that_others_would_hear_otherwise_are_written_anew(tmp_path: Path) -> None:
    samples = wave(tmp_path / "x.wav")
    whole = (tmp_path / "x.wav").read_bytes()
    killed = whole[:40] + bytes(4) + whole[44:]  # its recorder was killed: it says that it is empty
    (tmp_path / "killed.wav").write_bytes(killed)
    integers = (samples * 2**15).astype("float32")
    soundfile.write(tmp_path / "scale.wav", integers, 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "raw.ul", samples, 8000, format="RAW", subtype="ULAW")
    cut = whole[: len(whole) // 2]
    (tmp_path / "cut.wav").write_bytes(cut)
    names = ("killed.wav", "scale.wav", "raw.ul", "cut.wav")
    tasks = [Task(name, str(tmp_path / name), 0.0, None, 1.0, ()) for name in names]
    placed, skipped = place_audio(tasks, tmp_path / "out", "link", "flac")
    assert [(uid, reason) for uid, reason, _ in skipped] == [("cut.wav", "truncated_audio")]
    assert [task.uid for task in placed] == ["killed.wav", "scale.wav", "raw.ul"]
    for task in placed:
        heard, rate = soundfile.read(task.audio)
        assert (Path(task.audio).suffix, rate, len(heard) / rate) == (".flac", 8000, task.seconds)
        assert np.abs(heard - samples).max() < 0.02


def test_segments_of_a_command_run_it_once_in_whatever_order(tmp_path: Path) -> None:
    samples = wave(tmp_path / "x.wav")
    runs = tmp_path / "runs"
    entry = f"echo x >> {runs}; cat {tmp_path / 'x.wav'} |"
    places = [(0.5, entry), (0.0, str(tmp_path / "x.wav")), (0.1, entry), (0.7, entry)]
    tasks = [Task(f"{i}", e, s, s + 0.2, 0.2, ()) for i, (s, e) in enumerate(places)]
    placed, skipped = place_audio(tasks, tmp_path / "out", "cut", "wav")
    assert not skipped
    assert [task.uid for task in placed] == ["0", "1", "2", "3"]
    assert runs.read_text() == "x\n"
    for task, (start, _) in zip(placed, places, strict=True):
        read, _ = soundfile.read(task.audio)
        np.testing.assert_allclose(read, samples[round(start * 8000) :][:1600], atol=1e-4)


def test_names_are_safe_and_differ_where_case_does_not_count(tmp_path: Path) -> None:
    wave(tmp_path / "x.wav")
    uids = ["../a b", "A/ü", "a/Ü", "x" * 300, "con"]
    tasks = [Task(uid, str(tmp_path / "x.wav"), 0.0, None, 1.0, ()) for uid in uids]
    placed, _ = place_audio(tasks, tmp_path / "out", "copy", "flac")
    names = [Path(task.audio).name for task in placed]
    assert len({name.lower() for name in names}) == len(uids)
    assert sorted(names) == sorted(p.name for p in (tmp_path / "out").iterdir())
    assert all(len(name) < 128 and name.isascii() and " " not in name for name in names)


def test_a_clip_that_cannot_be_read_is_listed(
    export: Export, select_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (select_dir.parent / "long.wav").write_text("no audio")
    directory = export("textgrid")
    (row,) = read_rows(directory / "skipped.tsv")
    assert (row["utterance"], row["reason"]) == ("b/1", "unreadable_audio")
    assert "Not handed over, see" in capsys.readouterr().out
    assert [r["utterance"] for r in read_rows(directory / "clips.tsv")] == ["a", "c"]
    (select_dir.parent / "a.wav").unlink()
    with pytest.raises(SystemExit):
        export("nemo", "--allow_pipes", "false")
    said = capsys.readouterr().err
    assert "no clip can be read, see " in said
    assert "skipped.tsv, e.g. a: unreadable_audio" in said


def test_a_command_that_hangs_is_ended(export: Export, select_dir: Path) -> None:
    scp = select_dir / "wav.scp"
    scp.write_text(scp.read_text().replace("c cat", "c sleep 600; cat"))
    directory = export("tsv", "--audio", "copy", "--pipe_timeout", "0.5")
    (row,) = read_rows(directory / "skipped.tsv")
    assert (row["utterance"], row["reason"]) == ("c", "pipe_timeout")
    assert "--pipe_timeout 0.5 s" in row["detail"]


def test_paths_are_told_from_the_folder_that_is_sent(tmp_path: Path) -> None:
    assert path_inside(str(tmp_path / "audio" / "x.flac"), tmp_path) == "audio/x.flac"
    assert path_inside("/elsewhere/x.flac", tmp_path) == "/elsewhere/x.flac"
    assert path_inside("cat x |", tmp_path) == "cat x |"


def test_a_table_names_files_that_travel_with_it(export: Export) -> None:
    directory = export("tsv", "--audio", "cut", "--audio_format", "wav")
    for row in read_rows(directory / "transcribe.tsv"):
        assert row["start"] == row["end"] == ""
        info = soundfile.info(directory / row["audio"])
        assert (info.format, info.duration) == ("WAV", float(row["seconds"]))


@pytest.mark.parametrize("name", ["textgrid", "audacity", "tsv", "nemo", "label_studio"])
def test_a_clip_that_becomes_readable_is_added_or_named(
    export: Export, select_dir: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    long = select_dir.parent / "long.wav"
    samples, rate = soundfile.read(long)
    long.write_text("no audio")
    directory = export(name, "--audio", "cut")
    soundfile.write(long, samples, rate)
    capsys.readouterr()
    export(name, "--audio", "cut")
    printed = capsys.readouterr().out
    importer = importers.build(name, {})
    found = importer.read(directory / (importer.file_name or "tasks.json"))
    handed_over = [answer.uid for answer in found]
    skipped = [(r["utterance"], r["reason"]) for r in read_rows(directory / "skipped.tsv")]
    assert f"({len(handed_over)} clips" in printed
    if name in ("textgrid", "audacity"):
        assert (handed_over, skipped) == (["a", "b/1", "c"], [])
        assert len(list((directory / "audio").iterdir())) == 6
    else:
        assert (handed_over, skipped) == (["a", "c"], [("b/1", "not_in_file")])
        assert ": 1 clip, e.g." in printed


@pytest.mark.parametrize("how", ["cut", "copy"])
def test_a_recording_that_changed_since_is_refused(tmp_path: Path, how: str) -> None:
    source = tmp_path / "x.wav"
    samples = wave(source)
    tasks = [Task("a", str(source), 0.0, None, 1.0, ())]
    place_audio(tasks, tmp_path / "out", how, "flac")
    # As a command that dithers.
    soundfile.write(source, samples + 2**-14, 8000)
    if how == "cut":
        place_audio(tasks, tmp_path / "out", how, "flac")
    soundfile.write(source, samples[::-1], 8000)
    with pytest.raises(DataError, match=r"x\.wav is not what it was when .*/out/a-"):
        place_audio(tasks, tmp_path / "out", how, "flac")
