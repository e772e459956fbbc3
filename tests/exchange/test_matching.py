"""Whose a file is, by its name."""

from __future__ import annotations

import base64
from pathlib import Path

from three_clips import select_dir  # noqa: F401

from espnet_egl.exchange.matching import Clips, Source
from espnet_egl.exchange.tasks import read_clips, read_tasks

SOURCES = {
    "a": Source("/pool/a.wav", 0.0, None),
    "a b": Source("/pool/x/cafe\u0301.wav", 0.0, None),
    "a_b": Source("cat /pool/a.wav |", 0.0, None),
    "r1": Source("/pool/r.wav", 1.0, 2.0),
    "r2": Source("/pool/r.wav", 2.0, None),
}


def test_names_as_they_went_out(select_dir: Path) -> None:
    clips = read_clips(select_dir)
    for task in read_tasks(select_dir):
        name = Source(task.audio, task.start, task.end).name_of(task.uid)
        assert clips.of_file(f"audio/{name.upper()}.flac") == task.uid
    assert clips.drafts["b/1"] == "three"


def test_another_machine_has_other_hashes() -> None:
    clips = Clips(SOURCES)
    assert clips.of_file("r1-01234567.flac") == "r1"
    # Two clips may be meant.
    assert clips.of_file("a_b-01234567.flac") is None
    assert clips.of_file(SOURCES["a_b"].name_of("a_b") + ".flac") == "a_b"
    assert clips.of_file("r1.flac") is None


def test_a_recording_is_known_by_its_own_name_and_the_time() -> None:
    clips = Clips(SOURCES)
    assert clips.of_file("/else/where/caf\u00e9.wav") == "a b"
    assert clips.of_file("r.wav") is None
    assert [clips.of_file("r.wav", t) for t in (0.5, 1.0, 1.9995, 2.0, 9.0)] == [
        None,
        "r1",
        "r2",
        "r2",
        "r2",
    ]


def test_a_recording_of_the_same_name_in_a_folder_of_others_is_another_one() -> None:
    clips = Clips(SOURCES)
    assert clips.of_file("/moved/pool/a.wav") == clips.of_file("D:\\calls\\a.wav") == "a"
    assert clips.of_file("/pool/x/a.wav") is None
    assert clips.of_file("r.wav", 1.5) == clips.of_file("pool/r.wav", 1.5) == "r1"
    assert clips.of_file("x/r.wav", 1.5) is None


def test_addresses_of_a_storage_behind_label_studio() -> None:
    coded = base64.urlsafe_b64encode(b"s3://bucket/a.wav").decode()
    clips = Clips(SOURCES)
    assert clips.of_file(f"/tasks/3/resolve/?fileuri={coded}") == "a"
    assert clips.of_file("/tasks/3/resolve/?fileuri=!") is None


def test_a_renamed_file_tells_whose_it_was() -> None:
    clips = Clips(SOURCES)
    assert clips.like(f"Copy of {SOURCES['r1'].name_of('r1')} (1)") == "r1"
    assert clips.like("r2_KL") == "r2"
    assert clips.like("r2x") is None
    assert clips.like("a") == "a"
    assert clips.like("a_b (2)") is None
    assert clips.like("other") is None
