"""One dial, and what overrides it."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import MODELS

from espnet_egl.model.loading import has_ctc, read_train_config
from espnet_egl.scoring.effort import EFFORTS, EXACT_POOL, choose, describe, mode_of


def test_what_is_given_wins_over_the_dial() -> None:
    given = {"nbest": 7, "egl_mode": None, "posterior": "ctc"}
    assert choose("quick", given) == EFFORTS["quick"] | {"nbest": 7}
    assert choose("normal", {}) == EFFORTS["normal"]
    assert choose("exact", {"egl_mode": "auto"})["egl_mode"] == "auto"


def test_without_ctc_the_cheap_way_is_a_short_list() -> None:
    chosen = choose("quick", {}, has_ctc=False)
    assert (chosen["hyp_source"], chosen["nbest"]) == ("beam", 10)
    assert choose("normal", {}, has_ctc=False) == EFFORTS["normal"]


def test_small_pools_are_scored_exactly() -> None:
    assert mode_of("auto", EXACT_POOL) == mode_of("exact", 10**6) == "exact"
    assert mode_of("auto", EXACT_POOL + 1) == mode_of("estimate", 1) == "estimate"


def test_it_is_told_in_a_line() -> None:
    told = {effort: describe(effort, choose(effort, {})) for effort in EFFORTS}
    assert told == {
        "quick": "effort quick: 50 hypotheses by ctc_sample, estimate (2 directions, 8 decoder "
        "paths)",
        "normal": "effort normal: 100 hypotheses by beam, exact up to 2000 utterances, else an "
        "estimate (3 directions, 16 decoder paths)",
        "exact": "effort exact: 100 hypotheses by beam, exact",
    }


@pytest.mark.parametrize("name", MODELS)
def test_a_training_tells_whether_its_model_has_ctc(load: Any, model_files: Any, name: str) -> None:
    recognizer = load(name)
    assert has_ctc(read_train_config(model_files(name).config)) == (
        recognizer.model.ctc is not None
    )
