"""Every method: a value computed by hand, and the contract all of them keep."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import make_speech

from espnet_egl.acquisition import Evidence, Truth, acquisition_methods
from espnet_egl.acquisition.committee import Committee
from espnet_egl.errors import ConfigError
from espnet_egl.fitted.prediction import Predictor, write_predictors
from espnet_egl.gradients.estimate import ExpectedGradientLength
from espnet_egl.hypotheses.beam import BeamSearchSource
from espnet_egl.model.encoded import Encoded
from espnet_egl.model.modes import replaced, scoring_mode
from espnet_egl.store import embeddings
from espnet_egl.types import Hypothesis, NBest, Utterance

METHODS = acquisition_methods.names()
MODELS = ["ctc_conformer", "hybrid_rnn", "transducer", "transducer_task_auxiliary"]


# What scores that look at others find in a row.
COLUMNS = {"score_egl": 3.0, "score_entropy": 0.2, "seconds": 0.6}


def evidence(recognizer: Any, hypotheses: tuple[Hypothesis, ...] = (), uid: str = "u") -> Evidence:
    speech = make_speech()
    with scoring_mode(recognizer.model):
        encoded = recognizer.encode(speech)
    nbest = NBest(hypotheses) if hypotheses else BeamSearchSource()(recognizer, uid, encoded)
    factors = torch.tensor([[1.0, 2.0], [0.0, 3.0]])
    gradient = ExpectedGradientLength(2.0, 0.1, 1.0, 5, torch.tensor([3.0, 4.0]), factors)
    truth = Truth("a b", 7.0, torch.tensor([1.0, 2.0]))
    utterance = Utterance(uid, speech, 0.6)
    return Evidence(utterance, recognizer, encoded, nbest, gradient, truth, COLUMNS)


def build(name: str, fitted: Path | None = None) -> Any:
    """A method with its defaults; predictions want a file."""
    conf: dict[str, Any] = {"fitted": fitted} if "predicted" in name else {}
    if name == "target":
        conf = {"embeddings": fitted and fitted.with_name("embeddings.npy")}
    return acquisition_methods.build(name, conf)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions from two columns, as al_fit writes them."""
    weights = {"score_egl": [1.5, 1.0, 2.0, 0.5], "seconds": [0.6, 0.0, 1.0, 0.25]}
    gl = Predictor(weights, 0.3, 10.0, 0.9, 0.8, 100)
    wer = replace(gl, target_scale=0.0)
    path = tmp_path_factory.mktemp("fitted") / "fitted.yaml"
    path.write_text(yaml.safe_dump(write_predictors({"true_gl": gl, "true_wer": wer})))
    target = np.array([[1.0, 0.0], [0.0, -2.0]], np.float32)
    embeddings.write(path.with_name(embeddings.NAME), target, len(target))
    return path


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


# ---- methods that look at the hypotheses ----


def listed(*entries: tuple[float, str]) -> Evidence:
    """An N-best list of (probability, text), the most probable first."""
    found = tuple(Hypothesis((i,), math.log(p), text) for i, (p, text) in enumerate(entries))
    utterance = Utterance("u", np.zeros(16000, np.float32), 2.0)
    return Evidence(utterance, None, None, NBest(found))  # type: ignore[arg-type]


def test_longest_by_hand() -> None:
    assert build("longest").score(listed((0.5, "a"))) == 2.0


def test_margin_by_hand() -> None:
    """0.3 and 0.1 of a mass of 0.5: 0.6 - 0.2 of the list."""
    found = listed((0.3, "a"), (0.1, "b"), (0.1, "c"))
    assert build("margin").score(found) == pytest.approx(0.6)
    assert build("margin").score(listed((0.3, "a"))) == 0.0


def test_nbest_entropy_by_hand() -> None:
    """A half and two quarters: 1.5 bits."""
    found = listed((0.2, "a"), (0.1, "b"), (0.1, "c"))
    assert build("nbest_entropy").score(found) == pytest.approx(1.5 * math.log(2))
    assert build("nbest_entropy").score(listed((0.2, "a"))) == 0.0


def test_expected_wer_by_hand() -> None:
    """A quarter of the list has one word else, a quarter lacks both: 0.75 words in 2 s."""
    method = build("expected_wer")
    found = listed((0.2, "one two"), (0.1, "one too"), (0.1, ""))
    assert method.score(found) == pytest.approx(0.75)
    assert method.details(found) == pytest.approx((0.375,))


# ---- methods that look at the CTC posteriors ----


@pytest.fixture
def uniform(load: Any, monkeypatch: pytest.MonkeyPatch) -> Evidence:
    """Two frames of blank and a, each with probability 1/2, the others impossible."""
    recognizer = load("ctc_conformer")
    log_probs = torch.full((1, 2, 9), -1e9)
    log_probs[..., [0, 3]] = -math.log(2)
    monkeypatch.setattr(recognizer.model.ctc, "log_softmax", lambda hidden: log_probs)
    best = Hypothesis((3,), math.log(0.75), "a")
    encoded = Encoded(torch.zeros(1, 2, 16), torch.tensor([2]))
    return Evidence(Utterance("u", make_speech(), 0.6), recognizer, encoded, NBest((best,)))


def test_entropy_by_hand(uniform: Evidence) -> None:
    """A coin at every frame: log 2."""
    assert build("entropy").score(uniform) == pytest.approx(math.log(2))


def test_pctc_by_hand(uniform: Evidence) -> None:
    """Three of four alignments give a: -log(3/4) over two frames."""
    assert build("pctc").score(uniform) == pytest.approx(-math.log(0.75) / 2)


@pytest.mark.parametrize("name", ["entropy", "pctc"])
def test_methods_of_ctc_say_what_is_missing(name: str) -> None:
    recognizer = SimpleNamespace(has_ctc_loss=lambda: False)
    with pytest.raises(ConfigError, match=f"{name}: the model has no CTC branch"):
        build(name).prepare(recognizer)


# ---- committee ----


def test_committee_by_hand(monkeypatch: pytest.MonkeyPatch, load: Any) -> None:
    """Three members: a pair agrees, two pairs differ in one word of two: (0 + 1/2 + 1/2) / 3."""
    recognizer = load("ctc_conformer")
    members = [[3, 2, 4], [3, 2, 4], [3, 2, 5]]
    monkeypatch.setattr(Committee, "_decode", lambda self, evidence, seed: members)
    assert Committee(3).score(evidence(recognizer)) == pytest.approx(1 / 3)


def test_members_differ_and_are_the_same_again(load: Any) -> None:
    recognizer = load("ctc_conformer")
    found = [Committee(8)._decode(evidence(recognizer), seed) for seed in (1, 1, 2)]
    assert found[0] == found[1]
    assert len({tuple(tokens) for tokens in found[0]}) > 1
    assert found[0] != found[2]


def test_a_committee_leaves_the_random_numbers_alone(load: Any) -> None:
    state = torch.get_rng_state()
    build("committee").score(evidence(load("ctc_conformer")))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_committee_without_dropout_is_refused(load_fresh: Any) -> None:
    recognizer = load_fresh("ctc_conformer")
    for module in recognizer.model.modules():
        for name in {"p", "dropout_rate"} & vars(module).keys():
            setattr(module, name, 0.0)
    with pytest.raises(ConfigError, match="trained without dropout"):
        build("committee").prepare(recognizer)
    with pytest.raises(ConfigError, match="--committee_size must be at least 2"):
        Committee(1)


# ---- gradients, predictions, oracles ----


@pytest.mark.parametrize(
    ("normalize", "expected"),
    [("none", 7.5), ("frames", 1.875), ("sqrt_frames", 3.75), ("tokens", 2.5)],
)
def test_egl_normalized_by_hand(normalize: str, expected: float) -> None:
    """The 7.5 of above over four frames, their root, and three tokens."""
    nbest = NBest((Hypothesis((3, 4, 3), math.log(0.75), "aba"),))
    encoded = Encoded(torch.zeros(1, 4, 2), torch.tensor([4]))
    gradient = ExpectedGradientLength(10.0, 1.0, 3.0, 5)
    found = Evidence(None, None, encoded, nbest, gradient)  # type: ignore[arg-type]
    method = acquisition_methods.build("egl", {"normalize": normalize})
    assert method.score(found) == pytest.approx(expected)
    assert method.details(found) == pytest.approx((expected / 10,))


def test_badge_by_hand(load: Any) -> None:
    """An embedding of (3, 4)."""
    assert build("badge").score(evidence(load("ctc_conformer"))) == pytest.approx(25.0)


def test_fisher_by_hand(load: Any) -> None:
    """Factors (1, 2) and (0, 3): the trace is 14."""
    assert build("fisher").score(evidence(load("ctc_conformer"))) == pytest.approx(14.0)


def test_target_by_hand(load: Any, fitted: Path) -> None:
    """(3, 4) and the mean of (1, 0) and (0, -2), which is (0.5, -1): a step for it hurts."""
    recognizer = load("ctc_conformer")
    method = build("target", fitted)
    method.prepare(recognizer)
    assert method.score(evidence(recognizer)) == pytest.approx(-2.5)
    with pytest.raises(ConfigError, match="give it with --al_target_set"):
        build("target").prepare(recognizer)


def test_predictions_by_hand(load: Any, fitted: Path) -> None:
    """0.3 + 0.5 (asinh(2) - 1) / 2 + 0.25 asinh(1)."""
    total = 0.3 + 0.25 * (math.asinh(2) - 1) + 0.25 * math.asinh(1)
    found = evidence(load("ctc_conformer"))
    assert build("predicted_wer", fitted).score(found) == pytest.approx(total)
    assert build("predicted_gl", fitted).score(found) == pytest.approx(10 * math.sinh(total))


def test_oracles_by_hand(load: Any) -> None:
    """The transcript "a b" against "a c c": one word else, one too many."""
    best = Hypothesis((3, 2, 5, 2, 5), math.log(0.5), "a c c")
    found = evidence(load("ctc_conformer"), (best,))
    assert build("true_gl").score(found) == 7.0
    assert build("true_wer").score(found) == 1.0
    assert build("true_gradient").score(found) == 5.0
    nothing = replace(found, truth=Truth("", 0.0))
    assert build("true_wer").score(nothing) == 3.0
    assert build("true_gradient").score(nothing) == 0.0


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", METHODS)
class TestContract:
    @pytest.fixture(autouse=True)
    def _fitted(self, fitted: Path) -> None:
        self.fitted = fitted

    def build(self, name: str, recognizer: Any) -> Any:
        method = build(name, self.fitted)
        if name in ("entropy", "pctc") and not recognizer.has_ctc_loss():
            pytest.skip("needs CTC")
        if name == "committee" and not recognizer.has_dropout():
            pytest.skip("needs dropout")
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
