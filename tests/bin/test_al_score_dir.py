"""A folder of audio and a packed model, no recipe."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from conftest import make_speech
from speaking import spoken
from tolerances import ROUNDING

from espnet_egl.bin import al_score_dir, main
from espnet_egl.data.jobs import run_shards
from espnet_egl.data.kaldi import read_table
from espnet_egl.errors import ConfigError
from espnet_egl.model import packed as packed_models
from espnet_egl.model.packed import unpack
from espnet_egl.store.files import parse_json
from espnet_egl.store.tables import read_rows, read_scores


@pytest.fixture
def wavs(tmp_path: Path) -> Path:
    """Two speakers' folders, four clips, one of them broken."""
    for i, name in enumerate(("anna/one two.wav", "anna/b.flac", "bert/b.WAV")):
        path = tmp_path / "wavs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, make_speech(0.5 + 0.1 * i, seed=i), 8000)
    (tmp_path / "wavs" / "broken.wav").write_text("no audio")
    (tmp_path / "wavs" / "readme.txt").write_text("no audio either")
    return tmp_path / "wavs"


@pytest.fixture
def packed(
    model_files: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """As stage 14 of asr.sh packs it."""
    from espnet2.bin import pack

    files = model_files("ctc_conformer")
    monkeypatch.chdir(files.config.parent)
    path = tmp_path / "packed.zip"
    options = ["--asr_train_config", files.config.name, "--asr_model_file", files.checkpoint.name]
    pack.main(["asr", *options, "--outpath", str(path)])
    return path


def test_a_folder_of_interviews_is_scored_clip_by_clip(packed: Path, tmp_path: Path) -> None:
    """Files longer than the model's clips, one of which breaks off: no row was left of them."""
    folder = tmp_path / "interviews"
    folder.mkdir()
    words = ["score", "--model", str(packed), "--wav_dir", str(folder)]
    options = "--max_seconds 12 --vad true --methods confidence --inference_args=--beam_size=5"
    scoring = ["--score_args", options]
    # It begins with what is short; that keeps its scores when it has to be cut.
    soundfile.write(folder / "word.wav", make_speech(0.7), 8000)
    main.main([*words, "--out", str(tmp_path / "scores.tsv"), *scoring])
    first = read_scores(tmp_path / "scores.tsv").set_index("utterance")
    assert list(first.index) == ["word"]
    for seed, name in enumerate(("anna", "bert")):
        soundfile.write(folder / f"{name}.wav", spoken(seed, 20), 8000)
    path = folder / "bert.wav"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    main.main([*words, "--out", str(tmp_path / "scores.tsv"), *scoring])
    table = read_scores(tmp_path / "scores.tsv").set_index("utterance")
    work = tmp_path / "scores.tsv.work"
    assert table.loc[first.index].equals(first)
    assert parse_json((work / "run.json").read_text())["known_by_audio"] == 1
    assert set(table.index) == set(read_table(work / "data_cut" / "segments"))
    assert {uid.split("-")[0] for uid in table.index} == {"anna", "bert", "word"}
    assert len(table) > 5
    assert (table["speech_seconds"] > 0).sum() >= len(table) - 1
    skipped = {row["utterance"]: row["reason"] for row in read_rows(work / "skipped.tsv")}
    assert skipped == {"bert": "truncated_audio"}
    # Again with one more: what is scored stays scored.
    soundfile.write(folder / "carl.wav", spoken(7, 15), 8000)
    main.main([*words, "--out", str(tmp_path / "scores.tsv"), *scoring])
    more = read_scores(tmp_path / "scores.tsv").set_index("utterance")
    assert more.loc[table.index].equals(table)
    assert any(uid.startswith("carl-0") for uid in more.index)
    main.main([*words, "--out", str(tmp_path / "o.tsv"), "--segment", "false", *scoring])
    reasons = {r["utterance"]: r["reason"] for r in read_rows(tmp_path / "o.tsv.work/skipped.tsv")}
    assert reasons["anna"] == "too_long"


def test_rules_come_from_the_section_of_al_segment(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "anna.wav", spoken(0, 20), 8000)
    (tmp_path / "wav.scp").write_text(f"anna {tmp_path}/anna.wav\n")
    config = tmp_path / "al.yaml"
    config.write_text("al_segment:\n  max_seconds: 6\n  target_seconds: 4.0000001\n")
    words = ["--model", "m", "--wav_dir", "w", "--segment", "true", "--config", str(config)]
    words += ["--min_seconds", "1.2345678"]
    args = al_score_dir.get_parser().parse_args(words)
    pool = al_score_dir.cut(args, tmp_path, tmp_path / "cut", "")
    rules = parse_json((pool / "manifest.json").read_text())["made_of"]["settings"]
    found = [rules[f"{name}_seconds"] for name in ("min", "target", "max")]
    assert found == [1.2345678, 4.0000001, 6]


# Stands for al_score: notes its process and threads, and goes on for long.
CHILD = """
import os, sys, time
with open(sys.argv[-1], "w") as f:
    f.write(f"{os.getpid()} {os.environ.get('OMP_NUM_THREADS')}\\n")
time.sleep(float(sys.argv[1]))
"""
PARENT = """
import pathlib, signal, sys
from espnet_egl import options
from espnet_egl.data.jobs import run_shards
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
cmd, logdir = [sys.executable, "-c", sys.argv[1], "60"], pathlib.Path(sys.argv[2])
options.run(options.make_parser("x", ""), lambda _: run_shards(cmd, logdir, range(1, 3)), [])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_is_ended_leaves_no_children(tmp_path: Path, number: signal.Signals) -> None:
    outputs = [tmp_path / f"output.{job}" for job in (1, 2)]
    parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD, str(tmp_path)])
    while not all(path.exists() and path.read_text().endswith("\n") for path in outputs):
        assert parent.poll() is None
        time.sleep(0.05)
    parent.send_signal(number)
    assert parent.wait(timeout=30) != 0
    for path in outputs:
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.read_text().split()[0]), 0)


@pytest.mark.parametrize("given", [None, "3"])
def test_processes_share_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    for nj, threads in ((1, None), (2, "4"), (3, "2"), (9, "1")):
        run_shards([sys.executable, "-c", CHILD, "0"], tmp_path, range(1, nj + 1))
        for job in range(1, nj + 1):
            found = (tmp_path / f"output.{job}").read_text().split()[1]
            assert found == str(given or threads)


def test_a_folder_is_scored(
    packed: Path, wavs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def score(out: str, nj: str, nbest: int = 8) -> Path:
        options = ["--model", str(packed), "--wav_dir", str(wavs), "--out", str(tmp_path / out)]
        options += [
            "--score_args",
            f"--methods egl longest --hyp_source ctc_sample --nbest {nbest}",
        ]
        main.main(["score", *options, "--nj", nj])
        return tmp_path / out

    one = score("one.tsv", "1")
    table = read_scores(one)
    assert table["utterance"].tolist() == ["anna-b", "anna-one_two", "bert-b"]
    assert (table["score_egl"] > 0).all()
    skipped = read_rows(tmp_path / "one.tsv.work" / "skipped.tsv")
    assert [(row["utterance"], row["reason"]) for row in skipped] == [
        ("broken", "unreadable_audio"),
        ("readme.txt", "no_audio_suffix"),
    ]
    # However many processes; and what is done is not done again.
    again = read_scores(score("two.tsv", "2"))
    assert again["utterance"].equals(table["utterance"])
    np.testing.assert_allclose(again["score_egl"], table["score_egl"], rtol=ROUNDING)
    logs = list((tmp_path / "two.tsv.work" / "logdir").glob("output.*/journal.jsonl"))
    before = [log.stat().st_mtime_ns for log in logs]
    score("two.tsv", "2")
    assert [log.stat().st_mtime_ns for log in logs] == before
    # What was broken is whole by now, and a clip is another one.
    soundfile.write(wavs / "broken.wav", make_speech(0.4, seed=8), 8000)
    soundfile.write(wavs / "bert" / "b.WAV", make_speech(0.9, seed=9), 8000, format="WAV")
    capsys.readouterr()
    later = read_scores(score("two.tsv", "2"))
    assert later["utterance"].tolist() == ["anna-b", "anna-one_two", "bert-b", "broken"]
    assert later["seconds"].tolist() == [*table["seconds"].tolist()[:2], 0.9, 0.4]
    run = parse_json((tmp_path / "two.tsv.work" / "run.json").read_text())
    assert (run["scored"], run["done_again"]) == (4, 2)
    # More files, and fewer: only what is new is scored.
    (wavs / "broken.wav").unlink()
    soundfile.write(wavs / "new.wav", make_speech(0.3, seed=10), 8000)
    grown = read_scores(score("two.tsv", "1"))
    assert grown["utterance"].tolist() == ["anna-b", "anna-one_two", "bert-b", "new"]
    assert grown.iloc[:3].equals(later.iloc[:3])
    work = tmp_path / "two.tsv.work"
    run = parse_json((work / "run.json").read_text())
    assert run["audio_seconds_in_this_time"] == 0.3
    assert not list(work.glob("logdir.*"))
    # Other options make other scores; what to do is told in this command's words.
    capsys.readouterr()
    with pytest.raises(SystemExit):
        score("two.tsv", "2", nbest=9)
    said = capsys.readouterr().err
    assert f"Give another --out or --work_dir, or remove {work}" in said
    assert "--al_" not in said


def write_zip(path: Path, *names: str, meta: str | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "{}")
        if meta is not None:
            archive.writestr("meta.yaml", meta)
    return path


@pytest.mark.parametrize(
    ("names", "meta", "message"),
    [
        (["../x"], None, "holds '../x', which lies outside"),
        (["/x"], None, "holds '/x', which lies outside"),
        (["a"], "{yaml_files: {}, files: {asr_model_file: ../../x}}", "which lies outside"),
        (["a"], None, "cannot be unpacked .*meta.yaml"),
        (
            ["a", "b"],
            "{yaml_files: {mt_train_config: a}, files: {mt_model_file: b}}",
            "no asr_model_file is in it but mt_model_file, mt_train_config: only models of",
        ),
    ],
)
def test_what_is_no_packed_model_is_refused(
    tmp_path: Path, names: list[str], meta: str | None, message: str
) -> None:
    path = write_zip(tmp_path / "model.zip", *names, meta=meta)
    with pytest.raises(ConfigError, match=message):
        unpack(str(path), tmp_path / "out")
    assert not (tmp_path / "x").exists()


def model_zip(path: Path, weights: str, meta: str = "meta.yaml") -> str:
    """With a token that is a folder's name, too."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.mkdir("exp")
        archive.writestr("exp/m.pth", weights)
        archive.writestr("exp/c.yaml", "{token_list: [exp, ''], stats: exp/m.pth}")
        archive.writestr(
            meta,
            "{yaml_files: {asr_train_config: exp/c.yaml}, files: {asr_model_file: exp/m.pth}}",
        )
    return str(path)


def test_every_archive_has_a_folder_of_its_own(tmp_path: Path) -> None:
    """Wherever its meta.yaml lies; and what is there is not written to again."""
    out = tmp_path / "out"
    one = unpack(model_zip(tmp_path / "one.zip", "one"), out)
    two = unpack(model_zip(tmp_path / "two.zip", "two", "exp/meta.yaml"), out)
    assert Path(one["asr_model_file"]).read_text() == "one"
    assert Path(two["asr_model_file"]).read_text() == "two"
    for found in (one, two):
        assert yaml.safe_load(Path(found["asr_train_config"]).read_text()) == {
            "token_list": ["exp", ""],
            "stats": found["asr_model_file"],
        }
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    shutil.copy(tmp_path / "one.zip", tmp_path / "copy.zip")
    assert unpack(str(tmp_path / "copy.zip"), out) == one
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before


def test_what_was_unpacked_in_part_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = model_zip(tmp_path / "one.zip", "one"), tmp_path / "out"

    def settle(temporary: Path, target: Path) -> None:
        assert (temporary / "exp" / "m.pth").exists()
        assert not target.exists()
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(packed_models, "_settle", settle)
        with pytest.raises(ConfigError, match="cannot be unpacked"):
            unpack(path, out)
    assert not list(out.iterdir())
    assert Path(unpack(path, out)["asr_model_file"]).read_text() == "one"


class Zoo:
    """Stands for espnet_model_zoo's downloader."""

    there = ""

    def download(self, name: str) -> str:
        assert name == "user/model"
        return self.there

    def download_and_unpack(self, name: str) -> dict[str, str]:
        assert Path(self.download(name)).is_dir()
        return {"asr_train_config": "c", "asr_model_file": "m"}


def test_an_archive_of_the_zoo_is_checked_as_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("espnet_model_zoo.downloader")
    module.ModelDownloader = Zoo  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "espnet_model_zoo", ModuleType("espnet_model_zoo"))
    monkeypatch.setitem(sys.modules, "espnet_model_zoo.downloader", module)
    monkeypatch.setattr(Zoo, "there", model_zip(tmp_path / "one.zip", "one"))
    found = unpack("user/model", tmp_path / "out")
    assert Path(found["asr_model_file"]).is_relative_to(tmp_path / "out")
    monkeypatch.setattr(Zoo, "there", str(write_zip(tmp_path / "evil.zip", "../x")))
    with pytest.raises(ConfigError, match="which lies outside"):
        unpack("user/model", tmp_path / "out")
    monkeypatch.setattr(Zoo, "there", str(tmp_path))
    assert unpack("user/model", tmp_path / "out")["asr_model_file"] == "m"


def test_what_is_no_model_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.zip").write_bytes(b"PK nonsense")
    with pytest.raises(ConfigError, match="cannot be unpacked"):
        unpack(str(tmp_path / "model.zip"), tmp_path / "out")
    with pytest.raises(ConfigError, match=r"missing\.zip: no such file$"):
        unpack(str(tmp_path / "missing.zip"), tmp_path / "out")
    with pytest.raises(ConfigError, match="give a file packed by stage 14"):
        unpack("valid.acc.ave.pth", tmp_path / "out")
