"""Predictions and the temperature, on tables whose truth is known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from espnet_egl.errors import ConfigError, DataError
from espnet_egl.fitted.prediction import Predictor, fit, read_predictor, write_predictors
from espnet_egl.fitted.temperature import fit_temperature


def table(count: int = 200, noise: float = 0.1) -> pd.DataFrame:
    """True gradient lengths are the product of EGL and a second column, and noise."""
    draw = np.random.default_rng(0)
    egl, other = np.exp(draw.normal(2, 1, count)), np.exp(draw.normal(0, 1, count))
    return pd.DataFrame(
        {
            "utterance": [f"u{i}" for i in range(count)],
            "best_hypothesis": "",
            "seconds": draw.uniform(1, 5, count),
            "hypotheses": 100,
            "score_egl": egl,
            "score_entropy": other,
            "score_random": draw.uniform(0, 1, count),
            "score_true_gl": egl * other * np.exp(draw.normal(0, noise, count)),
            "score_true_wer": np.clip(draw.normal(np.log(other), 0.2), 0, None),
        }
    )


def test_the_columns_together_tell_more_than_egl_alone() -> None:
    scored = table()
    found = fit(scored, "true_gl")
    assert found.spearman > 0.95
    assert 0.5 < found.spearman_egl < 0.85
    assert set(found.features) == {"seconds", "score_egl", "score_entropy"}
    rows = scored.select_dtypes("number").to_dict("records")
    predicted = np.array([found.predict(row) for row in rows])
    # In EGL's unit: right on average, not only in order.
    assert np.median(predicted / scored["score_true_gl"]) == pytest.approx(1, abs=0.1)
    assert np.corrcoef(np.log1p(predicted), np.log1p(scored["score_true_gl"]))[0, 1] > 0.95


def test_error_rates_are_predicted_as_they_are() -> None:
    scored = table()
    found = fit(scored, "true_wer")
    assert found.target_scale == 0
    assert found.spearman > 0.85
    rows = scored.select_dtypes("number").to_dict("records")
    assert min(found.predict(row) for row in rows) >= 0


def test_fitting_again_gives_the_same() -> None:
    assert fit(table(), "true_gl", seed=3) == fit(table(), "true_gl", seed=3)
    assert fit(table(), "true_gl", seed=3) != fit(table(), "true_gl", seed=4)


def test_far_outside_of_the_data_it_stays_a_number() -> None:
    found = fit(table(), "true_gl")
    huge = dict.fromkeys(found.features, 1e300)
    assert math.isfinite(found.predict(huge))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.head(49), "too few utterances to fit to, 49"),
        (lambda t: t.assign(score_true_gl=1.0), "true_gl is 1 for every utterance"),
        (lambda t: t.drop(columns="score_true_gl"), "not scored with 'true_gl'"),
        (lambda t: t.drop(columns="score_egl"), "not scored with 'egl'"),
    ],
)
def test_what_cannot_be_fitted_is_said(change: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit(change(table()), "true_gl")  # type: ignore[operator]


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "fitted.yaml"
    found = fit(table(), "true_gl")
    path.write_text(yaml.safe_dump(write_predictors({"true_gl": found})))
    assert read_predictor(path, "true_gl") == found


def test_what_is_no_better_than_egl_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fitted.yaml"
    poor = replace(fit(table(), "true_gl"), spearman=0.5, spearman_egl=0.5)
    path.write_text(yaml.safe_dump(write_predictors({"true_gl": poor})))
    with pytest.raises(ConfigError, match=r"0\.500 with the truth, egl itself 0\.500: use egl"):
        read_predictor(path, "true_gl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("true_wer: {}", "holds no true_gl"),
        ("[1, 2]", "holds no true_gl"),
        ("{", "fitted.yaml: not yaml: while parsing"),
        ("true_gl: {weights: 1}", "fitted.yaml: true_gl"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "fitted.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_predictor(path, "true_gl")
    with pytest.raises(ConfigError, match="true_gl is fitted to transcribed utterances"):
        read_predictor(None, "true_gl")


def test_a_column_that_is_missing_is_named() -> None:
    found = Predictor({"score_margin": [1.0, 0.0, 1.0, 1.0]}, 0.0, 0.0, 0.9, 0.8, 100)
    with pytest.raises(ConfigError, match="fitted with the column score_margin"):
        found.predict({"score_egl": 1.0})


# ---- temperature ----


def lists(temperature: float, count: int = 4000) -> tuple[pd.DataFrame, dict[str, str]]:
    """Lists of three whose truth is drawn from P^(1 / temperature)."""
    draw = np.random.default_rng(0)
    log_probs = np.log(np.array([0.8, 0.15, 0.05]))
    shares = np.exp(log_probs / temperature) / np.exp(log_probs / temperature).sum()
    rows, texts = [], {}
    for i in range(count):
        texts[f"u{i}"] = "abc"[draw.choice(3, p=shares)]
        rows += [(f"u{i}", k + 1, log_probs[k], "abc"[k]) for k in range(3)]
    return pd.DataFrame(rows, columns=["utterance", "rank", "log_prob", "text"]), texts


@pytest.mark.parametrize("temperature", [0.7, 1.0, 3.0])
def test_the_temperature_is_found_again(temperature: float) -> None:
    assert fit_temperature(*lists(temperature)) == pytest.approx(temperature, rel=0.1)


def test_without_lists_there_is_no_temperature() -> None:
    nbest, texts = lists(1.0, count=3)
    with pytest.raises(DataError, match="two hypotheses or more"):
        fit_temperature(nbest.groupby("utterance").head(1), texts)
