"""Learning on transcribed utterances what the score table's columns say about the truth.

A small ridge regression from the table's columns to the true gradient length or the true
word error rate. Columns that span orders of magnitude, as gradient lengths do, are brought
to scale by arsinh(x / median |x|), which is linear near zero and logarithmic beyond.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet_egl.errors import ConfigError, DataError
from espnet_egl.store.files import read_yaml
from espnet_egl.store.tables import score_column

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

# Below, a cross-validated correlation says nothing.
UTTERANCES = 50
FOLDS = 10
TARGETS = ("true_gl", "true_wer")


@dataclass(frozen=True)
class Predictor:
    """A fitted regression.

    Attributes:
        features: Column -> (scale, mean, deviation, weight): the scale of arsinh, then
            standardised, then weighted.
        intercept: Added to it all.
        target_scale: The target is sinh of the sum times this; 0: the sum itself.
        spearman: Cross-validated rank correlation with the truth.
        spearman_egl: EGL's own on the same utterances.
        utterances: How many it was fitted to.
    """

    features: dict[str, list[float]]
    intercept: float
    target_scale: float
    spearman: float
    spearman_egl: float
    utterances: int

    def predict(self, columns: Mapping[str, float]) -> float:
        """The target from a row of the score table, at least 0.

        Raises:
            ConfigError: A column is missing.
        """
        total = self.intercept
        for name, (scale, mean, deviation, weight) in self.features.items():
            if name not in columns:
                raise ConfigError(
                    f"the prediction was fitted with the column {name}: score the pool with the "
                    "same --methods and options"
                )
            total += weight * (math.asinh(columns[name] / scale) - mean) / deviation
        # Far outside of what it was fitted to, sinh would leave the range of a float.
        value = self.target_scale * math.sinh(min(total, 50.0)) if self.target_scale else total
        return max(0.0, value)


def fit(table: pd.DataFrame, target: str, seed: int = 0) -> Predictor:
    """Fit to a scored set that is transcribed.

    Args:
        table: Its score table, with the methods ``egl`` and ``target``.
        target: ``true_gl`` or ``true_wer``.
        seed: Of the folds of the cross-validation.

    Raises:
        DataError: The table lacks a column, or holds too few utterances, or the target is
            the same for all of them.
    """
    import numpy as np
    from scipy.stats import spearmanr
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    for name in ("egl", target):
        if score_column(name) not in table.columns:
            raise DataError(f"the set was not scored with '{name}': add it to --methods")
    if len(table) < UTTERANCES:
        raise DataError(f"too few utterances to fit to, {len(table)}: give {UTTERANCES} or more")
    truth = table[score_column(target)].to_numpy(float)
    if np.ptp(truth) == 0:
        raise DataError(f"{target} is {truth[0]:g} for every utterance: nothing can be learnt")
    names = [name for name in features(table) if np.ptp(table[name]) > 0]
    scales = {name: _scale(table[name].to_numpy(float)) for name in names}
    inputs = np.stack([np.arcsinh(table[n].to_numpy(float) / scales[n]) for n in names], 1)
    # Gradient lengths span orders of magnitude; error rates do not.
    target_scale = _scale(truth) if target == "true_gl" else 0.0
    wanted = np.arcsinh(truth / target_scale) if target_scale else truth
    pipeline = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
    folds = KFold(FOLDS, shuffle=True, random_state=seed)
    predicted = cross_val_predict(pipeline, inputs, wanted, cv=folds)
    scaler, ridge = pipeline.fit(inputs, wanted)
    columns = zip(scales.values(), scaler.mean_, scaler.scale_, ridge.coef_, strict=True)
    return Predictor(
        features={n: [float(v) for v in values] for n, values in zip(names, columns, strict=True)},
        intercept=float(ridge.intercept_),
        target_scale=target_scale,
        spearman=float(spearmanr(predicted, truth)[0]),
        spearman_egl=float(spearmanr(table[score_column("egl")], truth)[0]),
        utterances=len(table),
    )


def features(table: pd.DataFrame) -> list[str]:
    """The columns that may tell something: numbers, but for chance and the truth itself."""
    barred = {score_column(n) for n in ("random", "predicted_gl", "predicted_wer", *TARGETS)}
    return [n for n in table.select_dtypes("number").columns if n not in barred]


def _scale(values: np.ndarray) -> float:
    import numpy as np

    positive = np.abs(values[values != 0])
    return float(np.median(positive)) if len(positive) else 1.0


def read_temperature(path: str | Path | None) -> float:
    """The temperature of ``fitted.yaml``.

    Raises:
        ConfigError: It is missing, or no number above zero.
    """
    found = read_fitted(path, "temperature")
    if not isinstance(found, int | float) or not 0 < found < math.inf:
        raise ConfigError(f"--fitted {path}: temperature is {found!r}; run al_fit again")
    return float(found)


def write_predictors(found: Mapping[str, Predictor]) -> dict[str, Any]:
    """For ``fitted.yaml``."""
    return {target: asdict(predictor) for target, predictor in found.items()}


def read_fitted(path: str | Path | None, key: str) -> Any:
    """One entry of ``fitted.yaml``.

    Raises:
        ConfigError: The file or the entry is missing.
    """
    if path is None:
        raise ConfigError(
            f"{key} is fitted to transcribed utterances: give al_fit's file, --fitted"
        )
    found = read_yaml(path)
    if not isinstance(found, dict) or key not in found:
        raise ConfigError(f"--fitted {path}: holds no {key}; run al_fit again")
    return found[key]


def read_predictor(path: str | Path | None, target: str) -> Predictor:
    """A predictor that is better than what it was made of.

    Raises:
        ConfigError: It is missing or malformed, or EGL alone ranks as well.
    """
    entry = read_fitted(path, target)
    try:
        predictor = Predictor(**entry)
        known = {name: [*map(float, values)] for name, values in predictor.features.items()}
        numbers = [predictor.intercept, predictor.target_scale, *chain(*known.values())]
        if not all(map(math.isfinite, numbers)) or {4} != {*map(len, known.values())}:
            raise ValueError("every feature has four finite numbers")
        found, egl = float(predictor.spearman), float(predictor.spearman_egl)
    except (TypeError, ValueError, AttributeError) as e:
        raise ConfigError(f"--fitted {path}: {target}: {e}") from e
    if not found > egl:
        raise ConfigError(
            f"--fitted {path}: predicted {target} has a rank correlation of "
            f"{found:.3f} with the truth, egl itself {egl:.3f}: "
            "use egl, or fit to more utterances"
        )
    return predictor
