"""Whatever the bytes: a parser returns, or raises an error of ours that a user can mend.

A short time for each by default; ``make fuzz`` gives each FUZZ_SECONDS.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from espnet_egl import embeddings
from espnet_egl.bin import al_prepare, al_score, al_select
from espnet_egl.calibration import Calibration
from espnet_egl.data.kaldi import read_durations, read_ids, read_segments, read_table
from espnet_egl.errors import EGLError
from espnet_egl.exchange.kaldi_text import KaldiText
from espnet_egl.exchange.tsv import ReturnedTSV
from espnet_egl.files import read_manifest, read_yaml
from espnet_egl.loop.curve import CURVE_COLUMNS, read_curve
from espnet_egl.loop.returns import RETURNED_COLUMNS, read_handled
from espnet_egl.loop.training import parse_factors, parse_rate, total_samples
from espnet_egl.loop.worth import read_points
from espnet_egl.prediction import read_predictor, read_temperature
from espnet_egl.selection.budget import parse_amount, parse_budget
from espnet_egl.tables import (
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


def row(columns: tuple[str, ...], *cells: str) -> str:
    return "\t".join(columns) + "\n" + "\t".join(cells) + "\n"


CURVE_CELLS = ("c", "egl", "0", "1", "5h", "test", "3", "1.5", "0", "9", "8", "7", "9", "60")
CURVE = row(CURVE_COLUMNS, *CURVE_CELLS)
SCORES = row((*BASE_COLUMNS, "score_egl"), *["a", "1.0", "9", "3", "0.5", "0.5", "hi", "0.1"])
RETURNED = row(RETURNED_COLUMNS, "a", "labelled", "1", "egl", "x")
FITTED = "temperature: 1.5\ntrue_gl: {features: {a: [1, 2, 3, 4]}, intercept: 0, target_scale: 0, "
FITTED += "spearman: 1, spearman_egl: 0, utterances: 50}\n"

# Name -> who reads, and what it should look like.
PARSERS: dict[str, tuple[Callable[[Path], Any], str]] = {
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
    "calibration": (Calibration.load, "{word: {slope: 1, intercept: 0}, settings: {a: 1}}\n"),
    "embeddings": (embeddings.read, "\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'shape': (1, 2)}\n"),
}

# What parsers trip over, beside single bytes.
PIECES = [
    *("\t", "\r", "\n", "\r\n", " ", "\0", '"', "'", "|", "\\", ":", "-", "&a ", "*a", "!!"),
    *("nan", "inf", "-1", "1e999", "9" * 5000, "\ufeff", "\u2028", "\x85", "\u3000", "[", "{", "}"),
    *("!!python/object/apply:os.system [id]", "!!timestamp x", "!!int x", "!!binary x", "<<: 1"),
]
changes = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.integers(0, 9),
        st.one_of(st.sampled_from(PIECES).map(lambda t: t.encode()), st.binary(max_size=4)),
    ),
    max_size=6,
)


def damaged(good: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    """Put the bytes of every edit where so many others were."""
    for place, length, new in edits:
        start = int(place * len(good))
        good = good[:start] + new + good[start + length :]
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


@pytest.mark.parametrize("name", PARSERS)
def test_files(name: str, tmp_path: Path) -> None:
    read, good = PARSERS[name]
    path = tmp_path / "file"

    def check(edits: list[tuple[float, int, bytes]], raw: bytes | None) -> None:
        content = damaged(good.encode("latin-1" if name == "embeddings" else "utf-8"), edits)
        path.write_bytes(content if raw is None else raw)
        with contextlib.suppress(EGLError):
            read(path)

    fuzz(check, edits=changes, raw=st.one_of(st.none(), st.none(), st.none(), st.binary()))


@pytest.mark.parametrize("parse", [parse_amount, parse_rate, parse_factors, parse_budget])
def test_values(parse: Callable[..., Any]) -> None:
    more = (10, 3600.0) if parse is parse_budget else ()
    good = ["500utt", "2.5h", "20%", "1500EUR", "16k", "16000", "0.9 1.0 1.1"]

    def check(text: str, edits: list[tuple[float, int, bytes]]) -> None:
        with contextlib.suppress(EGLError):
            parse(damaged(text.encode(), edits).decode("utf-8", "replace"), *more)

    fuzz(check, text=st.one_of(st.sampled_from(good), st.text()), edits=changes)


AL_YAML = (Path(__file__).parents[2] / "conf" / "al.yaml").read_bytes()


@pytest.mark.parametrize("command", [al_score, al_select, al_prepare])
def test_options(command: Any, tmp_path: Path) -> None:
    """A wrong --config ends as argparse ends, with 2."""
    path = tmp_path / "al.yaml"

    def check(edits: list[tuple[float, int, bytes]], words: list[str]) -> None:
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
