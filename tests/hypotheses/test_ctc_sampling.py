"""Samples are transcripts of the model's own distribution."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
import torch
from conftest import make_speech
from tolerances import ROUNDING

from espnet_egl.errors import ConfigError
from espnet_egl.hypotheses.ctc_sampling import CTCSampleSource, collapse, draw
from espnet_egl.model.encoded import Encoded
from espnet_egl.model.likelihoods import ctc_log_likelihoods
from espnet_egl.model.modes import scoring_mode


def encode(recognizer: Any, seconds: float = 0.6, seed: int = 0) -> Encoded:
    with torch.no_grad(), scoring_mode(recognizer.model):
        return recognizer.encode(make_speech(seconds, seed=seed))


def test_alignments_collapse() -> None:
    """Repeats are joined unless a blank stands between, then blanks go."""
    columns = {
        (0, 3, 3, 4): (3, 4),
        (3, 0, 3, 3): (3, 3),
        (0, 0, 0, 0): (),
        (4, 3, 4, 0): (4, 3, 4),
    }
    drawn = torch.tensor(list(columns)).T
    assert collapse(drawn, 0) == list(columns.values())


def test_frequencies_are_the_probabilities() -> None:
    """All transcripts of three frames, against the CTC forward algorithm."""
    generator = torch.Generator().manual_seed(1)
    log_probs = torch.randn(3, 4, generator=generator).double().log_softmax(-1)
    size = 20000
    counts = Counter(collapse(draw(log_probs.exp(), size, "0 u"), 0))
    transcripts = [
        y
        for n in range(4)
        for y in itertools.product((1, 2, 3), repeat=n)
        if n + sum(a == b for a, b in itertools.pairwise(y)) <= 3
    ]
    probs = ctc_log_likelihoods(log_probs, transcripts, blank=0).exp().tolist()
    assert sum(probs) == pytest.approx(1.0)
    assert sum(counts.values()) == size
    for y, p in zip(transcripts, probs, strict=True):
        error = (p * (1 - p) / size) ** 0.5
        assert abs(counts[y] / size - p) < 5 * error


def test_the_same_whatever_else_is_drawn(load: Any) -> None:
    recognizer, source = load("ctc_conformer"), CTCSampleSource(size=50)
    encoded = encode(recognizer)
    first = source(recognizer, "u", encoded)
    source(recognizer, "v", encoded)
    torch.rand(3)
    assert source(recognizer, "u", encoded) == first
    assert source(recognizer, "v", encoded) != first
    assert CTCSampleSource(size=50, seed=1)(recognizer, "u", encoded) != first


@pytest.mark.parametrize(
    "name", ["ctc_conformer", "hybrid_conformer", "transducer", "transducer_task_auxiliary"]
)
def test_hypotheses_are_samples_and_the_best_alignments_transcript(load: Any, name: str) -> None:
    recognizer, source = load(name), CTCSampleSource(size=40)
    source.prepare(recognizer)
    encoded = encode(recognizer)
    nbest = source(recognizer, "u", encoded)
    assert nbest.counts is not None
    assert sum(nbest.counts) == 40
    assert sum(nbest.weights) == pytest.approx(1.0)
    tokens = [h.tokens for h in nbest.hypotheses]
    assert len(set(tokens)) == len(tokens)
    exact = recognizer.log_likelihoods(encoded, tokens, "ctc").tolist()
    assert [h.log_prob for h in nbest.hypotheses] == pytest.approx(exact)
    assert exact == sorted(exact, reverse=True)
    greedy = recognizer.model.ctc.argmax(encoded.hidden)
    assert collapse(greedy.T, 0)[0] in tokens


def test_only_ctc_can_be_sampled(load: Any, load_fresh: Any) -> None:
    with pytest.raises(ConfigError, match="draws from CTC"):
        CTCSampleSource(posterior="attention").prepare(load("hybrid_conformer"))
    recognizer = load_fresh("hybrid_conformer")
    recognizer.model.ctc = None
    for without in (recognizer, load("transducer_task")):
        with pytest.raises(ConfigError, match="no such branch"):
            CTCSampleSource().prepare(without)


def test_the_mean_over_samples_is_the_whole_expectation(load: Any) -> None:
    """EGL from samples against the sum over every transcript there is, within its error."""
    from espnet_egl.acquisition import Evidence
    from espnet_egl.acquisition.egl import EGL
    from espnet_egl.gradients.engine import GradientEngine
    from espnet_egl.types import Utterance

    recognizer = load("ctc_conformer")
    speech = make_speech(0.16)
    engine = GradientEngine(recognizer, mode="exact")
    with engine.encode([speech]) as batch:
        (encoded,) = batch.utterances
        assert encoded.frames <= 2
        transcripts = [
            y
            for n in range(encoded.frames + 1)
            for y in itertools.product(range(1, 9), repeat=n)
            if n + sum(a == b for a, b in itertools.pairwise(y)) <= encoded.frames
        ]
        log_probs = recognizer.log_likelihoods(encoded, transcripts, "ctc")
        weights = log_probs.exp()
        assert weights.sum() == pytest.approx(1.0, abs=ROUNDING)
        nbest = CTCSampleSource(size=2000)(recognizer, "u", encoded)
        found = batch.expected_gradient_lengths(
            [transcripts], [(weights / weights.sum()).tolist()]
        )[0]
        drawn = batch.expected_gradient_lengths(
            [[h.tokens for h in nbest.hypotheses]], [nbest.weights]
        )[0]
    evidence = Evidence(Utterance("u", speech, 0.16), recognizer, encoded, nbest, drawn)
    method = EGL()
    (stderr,) = method.details(evidence)
    assert stderr < 0.1 * found.value
    assert abs(method.score(evidence) - found.value) < 4 * stderr
