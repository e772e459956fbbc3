"""Whatever the bytes: a parser returns, or raises an error of ours that a user can mend.

A short time for each by default; ``make fuzz`` gives each FUZZ_SECONDS.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from espnet_egl.bin import al_prepare, al_score, al_select
from espnet_egl.data.audio import read_audio
from espnet_egl.data.kaldi import read_durations, read_ids, read_segments, read_table
from espnet_egl.errors import EGLError, UtteranceError
from espnet_egl.exchange import importers
from espnet_egl.exchange.kaldi_text import KaldiText
from espnet_egl.exchange.tsv import ReturnedTSV
from espnet_egl.fitted.calibration import Calibration
from espnet_egl.fitted.prediction import read_predictor, read_temperature
from espnet_egl.loop.curve import CURVE_COLUMNS, read_curve
from espnet_egl.loop.returns import RETURNED_COLUMNS, read_handled
from espnet_egl.loop.training import parse_factors, parse_rate, total_samples
from espnet_egl.loop.worth import read_points
from espnet_egl.model import packed
from espnet_egl.report.provenance import run_record
from espnet_egl.scoring.records import Summary
from espnet_egl.selection.budget import parse_amount, parse_budget
from espnet_egl.store import embeddings
from espnet_egl.store.files import read_manifest, read_yaml
from espnet_egl.store.journal import Journal, to_line
from espnet_egl.store.tables import (
    BASE_COLUMNS,
    NBEST_COLUMNS,
    read_nbest,
    read_rows,
    read_scores,
    read_words,
)

SECONDS = float(os.environ.get("FUZZ_SECONDS", "1"))


def of_folder(name: str, read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """A reader of the folder in which the file has that name."""

    def reader(path: Path) -> Any:
        path.replace(path.with_name(name))
        return read(path.parent)

    return reader


def predictor(path: Path) -> Any:
    return read_predictor(path, "true_gl")


def points(path: Path) -> Any:
    return read_points(path, "test")


def returned(name: str) -> Callable[[Path], Any]:
    """A reader of what annotators return in a format."""
    return importers.build(name, {}).read


def of_clip(name: str) -> Callable[[Path], Any]:
    """A reader of a format with a file a clip, of which this is one."""
    importer = importers.build(name, {})

    def reader(path: Path) -> Any:
        path.replace(path.with_name(f"a{importer.suffix}"))
        path.with_name("clips.tsv").write_text("utterance\tfile\na\ta.wav\n")
        return importer.read(path.parent)

    return reader


def journal(path: Path) -> Any:
    found = Journal(path)
    try:
        return list(found.entries())
    finally:
        found.close()


def times(folder: Path) -> Any:
    return Summary().add_times([folder])


def archive(suffix: str) -> Callable[[Path], Any]:
    """A reader of a packed model."""

    def reader(path: Path) -> Any:
        path = path.replace(path.with_name(f"model{suffix}"))
        try:
            return packed.unpack(str(path), path.with_name("unpacked"))
        finally:
            shutil.rmtree(path.with_name("unpacked"), ignore_errors=True)

    return reader


def audio(path: Path) -> Any:
    """A waveform at another rate than most files'; damage that is not noticed is heard."""
    try:
        wave, seconds = read_audio(str(path), 8000, max_seconds=120)
    except EGLError as e:
        assert isinstance(e, UtteranceError)  # noqa: PT017
        raise
    assert wave.dtype == np.float32
    assert np.isfinite(wave).all()
    assert 0 < seconds <= 120
    return wave


def ark(path: Path) -> Any:
    return audio(Path(f"{path.replace(path.with_name('a.ark'))}:2"))


def row(columns: tuple[str, ...], *cells: str) -> str:
    return "\t".join(columns) + "\n" + "\t".join(cells) + "\n"


CURVE_CELLS = ("c", "egl", "0", "1", "5h", "test", "3", "1.5", "0", "9", "8", "7", "9", "60")
CURVE = row(CURVE_COLUMNS, *CURVE_CELLS)
SCORES = row((*BASE_COLUMNS, "score_egl"), *["a", "1.0", "9", "3", "0.5", "0.5", "hi", "0.1"])
RETURNED = row(RETURNED_COLUMNS, "a", "labelled", "1", "egl", "2.5", "x")
FITTED = "temperature: 1.5\ntrue_gl: {features: {a: [1, 2, 3, 4]}, intercept: 0, target_scale: 0, "
FITTED += "spearman: 1, spearman_egl: 0, utterances: 50}\n"

CALIBRATED = "word: {slope: 1, intercept: 0, count: 9, right: 5, before: &q {auc_roc: 0.5, "
CALIBRATED += "ece: 0.1, nce: 0}, after: *q}\nutterance: null\nsettings: {a: 1}\n"
RUN = {"elapsed_seconds": 1, "audio_seconds_in_this_time": 2.5, "peak_memory_gib": 0.1}
SUPERVISION = {"id": "a", "recording_id": "a", "start": 0, "duration": 1, "channel": 0, "text": ""}
SUPERVISION |= {"custom": {"draft": "hi", "mark": "not_speech"}}
JOURNAL = [to_line({"uid": uid, "row": [uid, "1.0"], "nbest": [["-1", "hi"]]}) for uid in "ab"]
ANNOTATION = {
    "completed_by": {"id": 1},
    "result": [
        {"from_name": "transcript", "value": {"text": ["hi"]}},
        {"from_name": "mark", "value": {"choices": []}},
    ],
    "was_cancelled": False,
    "updated_at": "2026-11-24T20:27:00.000001Z",
    "lead_time": 2.5,
}
EXPORT = [{"id": 7, "data": {"utterance": "a", "draft": "he"}, "annotations": [ANNOTATION]}]
EXPORT += [{"id": 8, "utterance": "b", "mark": "not speech", "annotator": 1} | ANNOTATION]
TEXTGRID = """\
File type = "ooTextFile"
Object class = "TextGrid"

0
1.5
<exists>
1
"IntervalTier"
"transcript"
0
1.5
2
0
1
"hi"
1
1.5
"there"
"""
ELAN = """\
<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="x" DATE="2026-11-24T20:27:00+00:00" FORMAT="3.0" VERSION="3.0"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="EAF.xsd">
  <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"/>
  <TIME_ORDER>
    <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="0"/>
    <TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="900"/>
  </TIME_ORDER>
  <TIER LINGUISTIC_TYPE_REF="default-lt" TIER_ID="transcript">
    <ANNOTATION>
      <ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
        <ANNOTATION_VALUE>hi there</ANNOTATION_VALUE>
      </ALIGNABLE_ANNOTATION>
    </ANNOTATION>
  </TIER>
  <LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="default-lt" TIME_ALIGNABLE="true"/>
</ANNOTATION_DOCUMENT>
"""
META = "{yaml_files: {asr_train_config: exp/c.yaml}, files: {asr_model_file: exp/m.pth}}"
PACKED = {"meta.yaml": META, "exp/c.yaml": "normalize_conf: {stats: exp/m.pth}", "exp/m.pth": "x"}


def zipped() -> bytes:
    """A packed model, nothing of it compressed: edits hit texts."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, text in PACKED.items():
            file.writestr(name, text)
    return content.getvalue()


def tarred() -> bytes:
    """The same, without checksums of what is in it."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as file:
        for name, text in PACKED.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            file.addfile(info, io.BytesIO(text.encode()))
    return content.getvalue()


def sound(kind: str, rate: int = 16000, **more: Any) -> bytes:
    """So short that damage meets its header as often as its samples."""
    content = io.BytesIO()
    wave = np.sin(np.arange(rate // 100) / 9)
    soundfile.write(content, wave, rate, format=kind, **more)
    return content.getvalue()


def array() -> bytes:
    content = io.BytesIO()
    np.save(content, np.ones((1, 2), dtype=np.float32))
    return content.getvalue()


FLAC = sound("FLAC")

# Name -> who reads, and what it should look like.
PARSERS: dict[str, tuple[Callable[[Path], Any], str | bytes]] = {
    "table": (read_table, "a x.wav\nb cat y.wav |\n"),
    "ids": (read_ids, "a 1\nb 2\n"),
    "segments": (read_segments, "a r 0.0 1.5\nb r 1.5 2.25\n"),
    "durations": (read_durations, "a 1.5\nb 2\n"),
    "shapes": (total_samples, "a 100,80\nb 200\n"),
    "rows": (read_rows, RETURNED),
    "scores": (read_scores, SCORES),
    "nbest": (read_nbest, row(NBEST_COLUMNS, "a", "1", "-3.5", "hi there")),
    "words": (read_words, "a 1 0.000 0.500 hi 0.9\n"),
    "curve": (read_curve, CURVE),
    "points": (points, CURVE),
    "handled": (of_folder("returned.tsv", read_handled), RETURNED),
    "manifest": (of_folder("manifest.json", read_manifest), '{"a": [1, "x"], "b": null}\n'),
    "returned": (ReturnedTSV().read, 'utterance\ttranscript\tmark\na\t"hi"\t\nb\t\tnot_speech\n'),
    "text": (KaldiText().read, "a hello there\nb\n"),
    "yaml": (read_yaml, "a: &x [1, 2.5, 2001-01-01]\nb: *x\nc: {d: !!str 1, e: ~}\n"),
    "temperature": (read_temperature, FITTED),
    "predictor": (predictor, FITTED),
    "calibration": (Calibration.load, CALIBRATED),
    "embeddings": (embeddings.read, array()),
    "csv": (returned("csv"), 'utterance,transcript,mark\na,"hi, there",\nb,,not_speech\n'),
    "label_studio": (returned("label_studio"), json.dumps(EXPORT)),
    "nemo": (returned("nemo"), '{"utterance": "a", "text": "hi", "mark": "", "duration": 1.5}\n'),
    "lhotse": (returned("lhotse"), json.dumps(SUPERVISION)),
    "textgrid": (of_clip("textgrid"), TEXTGRID),
    "elan": (of_clip("elan"), ELAN),
    "audacity": (of_clip("audacity"), "0.0\t1.0\thi\n\\\t100.0\t200.0\n1.0\t1.5\tthere\n"),
    "journal": (journal, "\n".join(JOURNAL) + "\n"),
    "run": (of_folder("run.json", run_record), json.dumps(RUN)),
    "times": (of_folder("run.json", times), json.dumps(RUN)),
    "zip": (archive(".zip"), zipped()),
    "tar": (archive(".tar"), tarred()),
    "ark": (ark, b"a AUDIO\2" + len(FLAC).to_bytes(2, "little") + FLAC),
    "wav": (audio, sound("WAV")),
    "float_wav": (audio, sound("WAV", 8000, subtype="FLOAT")),
    "flac": (audio, FLAC),
    "ogg": (audio, sound("OGG")),
}

# What parsers trip over, beside single bytes.
PIECES = [
    *("\t", "\r", "\n", "\r\n", " ", "\0", '"', "'", "|", "\\", ":", "-", "&a ", "*a", "!!"),
    *("nan", "inf", "-1", "1e999", "9" * 5000, "\ufeff", "\u2028", "\x85", "\u3000", "[", "{", "}"),
    *("[" * 100_000, '{"a":' * 100_000, "<a>" * 9000),
    *("!!python/object/apply:os.system [id]", "!!timestamp x", "!!int x", "!!binary x", "<<: 1"),
]
changes = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.one_of(st.none(), st.integers(0, 9)),
        st.one_of(st.sampled_from(PIECES).map(lambda t: t.encode()), st.binary(max_size=4)),
    ),
    max_size=6,
)


Edits = list[tuple[float, int | None, bytes]]


def damaged(good: bytes, edits: Edits) -> bytes:
    """Put the bytes of every edit where so many others were; None: as many."""
    for place, length, new in edits:
        start = int(place * len(good))
        good = good[:start] + new + good[start + (len(new) if length is None else length) :]
    return good


def fuzz(test: Callable[..., None], **strategies: Any) -> None:
    """Run a test on drawn arguments until the time is over, every time from another seed."""
    limited = settings(
        max_examples=200, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    end = time.monotonic() + SECONDS
    for number in itertools.count():
        limited(seed(number)(given(**strategies)(test)))()
        if time.monotonic() > end:
            return


def encoded(good: str | bytes) -> bytes:
    return good.encode() if isinstance(good, str) else good


@pytest.mark.parametrize("name", PARSERS)
def test_what_is_damaged_was_good(name: str, tmp_path: Path) -> None:
    """A file that is refused as it is takes no damage any deeper."""
    read, good = PARSERS[name]
    path = tmp_path / "file"
    path.write_bytes(encoded(good))
    read(path)


@pytest.mark.parametrize("name", PARSERS)
def test_files(name: str, tmp_path: Path) -> None:
    read, good = PARSERS[name]
    path = tmp_path / "file"

    def check(edits: Edits, raw: bytes | None) -> None:
        path.write_bytes(damaged(encoded(good), edits) if raw is None else raw)
        with contextlib.suppress(EGLError):
            read(path)

    fuzz(check, edits=changes, raw=st.one_of(st.none(), st.none(), st.none(), st.binary()))


@pytest.mark.parametrize("name", PARSERS)
def test_files_guided_by_coverage(name: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="make fuzz installs it")
    script = Path(__file__).with_name("coverage_guided.py")
    limits = [f"-max_total_time={max(1, int(SECONDS))}", "-rss_limit_mb=8192", "-timeout=60"]
    done = subprocess.run(
        [sys.executable, str(script), name, str(tmp_path / "corpus"), *limits],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Done" in done.stderr


@pytest.mark.parametrize("parse", [parse_amount, parse_rate, parse_factors, parse_budget])
def test_values(parse: Callable[..., Any]) -> None:
    more = (10, 3600.0) if parse is parse_budget else ()
    good = ["500utt", "2.5h", "20%", "1500EUR", "16k", "16000", "0.9 1.0 1.1"]

    def check(text: str, edits: Edits) -> None:
        with contextlib.suppress(EGLError):
            parse(damaged(text.encode(), edits).decode("utf-8", "replace"), *more)

    fuzz(check, text=st.one_of(st.sampled_from(good), st.text()), edits=changes)


AL_YAML = (Path(__file__).parents[2] / "conf" / "al.yaml").read_bytes()


@pytest.mark.parametrize("command", [al_score, al_select, al_prepare])
def test_options(command: Any, tmp_path: Path) -> None:
    """A wrong --config ends as argparse ends, with 2."""
    path = tmp_path / "al.yaml"

    def check(edits: Edits, words: list[str]) -> None:
        path.write_bytes(damaged(AL_YAML, edits))
        code: Any = 0
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            try:
                command.get_parser().parse_args(["--config", str(path), *words])
            except SystemExit as e:
                code = e.code
        assert code in (0, 2)

    option = st.sampled_from(["--nbest", "--methods", "--method_conf", "--budget", "--nj"])
    fuzz(check, edits=changes, words=st.lists(st.one_of(option, st.text(max_size=9)), max_size=4))
