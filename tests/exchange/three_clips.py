"""A selection of three clips, as fixtures: a file, a segment of a longer recording, and a pipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_egl.bin import al_export, al_import
from espnet_egl.data.kaldi import read_table
from espnet_egl.exchange import importers

RATE = 8000
DRAFTS = {"a": 'zwei "drei" é', "b/1": "three", "c": ""}
SECONDS = {"a": 1.0, "b/1": 0.5, "c": 0.75}
ANSWERS = {"a": ('zwei "drei" é', ""), "b/1": ("", "not_speech"), "c": ("", "cannot_understand")}


@pytest.fixture
def select_dir(tmp_path: Path) -> Path:
    """What stage 21 leaves, with nbest.tsv beside."""
    directory = tmp_path / "select"
    directory.mkdir()
    ramp = np.linspace(-0.5, 0.5, 3 * RATE, dtype="float32")
    soundfile.write(tmp_path / "a.wav", ramp[:RATE], RATE)
    soundfile.write(tmp_path / "long.wav", ramp, RATE)
    soundfile.write(tmp_path / "c.wav", ramp[: 3 * RATE // 4], RATE)
    (directory / "wav.scp").write_text(
        f"a {tmp_path}/a.wav\nc cat {tmp_path}/c.wav |\nr {tmp_path}/long.wav\n"
    )
    (directory / "segments").write_text("a a 0.0 1.0\nb/1 r 1.0 1.5\nc c 0.0 0.75\n")
    (directory / "utt2dur").write_text("".join(f"{u} {s}\n" for u, s in SECONDS.items()))
    (directory / "utt2spk").write_text("".join(f"{u} s\n" for u in SECONDS))
    rows = "".join(f"{u}\t{s}\t0.5\tegl\t{DRAFTS[u]}\n" for u, s in SECONDS.items())
    head = "utterance\tseconds\tconfidence\treason\tbest_hypothesis\n"
    (directory / "selection.tsv").write_text(head + rows)
    (tmp_path / "nbest.tsv").write_text(
        "utterance\trank\tlog_prob\ttext\n"
        f"a\t1\t-0.5\t{DRAFTS['a']}\na\t2\t-1.5\tzwei\nb/1\t1\t-1\tthree\n"
    )
    return directory


@pytest.fixture
def export(select_dir: Path, tmp_path: Path) -> Callable[..., Path]:
    """Run stage 22; the directory it wrote."""

    def run(name: str, *options: str) -> Path:
        target = tmp_path / "annotate"
        command = ["--select_dir", str(select_dir), "--output_dir", str(target), "--format", name]
        al_export.main([*command, "--nbest_file", str(tmp_path / "nbest.tsv"), *options])
        return target

    return run


@pytest.fixture
def back(select_dir: Path, tmp_path: Path) -> Callable[..., dict[str, tuple[str, str]]]:
    """Run stage 23 on what stage 22 wrote; utterance -> (transcript, mark)."""

    def run(name: str, *options: str) -> dict[str, tuple[str, str]]:
        target = tmp_path / "labelled"
        command = ["--select_dir", str(select_dir), "--annotate_dir", str(tmp_path / "annotate")]
        al_import.main([*command, "--format", name, "--output_dir", str(target), *options])
        texts = read_table(target / "text")
        lines = (target / "returned.tsv").read_text().splitlines()[1:]
        states = dict(line.split("\t")[:2] for line in lines)
        return {
            uid: (texts.get(uid, ""), "" if state in ("labelled", "out") else state)
            for uid, state in states.items()
        }

    return run


def nothing_yet(name: str, directory: Path) -> bool:
    """Whether what was handed over has no answers: a draft is none."""
    importer = importers.build(name, {})
    answers = importer.read(directory / importer.file_name)
    assert len(answers) == len(DRAFTS)
    return not any(answer.transcript or answer.mark for answer in answers)
