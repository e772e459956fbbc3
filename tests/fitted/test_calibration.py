"""Calibration: by hand, on data whose truth is known, and through its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from espnet_egl.data.kaldi import read_table
from espnet_egl.errors import ConfigError, DataError
from espnet_egl.fitted.calibration import (
    Calibration,
    Logistic,
    expected_calibration_error,
    fit_logistic,
    normalized_cross_entropy,
    quality,
    word_correctness,
)
from espnet_egl.store.tables import read_words, write_words


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("a b c", "a b c", [True, True, True]),
        ("a b c", "a x c", [True, False, True]),
        ("a b c", "a c", [True, True]),
        ("a b c", "a b b c", [True, None, None, True]),  # which b is one of two
        ("a", "", []),
        ("", "a b", [False, False]),
        ("", "", []),
    ],
)
def test_words_that_are_right(reference: str, hypothesis: str, expected: list[Any]) -> None:
    found = word_correctness(reference.split(), hypothesis.split())
    assert len(found) == len(expected)
    assert all(e is None or e == f for e, f in zip(expected, found, strict=True))
    if None in expected:
        assert sum(found) == 3


def test_quality_by_hand() -> None:
    """.9 and .9 right; .6 right, .6 wrong: H = H(3/4)."""
    confidences, right = np.array([0.9, 0.9, 0.6, 0.6]), np.array([1, 1, 1, 0])
    # Gaps: |.9 - 1| and |.6 - .5|, each for two of four.
    assert expected_calibration_error(confidences, right) == pytest.approx(0.1)
    chance = -0.75 * np.log2(0.75) - 0.25 * np.log2(0.25)
    spent = -(2 * np.log2(0.9) + np.log2(0.6) + np.log2(0.4)) / 4
    assert normalized_cross_entropy(confidences, right) == pytest.approx(1 - spent / chance)
    # Of three pairs two are in order and one is a tie.
    assert quality(confidences, right).auc_roc == pytest.approx(2.5 / 3)


def test_quality_of_the_certain() -> None:
    right = np.array([1, 0, 1, 0])
    perfect = quality(right.astype(float), right)
    assert (perfect.auc_roc, perfect.ece) == (1, 0)
    assert perfect.nce == pytest.approx(1, abs=1e-5)
    assert quality(1.0 - right, right).nce < -5


def synthetic(slope: float, intercept: float, count: int = 4000) -> tuple[Any, Any]:
    """Confidences whose words are right as a known logistic says."""
    generator = np.random.default_rng(0)
    confidences = generator.uniform(0.02, 0.98, count)
    logits = np.log(confidences / (1 - confidences))
    probability = 1 / (1 + np.exp(-(slope * logits + intercept)))
    return confidences, generator.uniform(size=count) < probability


def test_the_logistic_that_made_the_data_is_found() -> None:
    confidences, right = synthetic(0.5, -1.0)
    fitted = fit_logistic("words", confidences, right, np.arange(len(right)) // 4)
    assert fitted.slope == pytest.approx(0.5, abs=0.06)
    assert fitted.intercept == pytest.approx(-1.0, abs=0.1)
    assert (fitted.count, fitted.right) == (4000, pytest.approx(right.mean()))
    assert fitted.before.ece > 0.15
    assert fitted.after.ece < 0.04
    assert fitted.before.nce < 0 < fitted.after.nce
    assert fitted.after.auc_roc == pytest.approx(fitted.before.auc_roc, abs=0.01)
    assert fitted([0.5])[0] == pytest.approx(1 / (1 + np.exp(1.0)), abs=0.03)


@given(confidences=st.lists(st.floats(0, 1), min_size=1))
def test_calibrated_confidences_keep_their_order(confidences: list[float]) -> None:
    measured = quality([0.5, 0.6], np.array([0, 1]))
    calibrated = Logistic(3.0, -1.0, 2, 0.5, measured, measured)(sorted(confidences))
    assert np.all(np.diff(calibrated) >= 0)
    assert np.all((calibrated >= 0) & (calibrated <= 1))


@pytest.mark.parametrize(
    ("right", "groups", "message"),
    [
        ([True, False] * 9, range(18), "too few words, 18: give at least 20"),
        ([True] * 30, range(30), "of 30 words 30 are right"),
        ([False] * 30, range(30), "of 30 words 0 are right"),
        ([False] * 5 + [True] * 25, [0] * 5 + list(range(1, 26)), "in at least 2 utterances each"),
    ],
)
def test_too_little_data_is_refused(right: list[bool], groups: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit_logistic("words", [0.5] * len(right), right, list(groups))


@settings(deadline=None, max_examples=60)
@given(
    words=st.lists(
        st.tuples(st.floats(0, 1), st.booleans(), st.integers(0, 6)), min_size=15, max_size=40
    )
)
def test_any_data_is_fitted_or_refused(words: list[tuple[float, bool, int]]) -> None:
    confidences, right, groups = zip(*words, strict=True)
    try:
        fitted = fit_logistic("words", confidences, right, groups)
    except DataError:
        return
    assert 0 <= fitted.after.auc_roc <= 1
    assert 0 <= fitted.after.ece <= 1
    assert fitted.after.nce <= 1


# ---- files ----


def write_scores(directory: Path, **manifest: Any) -> Path:
    """60 utterances "a b": as right as their confidence; the last is silent."""
    generator = np.random.default_rng(0)
    rows, confidences, text = [], [], []
    for i in range(60):
        values = generator.uniform(0.05, 0.95, 2)
        truth = [w if generator.uniform() < v else "x" for w, v in zip("ab", values, strict=True)]
        uid = f"u{i:02}"
        for w, v, start in zip("ab", values, ("0.100", "0.400"), strict=True):
            rows.append([uid, "1", start, "0.200", w, f"{v:.6f}"])
        confidences.append(f"{uid} {values.mean():.6f}")
        text.append(f"{uid} {' '.join(truth)}")
    write_words(directory / "words.ctm", rows)
    (directory / "utt2confidence").write_text("\n".join([*confidences, "u99 0.4"]) + "\n")
    (directory / "text").write_text("\n".join([*text, "u99", "unscored c"]) + "\n")
    shard = directory / "logdir" / "output.1"
    shard.mkdir(parents=True, exist_ok=True)
    (shard / "manifest.json").write_text(json.dumps(manifest))
    return directory


MANIFEST = {"confidence_alpha": 0.33, "asr_model_file_sha256": "one", "nbest": 5}


def test_a_calibration_survives_its_file(tmp_path: Path) -> None:
    scores = write_scores(tmp_path / "dev", **MANIFEST)
    found = Calibration.fit(scores, scores / "text")
    assert found.settings == {"confidence_alpha": 0.33, "asr_model_file_sha256": "one"}
    assert found.word.count == 120
    assert found.utterance is not None
    assert found.utterance.count == 61
    found.save(tmp_path / "calibration.yaml")
    assert Calibration.load(tmp_path / "calibration.yaml") == found
    assert "slope" in (tmp_path / "calibration.yaml").read_text()


def test_it_is_applied_to_words_and_utterances(tmp_path: Path) -> None:
    scores = write_scores(tmp_path / "dev", **MANIFEST)
    found = Calibration.fit(scores, scores / "text")
    found.apply(scores, scores / "logdir", tmp_path / "out")
    before, after = (read_words(d / "words.ctm") for d in (scores, tmp_path / "out"))
    assert [row[:5] for row in after] == [row[:5] for row in before]
    values = [float(row[5]) for row in after]
    assert values == pytest.approx(found.word([float(row[5]) for row in before]), abs=1e-6)
    whole = read_table(tmp_path / "out" / "utt2confidence")
    assert list(whole) == list(read_table(scores / "utt2confidence"))
    assert found.utterance is not None
    assert float(whole["u99"]) == pytest.approx(found.utterance([0.4])[0], abs=1e-6)


def test_utterances_that_all_have_errors_keep_their_confidence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scores = write_scores(tmp_path / "dev")
    text = (scores / "text").read_text().replace("\n", " more\n")
    (scores / "text").write_text(text)
    found = Calibration.fit(scores, scores / "text")
    assert found.utterance is None
    found.save(tmp_path / "c.yaml")
    Calibration.load(tmp_path / "c.yaml").apply(scores, scores / "logdir", tmp_path / "out")
    assert (tmp_path / "out" / "utt2confidence").read_text().splitlines()[-1] == "u99 0.400000"
    assert "of 61 utterances 0 are right" in caplog.text


def test_other_confidences_are_refused_and_another_model_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scores = write_scores(tmp_path / "dev", **MANIFEST)
    found = Calibration.fit(scores, scores / "text")
    write_scores(scores, **{**MANIFEST, "asr_model_file_sha256": "two"})
    found.apply(scores, scores / "logdir", tmp_path / "out")
    assert "another model's calibration may not fit" in caplog.text
    write_scores(scores, **{**MANIFEST, "confidence_alpha": 0.5})
    with pytest.raises(ConfigError, match=r"confidence_alpha: 0\.33 in the calibration, 0\.5 here"):
        found.apply(scores, scores / "logdir", tmp_path / "out")


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    scores = write_scores(tmp_path / "dev")
    (tmp_path / "text").write_text("u00 a b\n")
    with pytest.raises(DataError, match=r"no transcript of 60 of 61 .* e\.g\. 'u01'"):
        Calibration.fit(scores, tmp_path / "text")
    for content in ("", "[1]", "word: {slope: a}", "a: ["):
        (tmp_path / "c.yaml").write_text(content)
        with pytest.raises(ConfigError, match=r"not a calibration|not yaml"):
            Calibration.load(tmp_path / "c.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        Calibration.load(tmp_path / "none.yaml")
    for line, message in (
        ("u00 1 0.1 0.2 a", "not '<utterance>"),
        ("u00 1 0.1 0.2 a 1.5", "from 0 to 1"),
        ("new 1 0.1 0.2 a 0.5", "'new' is not in utt2confidence"),
    ):
        (scores / "words.ctm").write_text(f"{line}\n")
        with pytest.raises(DataError, match=message):
            Calibration.fit(scores, scores / "text")
    (scores / "words.ctm").unlink()
    with pytest.raises(DataError, match=r"words\.ctm: cannot be read"):
        Calibration.fit(scores, scores / "text")
    (scores / "utt2confidence").write_text("u00 nan\n")
    with pytest.raises(DataError, match="'u00 nan' is not"):
        Calibration.fit(scores, scores / "text")
