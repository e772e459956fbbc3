"""Which hypotheses go through a decoder."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_speech
from hypothesis import given
from hypothesis import strategies as st
from test_engine import HYPOTHESES, run, shares
from tolerances import ROUNDING

from espnet_egl.gradients.engine import GradientEngine
from espnet_egl.gradients.paths import few


def test_by_hand() -> None:
    """Of ten with a tenth each the first is sure, and three stand for three each."""
    paths = few([0.1] * 10, range(10), 4)
    assert paths.shares == pytest.approx({0: 0.1, 2: 0.3, 5: 0.3, 8: 0.3})
    assert paths.drawn == (2, 5, 8)
    # Of lengths 2, 5 and 8, with the variance 9: 0.3 each, three draws.
    assert paths.variance(torch.tensor([0.0, 2.0, 5.0, 8.0])) == pytest.approx(0.3**2 * 3 * 9)
    assert few([0.5, 0.5], [0, 1], 4).shares == {0: 0.5, 1: 0.5}
    # What is large is taken as it is, and the order of the others is that of the list.
    paths = few([0.6, 0.2, 0.1, 0.06, 0.04], [0, 1, 4, 2, 3], 4)
    assert paths.shares == pytest.approx({0: 0.6, 1: 0.2, 3: 0.1, 2: 0.1})


@given(
    st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=60), st.integers(3, 20), st.integers(0, 99)
)
def test_weights_are_kept_and_few_are_chosen(weights: list[float], count: int, seed: int) -> None:
    weights = sorted((w / sum(weights) for w in weights), reverse=True)
    ranks = np.random.default_rng(seed).permutation(len(weights)).tolist()
    paths = few(weights, ranks, count)
    assert sum(paths.shares.values()) == pytest.approx(1.0)
    assert len(paths.shares) <= count
    assert next(iter(paths.shares)) == 0
    assert paths.shares[0] >= weights[0] * (1 - 1e-9)
    # Up to every place of the list, the weight is right to a stretch between two draws.
    for place in range(len(weights)):
        truth = sum(w for w, rank in zip(weights, ranks, strict=True) if rank <= place)
        found = sum(share for k, share in paths.shares.items() if ranks[k] <= place)
        assert abs(found - truth) <= paths.each + 1e-9


@pytest.mark.parametrize("name", ["hybrid_conformer", "hybrid_rnn", "transducer"])
def test_few_paths_stand_for_all(load: Any, name: str) -> None:
    """The error is what the standard error says, and as many paths as there are leave none."""
    recognizer = load(name)
    hypotheses = HYPOTHESES[1:]
    speech = [make_speech(1.3 - 0.1 * i, seed=i) for i in range(4)]
    weights = [shares(recognizer, s, hypotheses) for s in speech]
    exact = run(GradientEngine(recognizer, mode="exact"), speech, hypotheses, weights)
    engine = GradientEngine(recognizer, directions=100)
    values = {}
    for engine.paths in (6, len(hypotheses)):
        found = run(engine, speech, hypotheses, weights)
        values[engine.paths] = found
        again = run(engine, speech, hypotheses, weights)
        assert [f.value for f in again] == pytest.approx([f.value for f in found], rel=ROUNDING)
    for true, some, every in zip(exact, values[6], values[len(hypotheses)], strict=True):
        assert every.value == pytest.approx(true.value, rel=2e-3)
        assert 0 < abs(some.value / true.value - 1) < 0.3
        assert abs(some.value - true.value) < 4 * some.stderr


def test_a_model_of_ctc_alone_and_the_exact_mode_take_all(load: Any) -> None:
    assert GradientEngine(load("ctc_conformer")).paths is None
    assert GradientEngine(load("hybrid_conformer"), mode="exact").paths is None
    assert GradientEngine(load("hybrid_conformer")).paths is not None
