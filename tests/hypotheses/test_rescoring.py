"""What the search says is cleaned, and its scores are replaced by exact probabilities."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MODELS, TOKENS, is_transducer, make_speech
from tolerances import ROUNDING

from espnet_egl.errors import ConfigError, UtteranceError
from espnet_egl.hypotheses.beam import BeamSearchSource
from espnet_egl.hypotheses.rescoring import clean, has_ctc_alignment, rescore
from espnet_egl.model.encoded import Encoded
from espnet_egl.model.modes import scoring_mode

BLANK, SOS_EOS = 0, len(TOKENS) - 1


def encode(recognizer: Any, speech: np.ndarray) -> Encoded:
    with torch.no_grad(), scoring_mode(recognizer.model):
        return recognizer.encode(speech)


def test_special_symbols_and_duplicates_go() -> None:
    found = [[8, 3, 0, 4, 8], [8, 3, 4, 8], [3, 4], [8, 8], [4, 3]]
    assert clean(found, {BLANK, SOS_EOS}) == [(3, 4), (), (4, 3)]


@pytest.mark.parametrize(
    ("tokens", "frames", "possible"),
    [((), 0, True), ((3, 4), 2, True), ((3, 3), 2, False), ((3, 3), 3, True), ((3,), 0, False)],
)
def test_ctc_alignment(tokens: tuple[int, ...], frames: int, possible: bool) -> None:
    assert has_ctc_alignment(tokens, frames) == possible


def test_ctc_probabilities_equal_the_sum_over_alignments(load: Any) -> None:
    """P(y | x) by enumerating every path of three frames: 9^3 of them."""
    recognizer = load("ctc_conformer")
    encoded = encode(recognizer, make_speech(0.25))
    encoded = Encoded(encoded.hidden[:, :3], torch.tensor([3]))
    with torch.no_grad():
        probs = recognizer.model.ctc.softmax(encoded.hidden)[0].double().numpy()
    total: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(len(TOKENS)), repeat=3):
        collapsed = tuple(k for k, _ in itertools.groupby(path) if k != BLANK)
        total[collapsed] = total.get(collapsed, 0.0) + float(
            np.prod([probs[t, k] for t, k in enumerate(path)])
        )
    hypotheses = [(), (3,), (3, 4), (3, 3), (5, 4, 3)]
    found = recognizer.log_likelihoods(encoded, hypotheses, "ctc").exp().tolist()
    assert found == pytest.approx([total[y] for y in hypotheses], rel=ROUNDING)
    assert sum(total.values()) == pytest.approx(1, abs=ROUNDING)


def test_attention_probabilities_equal_a_loop_over_tokens(load: Any) -> None:
    recognizer = load("hybrid_conformer")
    encoded = encode(recognizer, make_speech())
    model, tokens = recognizer.model, [3, 4, 5]
    expected, prefix = 0.0, [model.sos]
    with torch.no_grad():
        for token in [*tokens, model.eos]:
            ys = torch.tensor([prefix])
            logits, _ = model.decoder(
                encoded.hidden, encoded.lengths, ys, torch.tensor([len(prefix)])
            )
            expected += float(logits[0, -1].log_softmax(-1)[token])
            prefix.append(token)
    found = recognizer.log_likelihoods(encoded, [tokens, [3]], "attention")
    assert float(found[0]) == pytest.approx(expected, abs=ROUNDING)


@pytest.mark.parametrize("name", [*filter(is_transducer, MODELS)])
def test_transducer_probabilities_equal_the_sum_over_alignments(load: Any, name: str) -> None:
    """Every way to emit one token in two frames: before the first or the second blank."""
    recognizer = load(name)
    model = recognizer.model
    encoded = encode(recognizer, make_speech())
    encoded = Encoded(encoded.hidden[:, :2], torch.tensor([2]))
    with torch.no_grad():
        model.decoder.set_device(torch.device("cpu"))
        decoded = model.decoder(torch.tensor([[BLANK, 3]]))
        log_probs = model.joint_network(
            encoded.hidden.unsqueeze(2), decoded.unsqueeze(1)
        ).log_softmax(-1)[0]
    first = log_probs[0, 0, 3] + log_probs[0, 1, BLANK] + log_probs[1, 1, BLANK]
    second = log_probs[0, 0, BLANK] + log_probs[1, 0, 3] + log_probs[1, 1, BLANK]
    expected = float(torch.logaddexp(first, second))
    found = recognizer.log_likelihoods(encoded, [(3,)], "transducer")
    assert float(found[0]) == pytest.approx(expected, abs=ROUNDING)


def test_joint_is_the_weighted_sum_of_both(load: Any) -> None:
    recognizer = load("hybrid_conformer")
    encoded = encode(recognizer, make_speech())
    ys = [(3, 4), (5,)]
    ctc, attention, joint = (
        recognizer.log_likelihoods(encoded, ys, name) for name in ("ctc", "attention", "joint")
    )
    assert torch.allclose(joint, 0.3 * ctc + 0.7 * attention)


@pytest.mark.parametrize(
    ("name", "posterior"),
    [("ctc_conformer", "attention"), ("ctc_conformer", "transducer"), ("hybrid_rnn", "nonsense")],
)
def test_a_branch_the_model_lacks_is_refused(load: Any, name: str, posterior: str) -> None:
    recognizer = load(name)
    with pytest.raises(ConfigError, match="--posterior"):
        recognizer.log_likelihoods(encode(recognizer, make_speech()), [(3,)], posterior)


@pytest.mark.parametrize(
    "name",
    ["ctc_conformer", "hybrid_conformer", "hybrid_rnn", "transducer", "transducer_task_auxiliary"],
)
def test_the_list_is_a_distribution_cut_short(load: Any, name: str) -> None:
    """Sorted, unique, clean, at most the asked number, mass at most 1 -- also with a beam
    as large as the vocabulary, where ESPnet's own scores sum to more than 1."""
    recognizer = load(name, nbest=10)
    nbest = BeamSearchSource()(recognizer, "u", encode(recognizer, make_speech()))
    log_probs = [h.log_prob for h in nbest.hypotheses]
    assert 1 < len(log_probs) <= 10
    assert log_probs == sorted(log_probs, reverse=True)
    assert len({h.tokens for h in nbest.hypotheses}) == len(log_probs)
    assert not {t for h in nbest.hypotheses for t in h.tokens} & {BLANK, SOS_EOS}
    assert 0 < nbest.mass <= 1
    assert nbest.mass == pytest.approx(sum(math.exp(p) for p in log_probs))


def test_a_beam_of_the_vocabulary_is_cut(model_files: Any, caplog: Any) -> None:
    from espnet_egl.model.loading import load_recognizer

    files = model_files("ctc_conformer")
    recognizer = load_recognizer(
        files.config, files.checkpoint, inference_args="--beam_size 50", nbest=100
    )
    assert "beam_size 50 cut to 8" in caplog.text
    nbest = BeamSearchSource()(recognizer, "u", encode(recognizer, make_speech()))
    assert nbest.mass <= 1
    assert len(nbest.hypotheses) > 8  # the list may be longer than the beam


def test_impossible_hypotheses_are_left_out_and_an_empty_list_is_an_error(load: Any) -> None:
    recognizer = load("ctc_conformer")
    encoded = encode(recognizer, make_speech())
    impossible = [3] * encoded.frames
    nbest = rescore(recognizer, encoded, [impossible, [3]], "auto")
    assert [h.tokens for h in nbest.hypotheses] == [(3,)]
    with pytest.raises(UtteranceError, match="no_hypothesis"):
        rescore(recognizer, encoded, [impossible], "auto")


def test_a_mass_above_one_is_refused(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    recognizer = load("ctc_conformer")
    encoded = encode(recognizer, make_speech())
    monkeypatch.setattr(
        recognizer, "log_likelihoods", lambda *_: torch.log(torch.tensor([0.7, 0.6]).double())
    )
    with pytest.raises(UtteranceError, match="impossible_posterior"):
        rescore(recognizer, encoded, [[3], [4]], "auto")
