"""Which methods score the pool, and which the set that predictions are fitted to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from espnet_egl.errors import ConfigError

# Beside the method that decides.
COMPANIONS = ("confidence", "random")
# How a selection is spread, and the method that it needs.
EMBEDDINGS = {"kmeans++": "badge", "fisher": "fisher"}
# Found anew for the set, or of no use as what is predicted from.
NO_FEATURES = ("random", "predicted_", "true_", "target", "fisher")


@dataclass(frozen=True)
class Plan:
    """What stage 20 computes.

    Attributes:
        methods: Of the pool; none: al_score's own.
        fit_methods: Of the transcribed set; none: nothing is learnt from it.
        predicts: Whether predictions or a temperature are fitted, and not only confidences
            calibrated.
    """

    methods: tuple[str, ...]
    fit_methods: tuple[str, ...]
    predicts: bool


def plan(
    method: str = "",
    beside: Sequence[str] = (),
    diversity: str = "",
    scored: Sequence[str] = (),
    temperature: str = "",
    calibrate: bool = False,
    features: Sequence[str] = (),
) -> Plan:
    """Decide it from what the user asked for; an empty word is an option that was not given.

    Args:
        method: That decides, or several: ``egl+confidence``.
        beside: Methods that are computed beside it.
        diversity: How the selection is spread.
        scored: Al_score's own methods.
        temperature: EGL's; ``auto`` is fitted.
        calibrate: Whether confidences are calibrated.
        features: What predictions are made of.

    Raises:
        ConfigError: Predictions and a fitted temperature are asked for at once.
    """
    methods: tuple[str, ...] = ()
    # What batches are made of is written by these methods.
    needed = [EMBEDDINGS[diversity]] if diversity in EMBEDDINGS else []
    if method or beside:
        methods = _distinct([*(method or "egl").split("+"), *needed, *(beside or COMPANIONS)])
    elif not set(needed) <= set(scored):
        first, *others = scored or ("egl", *COMPANIONS)
        methods = _distinct([first, *needed, *others])
    predicted = any(m.startswith("predicted_") for m in methods)
    if predicted and temperature == "auto":
        raise ConfigError(
            "predictions are fitted to EGL at one temperature: give a number for --egl_temperature"
        )
    if predicted:
        methods = _distinct([*methods, *features])
    predicts = predicted or temperature == "auto"
    fit_methods: tuple[str, ...] = ()
    if predicts:
        kept = [m for m in methods if not m.startswith(NO_FEATURES)]
        fit_methods = _distinct(["egl", *kept, "true_gl", "true_wer"])
    elif calibrate:
        # Words' confidences come with every method.
        fit_methods = ("confidence",)
    return Plan(methods, fit_methods, predicts)


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
