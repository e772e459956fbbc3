"""The definition, and the shared forward pass, against a loop written by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import MODELS, is_transducer, make_speech
from tolerances import ROUNDING, ROUNDING_OF_DOUBLES

from espnet_egl.gradients.parameters import select_parameters
from espnet_egl.gradients.reference import expected_gradient_length, gradient_length
from espnet_egl.gradients.shared_forward import gradient_lengths
from espnet_egl.model.modes import scoring_mode

HYPOTHESES = [(3, 4, 5), (3,), (6, 6, 3), ()]
WEIGHTS = [0.5, 0.2, 0.05, 0.01]


def by_hand(recognizer: Any, speech: Any, tokens: tuple[int, ...]) -> float:
    """loss.backward() and the sum of squares of .grad, with nothing of the package."""
    model = recognizer.model
    model.eval()
    model.error_calculator = model.error_calculator_trans = None
    rate, model_ctc = 0.0, model.ctc
    if model_ctc is not None:
        rate, model_ctc.dropout_rate = model_ctc.dropout_rate, 0.0
    for module in model.modules():
        if "RNNP" in type(module).__name__:
            module.dropout = 0.0
    model.ctc_dropout_rate = 0.0  # Of the task asr_transducer.
    if hasattr(model.decoder, "sampling_probability"):
        model.decoder.sampling_probability = 0.0
    model.zero_grad()
    wave = torch.as_tensor(speech, dtype=next(model.parameters()).dtype)[None]
    loss, _, _ = model(
        speech=wave,
        speech_lengths=torch.tensor([wave.size(1)]),
        text=torch.tensor([list(tokens)], dtype=torch.long).reshape(1, -1),
        text_lengths=torch.tensor([len(tokens)]),
    )
    loss.backward()
    total = sum(
        float((p.grad.double() ** 2).sum()) for p in model.parameters() if p.grad is not None
    )
    model.zero_grad(set_to_none=True)
    if model_ctc is not None:
        model_ctc.dropout_rate = rate
    return total


def hypotheses_of(name: str) -> list[tuple[int, ...]]:
    # torchaudio's transducer loss has no gradient for an empty transcript of one frame; the
    # attention decoders and CTC take it.
    return HYPOTHESES[:3] if name == "transducer" else HYPOTHESES


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MODELS)
def test_egl_equals_a_loop_written_by_hand(load: Any, name: str, dtype: str) -> None:
    if is_transducer(name) and dtype == "float64":
        pytest.skip("ESPnet's transducers have their loss, and states, in float32")
    recognizer, speech = load(name, dtype=dtype), make_speech()
    hypotheses = hypotheses_of(name)
    expected = sum(
        w * by_hand(recognizer, speech, y) for y, w in zip(hypotheses, WEIGHTS, strict=False)
    )
    assert expected > 0
    parameters = select_parameters(recognizer.model)
    literal = expected_gradient_length(
        recognizer, speech, hypotheses, WEIGHTS[: len(hypotheses)], parameters
    )
    with scoring_mode(recognizer.model):
        encoded = recognizer.encode(speech)
    lengths = gradient_lengths(recognizer, encoded, hypotheses, parameters)
    shared = sum(w * n for w, n in zip(WEIGHTS, lengths, strict=False))
    tolerance = ROUNDING if dtype == "float32" else ROUNDING_OF_DOUBLES
    assert literal == pytest.approx(expected, rel=tolerance)
    assert shared == pytest.approx(expected, rel=tolerance)


def test_a_gradient_computed_on_paper(load: Any) -> None:
    """d(-log P)/d(bias) of CTC's last layer is softmax - occupancy, summed over frames.

    The empty transcript is emitted by blanks alone, so the occupancy of blank is 1 in every
    frame and 0 elsewhere.
    """
    recognizer, speech = load("ctc_conformer"), make_speech()
    with torch.no_grad(), scoring_mode(recognizer.model):
        softmax = recognizer.model.ctc.softmax(recognizer.encode(speech).hidden)[0]
    occupancy = torch.zeros_like(softmax)
    occupancy[:, 0] = 1
    expected = float((softmax - occupancy).sum(0).square().sum())
    bias = select_parameters(recognizer.model, r"^ctc\.ctc_lo\.bias$")
    assert gradient_length(recognizer, speech, (), bias) == pytest.approx(expected, rel=ROUNDING)


def _fail(*_: Any) -> None:
    raise RuntimeError("broken on purpose")


@pytest.mark.parametrize("name", MODELS)
def test_the_model_is_left_as_it_was(load: Any, name: str) -> None:
    recognizer, speech = load(name), make_speech()
    model = recognizer.model
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    attributes = {k: v for k, v in vars(model).items() if not k.startswith("_")}
    parameters = select_parameters(model)
    gradient_length(recognizer, speech, (3, 4), parameters)
    handle = model.encoder.register_forward_hook(_fail)
    with pytest.raises(RuntimeError, match="broken on purpose"):
        gradient_length(recognizer, speech, (3, 4), parameters)
    handle.remove()
    assert all(m.training for m in model.modules())
    assert {k: v for k, v in vars(model).items() if not k.startswith("_")} == attributes
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    model.eval()


def test_ctc_dropout_is_off_while_scoring_and_back_after(load: Any) -> None:
    recognizer, speech = load("ctc_ebranchformer"), make_speech()
    assert recognizer.model.ctc.dropout_rate == 0.2
    parameters = select_parameters(recognizer.model)
    first = gradient_length(recognizer, speech, (3, 4), parameters)
    assert gradient_length(recognizer, speech, (3, 4), parameters) == first
    assert recognizer.model.ctc.dropout_rate == 0.2


@pytest.mark.parametrize("name", ["ctc_lstmp", "hybrid_rnn"])
def test_nothing_is_random_while_scoring(load_fresh: Any, name: str) -> None:
    recognizer, speech = load_fresh(name), make_speech()
    parameters = select_parameters(recognizer.model)
    found = {gradient_length(recognizer, speech, (3, 4, 5, 6), parameters) for _ in range(4)}
    assert len(found) == 1
