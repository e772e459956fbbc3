"""Damaged tables, settings and returns: read as they are meant, or refused with a message.

One table, :data:`CASES`: a name, the bytes, who reads them, and what must come of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from espnet_egl.data.arrivals import plan_shards
from espnet_egl.data.kaldi import (
    Rows,
    Segment,
    read_durations,
    read_ids,
    read_segments,
    read_table,
)
from espnet_egl.errors import BudgetError, ConfigError, DataError, EGLError
from espnet_egl.exchange.kaldi_text import KaldiText
from espnet_egl.exchange.tasks import read_tasks
from espnet_egl.exchange.tsv import ReturnedTSV
from espnet_egl.fitted.calibration import Calibration
from espnet_egl.fitted.prediction import read_predictor, read_temperature
from espnet_egl.loop.curve import CURVE_COLUMNS, read_curve
from espnet_egl.loop.pilot import Figures
from espnet_egl.loop.returns import read_handled
from espnet_egl.loop.state import describe
from espnet_egl.loop.training import join_sets, total_samples
from espnet_egl.loop.worth import read_points
from espnet_egl.report.provenance import run_record
from espnet_egl.scoring.records import Summary
from espnet_egl.selection.budget import parse_budget
from espnet_egl.store import embeddings
from espnet_egl.store.files import parse_yaml, read_manifest, read_yaml
from espnet_egl.store.tables import BASE_COLUMNS, read_nbest, read_rows, read_scores, read_words

TWO = {"a": "x.wav", "b": "y.wav"}
SCORES = "\t".join([*BASE_COLUMNS, "score_egl"])
RETURNED = "utterance\tstate\tseconds\treason\tdetail\n"
LAUGHS = "\n".join(
    ["a0: &a0 [ha]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12))]
)
PREDICTOR = "true_gl: {{features: {}, intercept: 0, target_scale: 0, spearman: 1, spearman_egl: 0"
PREDICTOR += ", utterances: 50}}"


def predictor(features: str) -> str:
    return PREDICTOR.format(features)


def in_folder(name: str, read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """A reader of the folder in which the file has that name."""

    def reader(path: Path) -> Any:
        path.rename(path.with_name(name))
        return read(path.parent)

    return reader


@dataclass(frozen=True)
class Case:
    """One file.

    Attributes:
        name: For the test's name.
        content: Its bytes, or a text.
        read: Who reads it.
        expected: What comes of it; or the exception.
        message: Stands in the exception's message.
    """

    name: str
    content: bytes | str
    read: Callable[[Path], Any]
    expected: Any
    message: str = ""


CASES = [
    # ---- Kaldi's tables ----
    Case("plain", "a x.wav\nb y.wav\n", read_table, TWO),
    Case("no_end_of_line", "a x.wav\nb y.wav", read_table, TWO),
    Case("tabs", "a\tx.wav\nb \t y.wav\n", read_table, TWO),
    Case("crlf", "a x.wav\r\nb y.wav\r\n", read_table, TWO),
    Case("old_mac", "a x.wav\rb y.wav\r", read_table, TWO),
    Case("byte_order_mark", "\ufeffa x.wav\nb y.wav\n", read_table, TWO),
    Case("spaces_around", "  a   x.wav  \n b y.wav\n", read_table, TWO),
    Case("wide_space", "a\u3000x.wav\nb\u00a0y.wav\n", read_table, TWO),
    Case("missing_value", "a\nb y.wav\n", read_table, {"a": "", "b": "y.wav"}),
    Case("empty", "", read_table, {}),
    Case("twice", "a x.wav\na y.wav\n", read_table, DataError, ":2: 'a' stands twice"),
    Case("empty_line", "a x.wav\n\nb y.wav\n", read_table, DataError, ":2: empty line"),
    Case("only_spaces", "a x.wav\n   \n", read_table, DataError, ":2: empty line"),
    Case("latin_1", "a Größe.wav\n".encode("latin-1"), read_table, DataError, "not UTF-8"),
    Case("utf_16", "a x.wav\n".encode("utf-16"), read_table, DataError, "not UTF-8"),
    Case("utf_16_unmarked", "a x.wav\n".encode("utf-16-le"), read_table, DataError, "zero byte"),
    Case("zero_byte", b"a x\0.wav\n", read_table, DataError, ":1: a zero byte"),
    Case("control_in_id", b"a\x1bb x.wav\n", read_table, DataError, "control character"),
    Case("binary", bytes(range(128, 256)) * 9, read_table, DataError, "not UTF-8"),
    Case("ids_with_a_mark", "\ufeffa 1\r\n\r\nb\r\n", read_ids, ["a", "b"]),
    Case(
        "no_pool", "", lambda p: plan_shards(p, 2, p.parent / "o"), DataError, "the pool is empty"
    ),
    # ---- segments ----
    Case("segment", "a r 0 1.5\n", read_segments, Rows({"a": Segment("r", 0.0, 1.5)}, {})),
    Case("segment_negative", "a r -1 1\n", read_segments, DataError, "runs from -1.0 to 1.0 s"),
    Case("segment_backwards", "a r 2 1\n", read_segments, DataError, "need 0 <= start < end"),
    Case("segment_of_nothing", "a r 1 1\n", read_segments, DataError, "need 0 <= start < end"),
    Case("segment_words", "a r one two\n", read_segments, DataError, "is not '<id> <recording>"),
    Case("segment_comma", "a r 0,5 1,5\n", read_segments, DataError, "is not '<id> <recording>"),
    Case("segment_nan", "a r 0 nan\n", read_segments, DataError, "need 0 <= start < end"),
    Case("segment_infinite", "a r 0 inf\n", read_segments, DataError, "need 0 <= start < end"),
    Case("segment_huge", "a r 0 1e999\n", read_segments, DataError, "need 0 <= start < end"),
    Case("segment_short", "a r 0\n", read_segments, DataError, "is not '<id> <recording>"),
    Case("segment_long", "a r 0 1 1 1\n", read_segments, DataError, "is not '<id> <recording>"),
    # ---- other numbers ----
    Case("dur_0", "a 0\n", read_durations, DataError, "'a' lasts '0'"),
    Case("dur_negative", "a -1\n", read_durations, DataError, "'a' lasts '-1'"),
    Case("dur_nan", "a nan\n", read_durations, DataError, "'a' lasts 'nan'"),
    Case("dur_word", "a long\n", read_durations, DataError, "'a' lasts 'long'"),
    Case("dur_none", "a\n", read_durations, DataError, "'a' lasts ''"),
    Case("shape_word", "a many,80\n", total_samples, DataError, "not the shapes"),
    # ---- our own tables ----
    Case("rows_empty", "", lambda p: read_rows(p, ("x",)), DataError, "column x is missing"),
    Case("rows_wide", "x\n1\t2\n", read_rows, DataError, ":2: not 1 cells"),
    Case("rows_narrow", "x\ty\n1\n", read_rows, DataError, ":2: not 2 cells"),
    Case("rows_endless_cell", "x\n" + "a" * 200_000, read_rows, DataError, "not a table"),
    Case("rows_quote", 'x\n"a\n', read_rows, [{"x": '"a'}]),
    Case("rows_latin_1", "x\nü\n".encode("latin-1"), read_rows, DataError, "not UTF-8"),
    Case("scores_empty", "", read_scores, DataError, "not a score table"),
    Case("scores_other", "a\tb\n1\t2\n", read_scores, DataError, "column utterance is missing"),
    Case(
        "scores_nan",
        f"{SCORES}\na\t1\t2\t3\t0.5\t0.5\tx\tnan\n",
        read_scores,
        DataError,
        ":2: score_egl of 'a' is",
    ),
    Case(
        "scores_cut",
        f"{SCORES}\na\t1\t2\t3\t0.5\t0.5\tx\t0.5\nb\t1\t2\n",
        read_scores,
        DataError,
        ":3: hypotheses of 'b' is",
    ),
    Case(
        "scores_wide",
        f"{SCORES}\na\t1\t2\t3\t0.5\t0.5\tx\t0.5\t7\n",
        read_scores,
        DataError,
        "not a score table",
    ),
    Case(
        "scores_twice",
        f"{SCORES}\n" + 2 * "a\t1\t2\t3\t0.5\t0.5\tx\t0.5\n",
        read_scores,
        DataError,
        ":3: 'a' stands twice",
    ),
    Case("scores_binary", bytes(range(256)), read_scores, DataError, "not a score table"),
    Case("nbest_empty", "", read_nbest, DataError, "not a table of hypotheses"),
    Case("nbest_words", "utterance\trank\tlog_prob\ttext\na\tx\ty\tz\n", read_nbest, DataError),
    Case(
        "nbest_cut", "utterance\trank\tlog_prob\ttext\na\t1\t0\n", read_nbest, DataError, "4 cells"
    ),
    Case(
        "nbest_above_one",
        "utterance\trank\tlog_prob\ttext\na\t1\t1000\ty\n",
        read_nbest,
        DataError,
        "log_prob of 'a' is 1000.0",
    ),
    Case("ctm_short", "a 1 0 0 w\n", read_words, DataError, ":1: not '<utterance>"),
    Case("ctm_confidence", "a 1 0 0 w 7\n", read_words, DataError, "from 0 to 1"),
    Case("ctm_latin_1", b"a 1 0 0 \xfc 0.5\n", read_words, DataError, "not UTF-8"),
    Case(
        "handled_words",
        f"{RETURNED}a\tlabelled\tlong\tegl\t\n",
        in_folder("returned.tsv", read_handled),
        DataError,
        "seconds of 'a' is 'long', not a number",
    ),
    Case(
        "handled_columns",
        "utterance\na\n",
        in_folder("returned.tsv", read_handled),
        DataError,
        "column reason is missing",
    ),
    Case(
        "selection_columns",
        "utterance\na\n",
        in_folder("selection.tsv", read_tasks),
        DataError,
        "column best_hypothesis is missing",
    ),
    Case(
        "selection_words",
        "utterance\tseconds\tbest_hypothesis\na\tx\ty\n",
        in_folder(
            "selection.tsv",
            lambda d: (d.joinpath("wav.scp").write_text("a a.wav\n"), read_tasks(d)),
        ),
        DataError,
        "seconds of 'a' is 'x'",
    ),
    Case("curve_columns", "corpus\nx\n", read_curve, DataError, "column"),
    Case(
        "curve_more_columns",
        "\t".join([*CURVE_COLUMNS, "notes"]) + "\n" + "x\t" * 14 + "mine\n",
        lambda p: len(read_curve(p)),
        1,
    ),
    Case(
        "curve_words",
        "\t".join(CURVE_COLUMNS) + "\n" + "\t".join(["x"] * 14) + "\n",
        lambda p: read_points(p, "x"),
        DataError,
        "not a learning curve",
    ),
    Case("curve_empty", "", lambda p: read_points(p, "x"), DataError, "column budget is missing"),
    Case(
        "curve_wide",
        "\t".join(CURVE_COLUMNS) + "\n" + "\t".join(["1"] * 15) + "\n",
        lambda p: read_points(p, "1"),
        DataError,
        ":2: not 14 cells",
    ),
    # ---- what comes back ----
    Case(
        "return_text",
        "a hello\n",
        lambda p: [(a.uid, a.transcript) for a in KaldiText().read(p)],
        [("a", "hello")],
    ),
    Case(
        "return_mark",
        "\ufeffutterance\ttranscript\r\n a \thello\r\n",
        lambda p: [(a.uid, a.transcript) for a in ReturnedTSV().read(p)],
        [("a", "hello")],
    ),
    Case("return_empty", "", ReturnedTSV().read, DataError, "column transcript is missing"),
    Case(
        "return_commas",
        "utterance,transcript\na,hello\n",
        lambda p: [(a.uid, a.transcript) for a in ReturnedTSV().read(p)],
        [("a", "hello")],
    ),
    Case(
        "return_bars",
        "utterance|transcript\na|hello\n",
        ReturnedTSV().read,
        DataError,
        "save it tab-separated",
    ),
    Case(
        "return_open_quote",
        'utterance\ttranscript\na\t"hello\nb\tworld\n',
        ReturnedTSV().read,
        DataError,
        "quote is not closed",
    ),
    Case(
        "return_two_clips_in_one",
        'utterance\ttranscript\na\t"hello\nb\tworld"\n',
        ReturnedTSV().read,
        DataError,
        "close its quote",
    ),
    Case(
        "return_latin_1",
        "utterance\ttranscript\na\tgrün\n".encode("cp1252"),
        ReturnedTSV().read,
        DataError,
        "save it as UTF-8",
    ),
    Case(
        "return_utf_16",
        "utterance\ttranscript\na\tgrün\n".encode("utf-16"),
        lambda p: [(a.uid, a.transcript) for a in ReturnedTSV().read(p)],
        [("a", "grün")],
    ),
    Case(
        "return_utf_16_without_mark",
        "utterance\ttranscript\na\tgrün\n".encode("utf-16-le"),
        ReturnedTSV().read,
        DataError,
        "save it as UTF-8",
    ),
    Case(
        "return_bad_mark",
        "utterance\ttranscript\tmark\na\t\tnoise\n",
        ReturnedTSV().read,
        DataError,
        "mark 'noise' is none of",
    ),
    Case(
        "return_both",
        "utterance\ttranscript\tmark\na\thi\tnot_speech\n",
        ReturnedTSV().read,
        DataError,
        "a transcript and a mark",
    ),
    Case(
        "return_endless_cell",
        "utterance\ttranscript\na\t" + "x" * 200_000,
        ReturnedTSV().read,
        DataError,
    ),
    Case(
        "return_spreadsheet",
        b"PK\x03\x04\x14\x00\x06\x00\x08\x00\xff\xfe",
        ReturnedTSV().read,
        DataError,
    ),
    # ---- json and arrays ----
    Case(
        "json_cut",
        '{"a": 1',
        in_folder("manifest.json", read_manifest),
        DataError,
        "cannot be read",
    ),
    Case(
        "json_list", "[1, 2]", in_folder("manifest.json", read_manifest), DataError, "no settings"
    ),
    Case(
        "json_deep",
        "[" * 100_000,
        in_folder("manifest.json", read_manifest),
        DataError,
        "cannot be read",
    ),
    Case("json_deep_run", "[" * 100_000, in_folder("run.json", run_record), DataError, "remove it"),
    Case(
        "json_deep_shard",
        "[" * 100_000,
        in_folder("run.json", lambda folder: Summary().add_times([folder])),
        DataError,
        "not what al_score writes",
    ),
    Case("json_deep_pilot", "[" * 100_000, Figures.read, DataError, "not the figures of al_pilot"),
    Case("npy_text", "no array", embeddings.read, DataError, "not an array of numbers"),
    Case("npy_empty", "", embeddings.read, DataError, "not an array of numbers"),
    # ---- yaml ----
    Case("yaml", "a: &x [1, 2]\nb: *x\n", read_yaml, {"a": [1, 2], "b": [1, 2]}),
    Case("yaml_open", "a: [1", read_yaml, ConfigError, "not yaml"),
    Case("yaml_tab", "a:\n\t- b\n", read_yaml, ConfigError, "not yaml"),
    Case("yaml_latin_1", "a: ü".encode("latin-1"), read_yaml, ConfigError, "not UTF-8"),
    Case(
        "yaml_call",
        "!!python/object/apply:os.system ['touch ran']",
        read_yaml,
        ConfigError,
        "could not determine a constructor",
    ),
    Case("yaml_name", "!!python/name:os.system", read_yaml, ConfigError, "could not determine"),
    Case("yaml_module", "a: !!python/module:os", read_yaml, ConfigError, "could not determine"),
    Case("yaml_own_tag", "a: !mine {b: 1}", read_yaml, ConfigError, "could not determine"),
    Case("yaml_laughs", LAUGHS, read_yaml, ConfigError, "more than fits memory"),
    Case("yaml_of_itself", "&a [*a]", read_yaml, ConfigError, "more than fits memory"),
    Case("yaml_deep", "[" * 5000 + "]" * 5000, read_yaml, ConfigError, "not yaml"),
    Case("yaml_bad_date", "a: 2001-99-99", read_yaml, ConfigError, "not yaml"),
    Case("yaml_endless_number", "a: " + "9" * 9000, read_yaml, ConfigError, "not yaml"),
    Case("yaml_two", "a: 1\n---\nb: 2\n", read_yaml, ConfigError, "not yaml"),
    Case("fitted_list", "- 1", read_temperature, ConfigError, "holds no temperature"),
    Case(
        "fitted_word", "temperature: warm", read_temperature, ConfigError, "temperature is 'warm'"
    ),
    Case("fitted_nan", "temperature: .nan", read_temperature, ConfigError, "temperature is nan"),
    Case("predictor_word", "true_gl: good", lambda p: read_predictor(p, "true_gl"), ConfigError),
    Case(
        "predictor_short",
        predictor("{a: [1, 2]}"),
        lambda p: read_predictor(p, "true_gl"),
        ConfigError,
        "four finite numbers",
    ),
    Case(
        "predictor_words",
        predictor("{a: [1, 2, 3, x]}"),
        lambda p: read_predictor(p, "true_gl"),
        ConfigError,
    ),
    Case(
        "predictor_nan",
        predictor("{a: [1, 2, 3, .nan]}"),
        lambda p: read_predictor(p, "true_gl"),
        ConfigError,
        "four finite numbers",
    ),
    Case("calibration_list", "- 1", Calibration.load, ConfigError, "not a calibration"),
    Case(
        "calibration_words",
        "{word: {slope: x}, utterance: null, settings: {}}",
        Calibration.load,
        ConfigError,
        "not a calibration",
    ),
    Case("calibration_empty", "", Calibration.load, ConfigError, "not a calibration"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_file_is_read_as_it_is_meant_or_refused(tmp_path: Path, case: Case) -> None:
    path = tmp_path / "file"
    content = case.content.encode() if isinstance(case.content, str) else case.content
    path.write_bytes(content)
    if not (isinstance(case.expected, type) and issubclass(case.expected, EGLError)):
        assert case.read(path) == case.expected
        return
    with pytest.raises(case.expected) as e:
        case.read(path)
    assert case.message in str(e.value)
    assert str(tmp_path) in str(e.value)  # it names the file
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "read",
    [
        *(read_table, read_ids, read_rows, read_scores, read_nbest, read_words, read_yaml),
        *(ReturnedTSV().read, KaldiText().read, Calibration.load, embeddings.read, read_segments),
    ],
)
def test_a_folder_or_nothing_in_the_place_of_a_file(
    tmp_path: Path, read: Callable[[Path], Any]
) -> None:
    for path in (tmp_path, tmp_path / "gone"):
        with pytest.raises(EGLError, match=str(path)):
            read(path)


@pytest.mark.parametrize(
    "budget",
    [
        "",
        "h",
        "0h",
        "-1h",
        "1.5utt",
        "nan%",
        "infh",
        "1e3utt",
        "20",
        "%",
        "9" * 400 + "h",
        "1 h 2 h",
    ],
)
def test_budgets_that_say_nothing_are_refused(budget: str) -> None:
    with pytest.raises(BudgetError, match="budget"):
        parse_budget(budget, 10, 3600.0)


def test_anchors_are_bounded_in_options_too() -> None:
    with pytest.raises(ConfigError, match="more than fits memory"):
        parse_yaml(LAUGHS, "--method_conf")


def data_dir(folder: Path, **tables: str) -> Path:
    folder.mkdir()
    for name, content in tables.items():
        (folder / name.replace("_scp", ".scp")).write_text(content)
    return folder


GOOD = {
    "wav_scp": "a a.wav\n",
    "text": "a hi\n",
    "utt2spk": "a s\n",
    "returned_tsv": f"{RETURNED}a\tlabelled\t1.0\tegl\t\n",
}


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"utt2spk": "b s\n"}, "utt2spk lacks 'a' of text"),
        ({"wav_scp": "b b.wav\n"}, "wav.scp lacks 'a' of text"),
        ({"segments": "b r 0 1\n"}, "wav.scp lacks 'r' of segments"),
        ({"returned_tsv": f"{RETURNED}a\tlabelled\tx\tegl\t\n"}, "seconds of 'a' is 'x'"),
    ],
)
def test_tables_of_labelled_clips_that_do_not_fit(
    tmp_path: Path, tables: dict[str, str], message: str
) -> None:
    folder = data_dir(tmp_path / "labelled", **{**GOOD, **tables})
    (folder / "returned_tsv").rename(folder / "returned.tsv")
    with pytest.raises(DataError, match=message):
        join_sets(None, [folder], tmp_path / "out", 8000)


def test_a_damaged_round_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "r1" / "select"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"method": "egl"}))
    (folder / "selection.tsv").write_text("utterance\tseconds\na\tlong\n")
    with pytest.raises(DataError, match="seconds of 'a' is 'long', not a number"):
        describe(tmp_path)
