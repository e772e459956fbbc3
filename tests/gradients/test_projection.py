"""Gradient embeddings: the same in a batch and alone, and true to the gradients' angles."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import make_speech
from test_engine import HYPOTHESES, run, shares
from tolerances import ROUNDING

from espnet_egl.errors import ConfigError
from espnet_egl.gradients.engine import GradientEngine
from espnet_egl.gradients.estimate import low_rank
from espnet_egl.gradients.projection import DIMENSIONS, SIDE, Projection
from espnet_egl.store.embeddings import FACTORS, GRADIENT

MODELS = ["ctc_conformer", "ctc_interctc", "ctc_ebranchformer", "hybrid_conformer", "ctc_lstmp"]


def linear_weights(model: Any) -> dict[str, torch.nn.Parameter]:
    return {
        f"{name}.weight": module.weight
        for name, module in model.named_modules()
        if type(module) is torch.nn.Linear and not name.startswith("decoder.")
    }


def gradient_of(recognizer: Any, speech: Any, tokens: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """Of the loss, by plain autograd, over the linear layers that hypotheses share."""
    from espnet_egl.model.modes import scoring_mode

    weights = linear_weights(recognizer.model)
    with scoring_mode(recognizer.model):
        loss = recognizer.training_loss(speech, tokens)
    found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    return {n: g for n, g in zip(weights, found, strict=True) if g is not None}


@pytest.mark.parametrize("name", MODELS)
def test_the_embedding_is_the_best_hypothesis_s_gradient_projected(load: Any, name: str) -> None:
    """Exact mode pulls back all that the best hypothesis's gradient is made of."""
    recognizer = load(name)
    speech = [make_speech(seconds, seed=i) for i, seconds in enumerate((1.3, 0.8))]
    weights = [shares(recognizer, s, HYPOTHESES) for s in speech]
    engine = GradientEngine(recognizer, "encoder", mode="exact", embedding=True)
    for s, w, result in zip(speech, weights, run(engine, speech, HYPOTHESES, weights), strict=True):
        best = HYPOTHESES[w.index(max(w))]
        gradient = gradient_of(recognizer, s, best)
        projection = Projection(recognizer.model, engine.shared)
        own = {n: p for n, p in linear_weights(recognizer.model).items() if n in engine.shared}
        wanted = projection.gradients({n: gradient.get(n) for n in own})[0]
        assert result.embedding.shape == (DIMENSIONS,)
        close = torch.nn.functional.cosine_similarity(result.embedding, wanted.double(), dim=0)
        assert close > 0.99


@pytest.mark.parametrize("name", MODELS)
def test_factors_are_the_hypotheses_gradients(load: Any, name: str) -> None:
    """Their sum w g g^T, by plain autograd, as far as so few factors can hold it."""
    recognizer = load(name)
    speech = make_speech(0.9)
    weights = shares(recognizer, speech, HYPOTHESES)
    engine = GradientEngine(recognizer, "encoder", mode="exact", embedding=True)
    (result,) = run(engine, [speech], HYPOTHESES, [weights])
    projection = Projection(recognizer.model, engine.shared)
    own = {n for n in linear_weights(recognizer.model) if n in engine.shared}
    wanted = torch.zeros(DIMENSIONS, DIMENSIONS, dtype=torch.float64)
    for w, y in zip(weights, HYPOTHESES, strict=True):
        gradient = gradient_of(recognizer, speech, y)
        g = projection.gradients({n: gradient.get(n) for n in own})[0].double()
        wanted += w * g[:, None] * g
    assert result.factors.shape == (FACTORS, DIMENSIONS)
    best = torch.linalg.eigvalsh(wanted).flip(0)[:FACTORS]
    lengths = result.factors.square().sum(1).sort(descending=True).values
    # Exact mode leaves out 7e-4 of the energy.
    torch.testing.assert_close(lengths, best, rtol=0.01, atol=0.01 * float(best[0]))
    left = torch.linalg.matrix_norm(wanted - result.factors.T @ result.factors)
    bound = float((torch.linalg.matrix_norm(wanted).square() - best.square().sum()).clamp_min(0))
    assert left <= bound**0.5 + 0.02 * float(best[0])


def test_few_directions_leave_factors_of_nothing() -> None:
    """One direction of length 2, of which a quarter of the energy was not pulled back."""
    found = low_rank(torch.tensor([[0.0, 2.0]], dtype=torch.float64), (4 / 3) ** 0.5)
    wanted = torch.zeros(FACTORS, 2, dtype=torch.float64)
    wanted[0, 1] = 4 / 3**0.5
    torch.testing.assert_close(found.abs(), wanted)


def test_plain_autograd_projects_alike(load: Any) -> None:
    recognizer = load("ctc_conformer")
    speech = [make_speech(0.9)]
    weights = [shares(recognizer, speech[0], HYPOTHESES)]
    engine = GradientEngine(recognizer, mode="exact", embedding=True)
    (fast,) = run(engine, speech, HYPOTHESES, weights)
    from espnet_egl.gradients.taps import AutogradNorms

    engine._norms = AutogradNorms(engine.shared, engine.projection)
    (plain,) = run(engine, speech, HYPOTHESES, weights)
    largest = float(plain.embedding.abs().max())
    torch.testing.assert_close(fast.embedding, plain.embedding, rtol=0, atol=ROUNDING * largest)


def test_inner_products_are_unbiased(load: Any) -> None:
    """Over seeds, the mean of <P g, P h> nears <g, h>, and its spread is what 256 numbers give."""
    recognizer = load("ctc_conformer")
    g = gradient_of(recognizer, make_speech(0.9), (3, 4))
    h = gradient_of(recognizer, make_speech(0.9), (3, 5))
    true = float(sum((g[n] * h[n]).sum() for n in g))
    size = float(sum(v.square().sum() for v in g.values())) ** 0.5
    size *= float(sum(v.square().sum() for v in h.values())) ** 0.5
    found = []
    for seed in range(100):
        projection = Projection(recognizer.model, linear_weights(recognizer.model), seed)
        found.append(float((projection.gradients(g) * projection.gradients(h)).sum()))
    values = torch.tensor(found)
    assert abs(values.mean() - true) < 4 * values.std() / len(values) ** 0.5
    assert values.std() < 5 * size / SIDE


def test_rows_on_disk_are_as_long_as_projections() -> None:
    assert GRADIENT == DIMENSIONS


def test_what_has_nothing_to_project_is_refused(load: Any) -> None:
    with pytest.raises(ConfigError, match="gradient embeddings need linear layers"):
        GradientEngine(load("ctc_conformer"), "norm", embedding=True)


def test_without_being_asked_there_is_no_embedding(load: Any) -> None:
    recognizer = load("ctc_conformer")
    speech = [make_speech(0.9)]
    weights = [shares(recognizer, speech[0], HYPOTHESES)]
    (result,) = run(GradientEngine(recognizer), speech, HYPOTHESES, weights)
    assert len(result.embedding) == 0
