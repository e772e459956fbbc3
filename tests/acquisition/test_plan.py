"""What stage 20 computes follows from what was asked for."""

from __future__ import annotations

import pytest

from espnet_egl.acquisition.plan import Plan, plan
from espnet_egl.bin import al_plan
from espnet_egl.errors import ConfigError


def test_nothing_asked_leaves_it_to_al_score() -> None:
    assert plan() == Plan((), (), predicts=False)


def test_what_decides_stands_first_and_once() -> None:
    assert plan("confidence+egl").methods == ("confidence", "egl", "random")
    assert plan("egl", ["egl", "pctc"]).methods == ("egl", "pctc")


def test_diversity_brings_gradient_embeddings() -> None:
    assert plan(diversity="kmeans++").methods == ("egl", "badge", "confidence", "random")
    assert plan("pctc", diversity="fisher").methods[:2] == ("pctc", "fisher")
    assert plan(diversity="none").methods == ()
    # What al_score has of its own stays, and gets it where it lacks.
    assert plan(diversity="fisher", scored=["pctc", "egl"]).methods == ("pctc", "fisher", "egl")
    assert plan(diversity="fisher", scored=["pctc", "fisher"]).methods == ()


def test_predictions_are_fitted_to_the_truth_from_what_the_pool_has_too() -> None:
    found = plan("predicted_gl", features=["egl", "entropy"])
    assert found.methods == ("predicted_gl", "confidence", "random", "egl", "entropy")
    assert found.fit_methods == ("egl", "confidence", "entropy", "true_gl", "true_wer")
    assert found.predicts
    # A fit set is not scored with what needs another set, or is for batches.
    found = plan("predicted_gl+target", diversity="fisher", features=["egl"])
    assert found.fit_methods == ("egl", "confidence", "true_gl", "true_wer")
    assert plan("target", temperature="auto").fit_methods[:2] == ("egl", "confidence")


def test_calibration_alone_needs_confidences_alone() -> None:
    assert plan(calibrate=True) == Plan((), ("confidence",), predicts=False)
    assert plan(temperature="auto").fit_methods == ("egl", "true_gl", "true_wer")


def test_predictions_want_one_temperature() -> None:
    with pytest.raises(ConfigError, match="give a number for --egl_temperature"):
        plan("predicted_wer", temperature="auto")


def test_the_command_prints_three_lines(capsys: pytest.CaptureFixture[str]) -> None:
    al_plan.main(["--method", "egl", "--calibrate", "true"])
    assert capsys.readouterr().out.splitlines() == ["egl confidence random", "confidence", "false"]
