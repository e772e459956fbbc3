"""Few directions against the definition."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MODELS, make_speech

from espnet_egl.gradients import engine
from espnet_egl.gradients.engine import few_directions, logit_gradients, loss_is_ctc
from espnet_egl.gradients.parameters import select_parameters
from espnet_egl.gradients.reference import expected_gradient_length
from espnet_egl.hypotheses.beam import BeamSearchSource
from espnet_egl.recognizer import Encoded, scoring_mode

# All transcripts of up to two tokens: more hypotheses than there are directions.
HYPOTHESES = [y for n in range(3) for y in itertools.product((3, 4, 5, 6), repeat=n)]


def encode(recognizer: Any, speech: np.ndarray) -> Encoded:
    with scoring_mode(recognizer.model):
        return recognizer.encode(speech)


@pytest.mark.parametrize("params", ["all", "encoder", "head"])
@pytest.mark.parametrize("name", MODELS)
def test_egl_equals_the_definition(load: Any, name: str, params: str) -> None:
    recognizer, speech = load(name), make_speech(1.0, seed=1)
    hypotheses = HYPOTHESES[1:] if name == "transducer" else HYPOTHESES
    probs = recognizer.log_likelihoods(encode(recognizer, speech), hypotheses).exp().tolist()
    parameters = select_parameters(recognizer.model, params)
    expected = expected_gradient_length(recognizer, speech, hypotheses, probs, parameters)
    found = engine.expected_gradient_length(
        recognizer, encode(recognizer, speech), hypotheses, probs, parameters
    )
    assert expected > 0
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["ctc_conformer", "ctc_ebranchformer"])
def test_egl_of_the_searchs_list_equals_the_definition(load: Any, name: str) -> None:
    recognizer = load(name, nbest=100)
    for seed in range(4):
        speech = make_speech(0.5 + 0.2 * seed, seed=seed)
        encoded = encode(recognizer, speech)
        nbest = BeamSearchSource()(recognizer, "u", encoded)
        tokens = [h.tokens for h in nbest.hypotheses]
        parameters = select_parameters(recognizer.model)
        expected = expected_gradient_length(recognizer, speech, tokens, nbest.probs, parameters)
        found = engine.expected_gradient_length(
            recognizer, encoded, tokens, nbest.probs, parameters
        )
        assert found == pytest.approx(expected, rel=1e-3)


def test_plain_ctc_is_told_from_the_rest(load: Any) -> None:
    assert {name for name in MODELS if loss_is_ctc(load(name).model)} == {
        "ctc_conformer",
        "ctc_ebranchformer",
    }


def test_a_batched_ctc_has_the_gradients_of_single_ones(load: Any) -> None:
    """PyTorch has had CTC gradients that differ between a batch and its parts."""
    recognizer = load("ctc_conformer")
    encoded = encode(recognizer, make_speech())
    logits = recognizer.model.ctc.ctc_lo(encoded.hidden)[0]
    together = logit_gradients(logits, encoded, HYPOTHESES, 0)
    for i, tokens in enumerate(HYPOTHESES):
        alone = logit_gradients(logits, encoded, [tokens], 0)[0]
        assert torch.allclose(together[i], alone, atol=1e-12)


def test_directions_by_hand() -> None:
    """g1 = (3, 0), g2 = (3, 0), g3 = (0, 2), weights 1/2, 1/2, 1/4: 9 and 1 along the axes."""
    gradients = torch.tensor([[[3.0, 0.0]], [[3.0, 0.0]], [[0.0, 2.0]]]).double()
    found = few_directions(gradients, [0.5, 0.5, 0.25])
    assert found.shape == (2, 1, 2)
    assert found.abs().squeeze(1) == pytest.approx(torch.tensor([[3.0, 0.0], [0.0, 1.0]]).numpy())


def test_directions_keep_the_energy_and_are_few() -> None:
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(5, 4, 6, generator=generator).double()
    mixed = torch.einsum("kr,rtv->ktv", torch.randn(40, 5, generator=generator).double(), basis)
    weights = torch.rand(40, generator=generator).double()
    found = few_directions(mixed, weights.tolist())
    assert len(found) == 5
    flat, rows = found.flatten(1), mixed.flatten(1) * weights.sqrt()[:, None]
    assert torch.allclose(flat.T @ flat, rows.T @ rows)


def test_weights_of_zero_give_zero(load: Any) -> None:
    recognizer = load("ctc_conformer")
    encoded = encode(recognizer, make_speech())
    parameters = select_parameters(recognizer.model)
    found = engine.expected_gradient_length(recognizer, encoded, [(3,)], [0.0], parameters)
    assert found == 0.0
