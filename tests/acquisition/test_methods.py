"""Every method: a value computed by hand, and the contract all of them keep."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import pytest
import torch
from conftest import make_speech

from espnet_egl.acquisition import Evidence, acquisition_methods
from espnet_egl.errors import ConfigError
from espnet_egl.gradients.engine import ExpectedGradientLength
from espnet_egl.hypotheses.beam import BeamSearchSource
from espnet_egl.recognizer import replaced, scoring_mode
from espnet_egl.types import Hypothesis, NBest, Utterance

METHODS = acquisition_methods.names()
MODELS = ["ctc_conformer", "hybrid_rnn", "transducer"]


def evidence(recognizer: Any, hypotheses: tuple[Hypothesis, ...] = (), uid: str = "u") -> Evidence:
    speech = make_speech()
    with scoring_mode(recognizer.model):
        encoded = recognizer.encode(speech)
    nbest = NBest(hypotheses) if hypotheses else BeamSearchSource()(recognizer, uid, encoded)
    gradient = ExpectedGradientLength(2.0, 0.1, 1.0, 5)
    return Evidence(Utterance(uid, speech, 0.6), recognizer, encoded, nbest, gradient)


def test_confidence_by_hand(load: Any) -> None:
    """P = 0.008 over two tokens and the end: 0.008^(1/3) = 0.2, so the score is 0.8."""
    best = Hypothesis((3, 4), math.log(0.008), "ab")
    other = Hypothesis((3,), math.log(0.001), "a")
    assert best.confidence == pytest.approx(0.2)
    method = acquisition_methods.build("confidence", {})
    assert method.score(evidence(load("ctc_conformer"), (best, other))) == pytest.approx(0.8)


def test_random_by_hand(load: Any) -> None:
    """The first 56 bits of SHA-256 of seed and id, as a fraction."""
    expected = int(hashlib.sha256(b"7 u").hexdigest()[:14], 16) / 2**56
    method = acquisition_methods.build("random", {"seed": 7})
    assert method.score(evidence(load("ctc_conformer"))) == expected


def test_random_is_uniform_and_follows_the_seed(load: Any) -> None:
    base = evidence(load("ctc_conformer"))
    draws = [
        acquisition_methods.build("random", {"seed": seed}).score(
            Evidence(Utterance(f"utt{i}", base.utterance.speech, 0.6), *vars_of(base))
        )
        for seed in (0, 1)
        for i in range(500)
    ]
    assert len(set(draws)) == 1000
    assert 0.45 < sum(draws) / 1000 < 0.55
    assert 0 <= min(draws) < 0.01
    assert 0.99 < max(draws) < 1


def vars_of(base: Evidence) -> tuple[Any, Any, NBest]:
    return base.recognizer, base.encoded, base.nbest


def test_egl_by_hand() -> None:
    """P = 1/2 and 1/4: the mean 10 over the list is 7.5 of the whole posterior."""
    pair = (Hypothesis((3,), math.log(0.5), "a"), Hypothesis((4,), math.log(0.25), "b"))
    listed = Evidence(None, None, None, NBest(pair), ExpectedGradientLength(10.0, 1.0, 3.0, 5))  # type: ignore[arg-type]
    raw, renormalized = (
        acquisition_methods.build("egl", {"weights": weights})
        for weights in ("raw", "renormalized")
    )
    assert raw.score(listed) == pytest.approx(7.5)
    assert raw.details(listed) == pytest.approx((0.75,))
    assert renormalized.score(listed) == pytest.approx(10.0)
    assert renormalized.details(listed) == pytest.approx((1.0,))


def test_egl_of_samples_by_hand() -> None:
    """Nine samples: their own error 3 / sqrt(9) joins the engine's 1; no mass is missing."""
    pair = (Hypothesis((3,), math.log(0.5), "a"), Hypothesis((4,), math.log(0.25), "b"))
    nbest = NBest(pair, counts=(6, 3))
    assert nbest.weights == pytest.approx([2 / 3, 1 / 3])
    drawn = Evidence(None, None, None, nbest, ExpectedGradientLength(10.0, 1.0, 3.0, 5))  # type: ignore[arg-type]
    method = acquisition_methods.build("egl", {})
    assert method.score(drawn) == pytest.approx(10.0)
    assert method.details(drawn) == pytest.approx((math.sqrt(2),))


def test_weights_of_hopeless_hypotheses_still_sum_to_one() -> None:
    """P(y | x) of long audio is below what a float can hold; its share of the list is not."""
    nbest = NBest((Hypothesis((3,), -2000.0, "a"), Hypothesis((4,), -2000.0 - math.log(3), "b")))
    assert nbest.mass == 0.0
    assert nbest.weights == pytest.approx([0.75, 0.25])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", METHODS)
class TestContract:
    def build(self, name: str, recognizer: Any) -> Any:
        method = acquisition_methods.build(name, {})
        method.prepare(recognizer)
        return method

    def test_score_is_finite_and_the_same_again(self, load: Any, name: str, model: str) -> None:
        method = self.build(name, load(model))
        first, second = (method.score(evidence(load(model))) for _ in range(2))
        assert math.isfinite(first)
        assert first == second
        details = method.details(evidence(load(model)))
        assert len(details) == len(method.columns)
        assert all(map(math.isfinite, details))

    def test_model_and_hooks_are_left_alone(self, load: Any, name: str, model: str) -> None:
        recognizer = load(model)
        method = self.build(name, recognizer)
        before = {k: v.clone() for k, v in recognizer.model.state_dict().items()}
        modes = [m.training for m in recognizer.model.modules()]
        method.score(evidence(recognizer))
        assert all(torch.equal(v, before[k]) for k, v in recognizer.model.state_dict().items())
        assert [m.training for m in recognizer.model.modules()] == modes
        for module in recognizer.model.modules():
            assert not module._forward_hooks
            assert not module._backward_hooks
        assert all(p.grad is None for p in recognizer.model.parameters())


def test_a_surer_transcript_scores_lower(load: Any) -> None:
    """Sign: the same transcripts, more probability on the best one and less to gain."""
    recognizer = load("ctc_conformer")
    method = acquisition_methods.build("confidence", {})
    unsure, sure = (
        evidence(recognizer, (Hypothesis((3, 4), math.log(p), "ab"),)) for p in (0.1, 0.9)
    )
    assert method.score(unsure) > method.score(sure)


def test_confidence_of_words_asks_the_frames(load: Any) -> None:
    """Frames that say nothing: all to be gained; frames that are certain: nothing."""
    recognizer = load("ctc_conformer")
    method = acquisition_methods.build("confidence", {"level": "word"})
    asked = evidence(recognizer, (Hypothesis((3,), -1.0, "a"),))
    frames, size = asked.encoded.frames, len(recognizer.model.token_list)
    certain = torch.full((1, frames, size), -math.inf)
    certain[0, :, 3] = 0.0
    for log_probs, score in ((torch.full_like(certain, -math.log(size)), 1.0), (certain, 0.0)):
        with replaced(recognizer.model.ctc, "log_softmax", lambda _, found=log_probs: found):
            again = Evidence(asked.utterance, recognizer, asked.encoded, asked.nbest)
            assert method.score(again) == pytest.approx(score, abs=1e-6)


def test_wrong_weights_are_refused() -> None:
    with pytest.raises(ConfigError, match="--egl_weights"):
        acquisition_methods.build("egl", {"weights": "halved"})
