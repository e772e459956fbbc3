"""The fast ways against the definition."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import (
    MODELS,
    PADDING_MATTERS,
    TRANSDUCER_BLOCK,
    is_transducer,
    make_speech,
    train_args,
    write_model,
)
from tolerances import ACTIVATION, DEFINITION, ROUNDING, ROUNDING_OF_DOUBLES, SPREAD

from espnet_egl.errors import ConfigError
from espnet_egl.gradients.directions import enough, find_directions, noticeable, turn
from espnet_egl.gradients.engine import GradientEngine
from espnet_egl.gradients.estimate import ExpectedGradientLength
from espnet_egl.gradients.losses import CTCCotangents, loss_is_ctc, occupancies, separable
from espnet_egl.gradients.parameters import select_parameters
from espnet_egl.gradients.reference import expected_gradient_length
from espnet_egl.gradients.taps import TappedNorms
from espnet_egl.hypotheses.beam import BeamSearchSource
from espnet_egl.model import compat, likelihoods
from espnet_egl.model.likelihoods import ctc_log_likelihoods
from espnet_egl.model.loading import load_recognizer
from espnet_egl.model.modes import scoring_mode

# All transcripts of up to two tokens: more hypotheses than there are directions.
HYPOTHESES = [y for n in range(3) for y in itertools.product((3, 4, 5, 6), repeat=n)]
LENGTHS = (1.3, 1.06, 0.77)


def hypotheses_of(name: str) -> list[tuple[int, ...]]:
    # torchaudio's transducer loss has no gradient for an empty transcript.
    return HYPOTHESES[1:] if name == "transducer" else HYPOTHESES


def pool() -> list[np.ndarray]:
    return [make_speech(seconds, seed=i) for i, seconds in enumerate(LENGTHS)]


def shares(recognizer: Any, speech: np.ndarray, hypotheses: Sequence[Any]) -> list[float]:
    """P(y | x) over the hypotheses, renormalised."""
    with torch.no_grad(), scoring_mode(recognizer.model):
        encoded = recognizer.encode(speech)
    return torch.softmax(recognizer.log_likelihoods(encoded, hypotheses), 0).tolist()


def run(
    engine: GradientEngine, speech: Sequence[np.ndarray], hypotheses: Any, weights: Any
) -> list[ExpectedGradientLength]:
    """The same hypotheses for all; one by one if the engine wants it so."""
    groups = [range(len(speech))] if engine.batches else [[i] for i in range(len(speech))]
    found = []
    for group in groups:
        with engine.encode([speech[i] for i in group]) as batch:
            found += batch.expected_gradient_lengths(
                [hypotheses] * len(group), [weights[i] for i in group]
            )
    return found


@pytest.mark.parametrize("params", ["all", "encoder", "head", r"norm|linear_v|\.4\.|weight_hh"])
@pytest.mark.parametrize("name", MODELS)
def test_exact_mode_is_the_definition(load: Any, name: str, params: str) -> None:
    """A batch of different lengths: CTC, hybrid and transducer over every encoder."""
    recognizer, speech, hypotheses = load(name), pool(), hypotheses_of(name)
    weights = [shares(recognizer, s, hypotheses) for s in speech]
    engine = GradientEngine(recognizer, params, mode="exact")
    engine.verify(speech)
    assert engine.batches == (name not in PADDING_MATTERS)
    # By rules for the layers, not by plain autograd.
    assert isinstance(engine._norms, TappedNorms)
    parameters = select_parameters(recognizer.model, params)
    for s, w, found in zip(speech, weights, run(engine, speech, hypotheses, weights), strict=True):
        expected = expected_gradient_length(recognizer, s, hypotheses, w, parameters)
        assert expected > 0
        assert found.value == pytest.approx(expected, rel=DEFINITION)


@pytest.mark.parametrize("name", ["hybrid_conformer", "hybrid_rnn", *filter(is_transducer, MODELS)])
def test_the_decoders_own_part_is_the_definition(load: Any, name: str) -> None:
    recognizer, speech, hypotheses = load(name), pool(), hypotheses_of(name)
    weights = [shares(recognizer, s, hypotheses) for s in speech]
    engine = GradientEngine(recognizer, "decoder", mode="exact")
    parameters = select_parameters(recognizer.model, "decoder")
    for s, w, found in zip(speech, weights, run(engine, speech, hypotheses, weights), strict=True):
        expected = expected_gradient_length(recognizer, s, hypotheses, w, parameters)
        assert found.value == pytest.approx(expected, rel=ROUNDING)
        assert found.passes == 0


@pytest.mark.parametrize("name", ["ctc_conformer", "ctc_ebranchformer", "hybrid_conformer"])
def test_exact_mode_on_the_searchs_own_list(load: Any, name: str) -> None:
    recognizer = load(name, nbest=100)
    engine = GradientEngine(recognizer, mode="exact")
    parameters = select_parameters(recognizer.model)
    for seed in range(3):
        speech = make_speech(0.5 + 0.2 * seed, seed=seed)
        with engine.encode([speech]) as batch:
            nbest = BeamSearchSource()(recognizer, "u", batch.utterances[0])
            tokens = [h.tokens for h in nbest.hypotheses]
            (found,) = batch.expected_gradient_lengths([tokens], [nbest.weights])
        expected = expected_gradient_length(recognizer, speech, tokens, nbest.weights, parameters)
        assert len(tokens) > 5
        assert found.value == pytest.approx(expected, rel=DEFINITION)


def test_double_precision_against_double_precision(load: Any) -> None:
    recognizer, speech = load("ctc_conformer", dtype="float64"), pool()
    weights = [shares(recognizer, s, HYPOTHESES) for s in speech]
    single = load("ctc_conformer")
    exact, rounded = (
        run(GradientEngine(r, mode="exact"), speech, HYPOTHESES, weights)
        for r in (recognizer, single)
    )
    for a, b in zip(exact, rounded, strict=True):
        assert b.value == pytest.approx(a.value, rel=ROUNDING)


def test_the_estimate_nears_the_exact_value_with_more_directions(load: Any) -> None:
    recognizer, speech = load("ctc_ebranchformer"), pool()
    weights = [shares(recognizer, s, HYPOTHESES) for s in speech]
    exact = run(GradientEngine(recognizer, mode="exact"), speech, HYPOTHESES, weights)
    errors = []
    for directions in (1, 2, 4, 8):
        engine = GradientEngine(recognizer, mode="estimate", directions=directions)
        found = run(engine, speech, HYPOTHESES, weights)
        assert {f.passes for f in found} <= {directions, *(e.passes for e in exact)}
        for a, b in zip(exact, found, strict=True):
            assert abs(b.value / a.value - 1) < (0.5 if directions == 1 else 0.3)
        errors.append(max(b.stderr / b.value for b in found))
    assert errors == sorted(errors, reverse=True)


def test_the_few_that_need_more_directions_go_on_alone(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = load("ctc_conformer")
    speech = [make_speech(1.3 - 0.05 * i, seed=i) for i in range(7)]
    certain = [[1.0] + [0.0] * (len(HYPOTHESES) - 1)] * 7
    weights = [
        w if i % 3 else shares(recognizer, s, HYPOTHESES)
        for i, (s, w) in enumerate(zip(speech, certain, strict=True))
    ]
    sizes = []
    encode = GradientEngine.encode

    def watched(self: GradientEngine, speech: Any) -> Any:
        sizes.append(len(speech))
        return encode(self, speech)

    monkeypatch.setattr(GradientEngine, "encode", watched)
    engine = GradientEngine(recognizer, mode="exact")
    together = run(engine, speech, HYPOTHESES, weights)
    assert sizes == [7, 3]
    assert sorted({f.passes for f in together})[0] == 1
    for s, w, found in zip(speech, weights, together, strict=True):
        (alone,) = run(engine, [s], HYPOTHESES, [w])
        assert found.passes == alone.passes
        assert found.value == pytest.approx(alone.value, rel=ROUNDING)
    assert not any(m._forward_hooks for m in recognizer.model.modules())


class TestInvariance:
    """The same numbers whatever shares a batch, a list, a chunk or a thread with them."""

    NAMES = ("ctc_conformer", "ctc_lstmp", "hybrid_conformer", *filter(is_transducer, MODELS))

    def expected(self, load: Any, name: str) -> tuple[Any, Any, Any, Any]:
        recognizer, speech, hypotheses = load(name), pool(), hypotheses_of(name)
        weights = [shares(recognizer, s, hypotheses) for s in speech]
        engine = GradientEngine(recognizer, mode="exact")
        return engine, speech, hypotheses, weights

    @pytest.mark.parametrize("name", NAMES)
    def test_batch_and_padding(self, load: Any, name: str) -> None:
        engine, speech, hypotheses, weights = self.expected(load, name)
        together = run(engine, speech, hypotheses, weights)
        for s, w, found in zip(speech, weights, together, strict=True):
            (alone,) = run(engine, [s], hypotheses, [w])
            assert found.value == pytest.approx(alone.value, rel=ROUNDING)
            assert found.stderr == pytest.approx(alone.stderr, abs=SPREAD * alone.value)

    @pytest.mark.parametrize("name", NAMES)
    def test_order_of_the_list(self, load: Any, name: str) -> None:
        engine, speech, hypotheses, weights = self.expected(load, name)
        first = run(engine, speech[:1], hypotheses, weights[:1])[0]
        second = run(engine, speech[:1], hypotheses[::-1], [weights[0][::-1]])[0]
        assert second.value == pytest.approx(first.value, rel=ROUNDING)

    @pytest.mark.parametrize("name", NAMES)
    def test_chunks_of_the_list(
        self, load: Any, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine, speech, hypotheses, weights = self.expected(load, name)
        first = run(engine, speech[:1], hypotheses, weights[:1])[0]
        monkeypatch.setattr(likelihoods, "CHUNK", 5000)
        second = run(engine, speech[:1], hypotheses, weights[:1])[0]
        assert second.value == pytest.approx(first.value, rel=ROUNDING)

    def test_threads(self, load: Any) -> None:
        engine, speech, hypotheses, weights = self.expected(load, "ctc_conformer")
        threads = torch.get_num_threads()
        found = []
        try:
            for count in (1, 2):
                torch.set_num_threads(count)
                found.append(run(engine, speech, hypotheses, weights)[0].value)
        finally:
            torch.set_num_threads(threads)
        assert found[1] == pytest.approx(found[0], rel=ROUNDING)

    @pytest.mark.parametrize("name", NAMES)
    def test_the_model_is_left_as_it_was(self, load: Any, name: str) -> None:
        engine, speech, hypotheses, weights = self.expected(load, name)
        model = engine.recognizer.model
        before = {k: v.clone() for k, v in model.state_dict().items()}

        def attributes() -> dict[str, Any]:
            return {n: sorted(vars(m)) for n, m in model.named_modules()}

        kept = attributes()
        run(engine, speech, hypotheses, weights)
        with pytest.raises(ZeroDivisionError), engine.encode(speech):
            raise ZeroDivisionError
        assert attributes() == kept
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
        assert all(p.requires_grad and p.grad is None for p in model.parameters())
        for module in model.modules():
            assert not module._forward_hooks
            assert not module._forward_pre_hooks


def test_an_encoder_that_reads_its_padding_is_taken_one_by_one(load: Any, caplog: Any) -> None:
    engine = GradientEngine(load("ctc_conformer_legacy"), mode="exact")
    assert engine.batches
    engine.verify(pool())
    assert not engine.batches
    assert "padding changes what this encoder gives" in caplog.text


def body(*blocks: dict[str, Any], **main_conf: Any) -> dict[str, Any]:
    return {"encoder_conf": {"body_conf": [*blocks], "main_conf": main_conf}}


CONVOLUTION = {"block_type": "conv1d", "output_size": 16, "kernel_size": 3}
MEGA = {"block_size": 12, "linear_size": 12, "qk_size": 8, "v_size": 16, "num_heads": 2}


@pytest.mark.parametrize(
    "part",
    [
        # The trap: in training, chunks of random length.
        body(TRANSDUCER_BLOCK, CONVOLUTION, norm_type="scale_norm", dynamic_chunk_training=True),
        body(TRANSDUCER_BLOCK, CONVOLUTION, TRANSDUCER_BLOCK),
        body(TRANSDUCER_BLOCK, {**CONVOLUTION, "stride": 2}, TRANSDUCER_BLOCK),
        {"decoder": "mega", "decoder_conf": {**MEGA, "num_blocks": 1}},
        {"decoder_conf": {"rnn_type": "gru", "num_layers": 2, "hidden_size": 12}},
    ],
    ids=["chunks", "convolution", "subsampling", "mega", "gru"],
)
def test_other_parts_of_the_task_asr_transducer(
    tmp_path: Path, part: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.id
    if kind in ("convolution", "subsampling") and compat.ESPNET_VERSION < "202611":
        pytest.skip("ESPnet counts the frames before the convolution, and no loss can be had")
    files = write_model(tmp_path, **{**MODELS["transducer_task"], **part})
    recognizer, speech = load_recognizer(files.config, files.checkpoint), pool()
    engine = GradientEngine(recognizer, mode="exact")
    engine.verify(speech)
    assert engine.batches == (kind != "subsampling")
    weights = [shares(recognizer, s, HYPOTHESES) for s in speech]
    for s, w, r in zip(speech, weights, run(engine, speech, HYPOTHESES, weights), strict=True):
        expected = expected_gradient_length(recognizer, s, HYPOTHESES, w, engine.parameters)
        assert r.value == pytest.approx(expected, rel=DEFINITION)


def test_hooks_that_miss_something_are_found_out(load_fresh: Any, caplog: Any) -> None:
    """A layer whose forward does more than its class says."""
    recognizer = load_fresh("ctc_conformer")
    layer = recognizer.model.encoder.after_norm
    plain = layer.forward
    layer.forward = lambda x: plain(x) + 3 * layer.weight
    engine = GradientEngine(recognizer, mode="exact")
    engine.verify(pool())
    assert "hooks miss some of this encoder" in caplog.text
    weights = shares(recognizer, pool()[0], HYPOTHESES)
    (found,) = run(engine, pool()[:1], HYPOTHESES, [weights])
    parameters = select_parameters(recognizer.model)
    expected = expected_gradient_length(recognizer, pool()[0], HYPOTHESES, weights, parameters)
    assert found.value == pytest.approx(expected, rel=DEFINITION)


@pytest.mark.skipif(compat.ESPNET_VERSION < "202611", reason="no loss can be had before")
def test_hooks_are_checked_where_padding_is_known_to_be_read(tmp_path: Path, caplog: Any) -> None:
    part = body(TRANSDUCER_BLOCK, {**CONVOLUTION, "stride": 2}, TRANSDUCER_BLOCK)
    files = write_model(tmp_path, **{**MODELS["transducer_task"], **part})
    recognizer = load_recognizer(files.config, files.checkpoint)
    layer = recognizer.model.encoder.encoders.norm_blocks
    plain = layer.forward
    layer.forward = lambda x: plain(x) + 3 * layer.weight
    GradientEngine(recognizer, mode="exact").verify(pool())
    assert "hooks miss some of this encoder" in caplog.text


def test_an_encoder_whose_layers_see_no_batch_is_taken_by_autograd(
    load_fresh: Any, caplog: Any
) -> None:
    recognizer = load_fresh("ctc_transformer")
    layer = recognizer.model.encoder.after_norm
    plain = layer.forward

    class Turned(torch.nn.Module):
        """Time first, as in fairseq's encoders."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(16, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(plain(x).transpose(0, 1)).transpose(0, 1)

    recognizer.model.encoder.after_norm = Turned()
    engine = GradientEngine(recognizer, r"after_norm\.layer|encoders", mode="exact")
    engine.verify(pool())
    assert not engine.batches
    assert "encoder.after_norm.layer: no batch in" in caplog.text
    weights = shares(recognizer, pool()[0], HYPOTHESES)
    (found,) = run(engine, pool()[:1], HYPOTHESES, [weights])
    expected = expected_gradient_length(
        recognizer, pool()[0], HYPOTHESES, weights, engine.parameters
    )
    assert found.value == pytest.approx(expected, rel=DEFINITION)


def test_a_layer_without_a_rule_is_named(load: Any, caplog: Any) -> None:
    GradientEngine(load("hybrid_rnn"), mode="exact")
    assert "no rule for decoder.decoder.0 (LSTMCell: weight_ih" in caplog.text


def test_a_loss_that_is_no_sum_over_transcripts_is_taken_one_by_one(
    load_fresh: Any, caplog: Any
) -> None:
    recognizer = load_fresh("hybrid_conformer")
    recognizer.model.criterion_att.normalize_length = True
    assert not separable(recognizer.model)
    engine = GradientEngine(recognizer, mode="exact")
    assert not engine.batches
    assert "One hypothesis at a time, which is slow" in caplog.text
    speech = pool()[:1]
    weights = [shares(recognizer, speech[0], HYPOTHESES)]
    (found,) = run(engine, speech, HYPOTHESES, weights)
    parameters = select_parameters(recognizer.model)
    expected = expected_gradient_length(recognizer, speech[0], HYPOTHESES, weights[0], parameters)
    assert found.value == pytest.approx(expected, rel=ROUNDING)


def test_ctc_losses_are_told_from_the_rest(load: Any) -> None:
    found = {name for name in MODELS if loss_is_ctc(load(name).model)}
    assert found == {name for name in MODELS if name.startswith("ctc_")}


def test_an_utterance_left_out_changes_nothing_for_the_others(load: Any) -> None:
    recognizer, speech = load("ctc_conformer"), pool()
    weights = [shares(recognizer, s, HYPOTHESES) for s in speech]
    engine = GradientEngine(recognizer, mode="exact")
    with engine.encode(speech) as batch:
        found = batch.expected_gradient_lengths(
            [HYPOTHESES, [], HYPOTHESES], [weights[0], [], weights[2]]
        )
    whole = run(engine, speech, HYPOTHESES, weights)
    assert found[1].value == 0.0
    for i in (0, 2):
        assert found[i].value == pytest.approx(whole[i].value, rel=ROUNDING)


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"mode": "fast"}, "--egl_mode"),
        ({"directions": 0}, "--egl_directions"),
        ({"params": "nothing_like_it"}, "--egl_params"),
    ],
)
def test_wrong_options_are_refused(load: Any, conf: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GradientEngine(load("ctc_conformer"), **conf)


@pytest.fixture
def adapted(tmp_path: Path) -> Any:
    """A Conformer fine-tuned with LoRA: the base frozen, the checkpoint as ESPnet saves it."""
    pytest.importorskip("loralib")
    from espnet2.layers.create_adapter import create_adapter
    from espnet2.tasks.asr import ASRTask

    adapter = {"rank": 2, "alpha": 4, "target_modules": ["linear_q", "linear_v"]}
    overrides = {
        **MODELS["ctc_conformer"],
        "use_adapter": True,
        "adapter": "lora",
        "adapter_conf": adapter,
        "freeze_param": ["encoder", "ctc"],
    }
    files = write_model(tmp_path, **overrides)
    torch.manual_seed(1)
    model = ASRTask.build_model(train_args(**overrides))
    create_adapter(model, "lora", adapter)
    model.train()
    for name, parameter in model.named_parameters():
        if name.endswith("lora_B"):
            torch.nn.init.normal_(parameter, std=0.2)
    # As after a validation: ESPnet saves the merged weights.
    torch.save(model.eval().state_dict(), files.checkpoint)
    return load_recognizer(files.config, files.checkpoint, inference_args="--beam_size 6"), model


def test_adapters_of_low_rank(adapted: Any) -> None:
    """The gradient is the adapter's alone, and the model is the one that was trained."""
    recognizer, trained = adapted
    speech = pool()
    with torch.no_grad(), scoring_mode(recognizer.model):
        found = recognizer.encode(speech[0]).hidden
        recognizer.model, kept = trained, recognizer.model
        trained_output = recognizer.encode(speech[0]).hidden
        recognizer.model = kept
    assert torch.allclose(found, trained_output, atol=ACTIVATION)
    engine = GradientEngine(recognizer, mode="exact")
    assert engine.parameters
    assert all("lora_" in name for name in engine.parameters)
    weights = [shares(recognizer, s, HYPOTHESES) for s in speech]
    for s, w, r in zip(speech, weights, run(engine, speech, HYPOTHESES, weights), strict=True):
        expected = expected_gradient_length(recognizer, s, HYPOTHESES, w, engine.parameters)
        assert expected > 0
        assert r.value == pytest.approx(expected, rel=DEFINITION)


def test_a_frozen_part_takes_no_part(tmp_path: Path) -> None:
    """As with a frozen self-supervised front end: what lies below is no graph at all."""
    frozen = ["encoder.embed", "encoder.encoders.0"]
    files = write_model(tmp_path, **MODELS["hybrid_conformer"], freeze_param=frozen)
    recognizer = load_recognizer(files.config, files.checkpoint, inference_args="--beam_size 6")
    engine = GradientEngine(recognizer, mode="exact")
    assert not any(name.startswith(tuple(frozen)) for name in engine.parameters)
    speech = pool()
    weights = [shares(recognizer, s, HYPOTHESES) for s in speech]
    for s, w, r in zip(speech, weights, run(engine, speech, HYPOTHESES, weights), strict=True):
        expected = expected_gradient_length(recognizer, s, HYPOTHESES, w, engine.parameters)
        assert r.value == pytest.approx(expected, rel=DEFINITION)


def test_a_front_end_that_is_trained_is_taken_one_by_one(load_fresh: Any, caplog: Any) -> None:
    recognizer = load_fresh("ctc_conformer")
    frontend = recognizer.model.frontend
    frontend.gain = torch.nn.Parameter(torch.tensor(0.7))
    plain = frontend.forward

    def forward(*args: Any) -> Any:
        features, lengths = plain(*args)
        return features * frontend.gain, lengths

    frontend.forward = forward
    recognizer.model.normalize = None
    engine = GradientEngine(recognizer, mode="exact")
    assert not engine.batches
    assert "The front end is trained (frontend.gain, ...)" in caplog.text
    speech = pool()[0]
    weights = shares(recognizer, speech, HYPOTHESES)
    (found,) = run(engine, [speech], HYPOTHESES, [weights])
    expected = expected_gradient_length(recognizer, speech, HYPOTHESES, weights, engine.parameters)
    assert found.value == pytest.approx(expected, rel=DEFINITION)


# ---- the parts ----


def test_the_worked_example_of_the_documentation() -> None:
    """docs/gradient_engine.md: two frames, blank and one token, both at probability 1/2.

    "a" is emitted by three of four alignments, P = 3/4; the empty transcript by one, P = 1/4.
    Occupancy of a given "a" is 2/3 in both frames, given the empty transcript 0.
    """
    logits = torch.zeros(2, 2)
    log_probs = logits.double().log_softmax(-1)
    hypotheses = [(1,), ()]
    probs = ctc_log_likelihoods(log_probs, hypotheses, blank=0).exp()
    assert probs.tolist() == pytest.approx([3 / 4, 1 / 4])
    frames = torch.tensor([2])
    symbols, (found,) = occupancies(log_probs[None], frames, [hypotheses], blank=0)
    assert symbols.tolist() == [[0, 1]]
    assert found[0] == pytest.approx(torch.tensor([[1 / 3, 2 / 3], [1 / 3, 2 / 3]]).numpy())
    assert found[1] == pytest.approx(torch.tensor([[1.0, 0.0], [1.0, 0.0]]).numpy())
    hidden, weight = torch.zeros(1, 2, 3), torch.zeros(2, 3)
    cotangents = CTCCotangents([hidden], weight, [logits[None]], frames, [1.0], [hypotheses], 0)
    assert cotangents.gram[0].tolist() == [
        pytest.approx([1 / 9, -1 / 3]),
        pytest.approx([-1 / 3, 1.0]),
    ]
    directions = find_directions(cotangents.gram, probs[None])
    energies = directions.energies
    assert energies[0].tolist() == pytest.approx([1 / 3, 0.0])
    (combined,) = cotangents.combine(directions.coefficients)
    u = torch.zeros(3, 2)
    combined.write(0, 0, u)
    assert u.abs() == pytest.approx(torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.0, 0.0]]).numpy())
    # With the logits themselves as parameters, EGL is the energy.
    expected = 3 / 4 * 1 / 9 + 1 / 4 * 1.0
    assert float(energies.sum() * u.square().sum()) == pytest.approx(expected)


def test_a_batched_ctc_has_the_gradients_of_single_ones(load: Any) -> None:
    """PyTorch has had CTC gradients that differ between a batch and its parts."""
    recognizer = load("ctc_conformer")
    with torch.no_grad(), scoring_mode(recognizer.model):
        encoded = recognizer.encode(make_speech())
        # Normalised in float64: in float32, probabilities sum to 1 within 6e-8.
        log_probs = recognizer.model.ctc.ctc_lo(encoded.hidden)[0].double().log_softmax(-1)
    frames = torch.tensor([len(log_probs)])
    (symbols,), (together,) = occupancies(log_probs[None], frames, [HYPOTHESES], 0)
    for i, tokens in enumerate(HYPOTHESES):
        logits = log_probs.clone().requires_grad_()
        loss = torch.nn.functional.ctc_loss(
            logits.log_softmax(-1).unsqueeze(1),
            torch.tensor([tokens], dtype=torch.long).reshape(1, -1),
            torch.tensor([len(logits)]),
            torch.tensor([len(tokens)]),
            reduction="sum",
        )
        (alone,) = torch.autograd.grad(loss, logits)
        dense = log_probs.exp()
        dense[:, symbols] -= together[i]
        assert torch.allclose(dense, alone, rtol=0, atol=ROUNDING_OF_DOUBLES)
        assert torch.allclose(together[i].sum(-1), torch.ones(len(logits)).double())


def test_directions_by_hand() -> None:
    """g1 = (3, 0), g2 = (3, 0), g3 = (0, 2), weights 1/2, 1/2, 1/4: 9 and 1 along the axes."""
    g = torch.tensor([[3.0, 0.0], [3.0, 0.0], [0.0, 2.0]]).double()
    found = find_directions((g @ g.T)[None], torch.tensor([[0.5, 0.5, 0.25]]).double())
    assert found.energies[0].tolist() == pytest.approx([9.0, 1.0, 0.0])
    assert (found.coefficients[0] @ g).abs() == pytest.approx(np.eye(3, 2))
    assert found.best[0].abs().tolist() == pytest.approx([3.0, 0.0, 0.0])
    assert enough(found.energies).tolist() == [2]


def test_directions_keep_the_energy_and_are_few() -> None:
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(5, 24, generator=generator).double()
    mixed = torch.randn(40, 5, generator=generator).double() @ basis
    weights = torch.rand(40, generator=generator).double()
    # Another one beside it, of fewer hypotheses, changes nothing.
    both = torch.stack([weights, torch.where(torch.arange(40) < 3, weights, 0.0)])
    found = find_directions((mixed @ mixed.T).expand(2, -1, -1), both)
    assert (found.energies > 0).sum(1).tolist() == [5, 3]
    energies, (best, _), (coefficients, _) = found.energies[0, :5], found.best, found.coefficients
    u = coefficients[:5] @ mixed
    assert torch.allclose(best[:5] @ u, mixed[0])
    assert torch.allclose(u @ u.T, torch.eye(5).double())
    assert torch.allclose((u.T * energies) @ u, (mixed.T * weights) @ mixed, rtol=1e-9, atol=1e-9)


def test_directions_of_a_model_without_doubt(load: Any) -> None:
    """All hypotheses agree with what the model says: no gradient, and no division by zero."""
    gram, weights = torch.zeros(1, 3, 3).double(), torch.tensor([[1.0, 0.0, 0.0]]).double()
    found = find_directions(gram, weights)
    assert found.energies.sum() == 0.0
    assert torch.isfinite(found.coefficients).all()
    assert GradientEngine(load("ctc_conformer")).counts(found.energies).tolist() == [0]


def cotangents_of(recognizer: Any, speech: np.ndarray) -> tuple[Any, torch.Tensor]:
    """Of all short transcripts, the most probable first, and their weights."""
    weights = shares(recognizer, speech, HYPOTHESES)
    order = sorted(range(len(weights)), key=lambda k: -weights[k])
    with GradientEngine(recognizer).encode([speech]) as batch:
        cotangents = batch._cotangents(
            [0], batch._encoded.of([0]), [[HYPOTHESES[k] for k in order]]
        )
    return cotangents, torch.tensor([[weights[k] for k in order]]).double()


@pytest.mark.parametrize("name", ["ctc_conformer", "ctc_interctc", "hybrid_conformer"])
def test_a_turn_leaves_the_sum_as_it_is(load: Any, name: str) -> None:
    """sum_r lambda_r u_r u_r^T and g_1, in terms of the hypotheses' gradients."""
    cotangents, weights = cotangents_of(load(name), pool()[0])
    directions = find_directions(cotangents.gram, weights)
    turned = turn(cotangents, directions)
    before, after = (
        (d.coefficients[0].T * d.energies[0]) @ d.coefficients[0] for d in (directions, turned)
    )
    torch.testing.assert_close(after, before, rtol=1e-6, atol=1e-6 * float(before.abs().max()))
    for d in (directions, turned):
        best = d.best[0] @ d.coefficients[0] @ cotangents.gram[0]
        torch.testing.assert_close(best, cotangents.gram[0, 0], rtol=ROUNDING, atol=1e-6)
    # Energies are what a layer's gradient would have: those of the definition, per direction.
    lengths = sum(
        (torch.cat([h[0], torch.ones_like(h[0, :, :1])], 1).T @ d[0]).square().sum((1, 2))
        for h, d in cotangents.beneath(turned.coefficients)
    )[turned.energies[0] > 0]
    torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=1e-3, atol=1e-3)


def test_directions_without_a_gradient_at_the_encoders_output_are_not_lost(
    load_fresh: Any,
) -> None:
    """An output layer of zeros lets nothing through, and has a gradient itself."""
    recognizer, speech = load_fresh("ctc_conformer"), pool()
    torch.nn.init.zeros_(recognizer.model.ctc.ctc_lo.weight)
    weights = [shares(recognizer, s, HYPOTHESES) for s in speech]
    exact, estimate = (
        run(GradientEngine(recognizer, mode=mode, directions=2), speech, HYPOTHESES, weights)
        for mode in ("exact", "estimate")
    )
    for a, b in zip(exact, estimate, strict=True):
        assert b.passes == 2 < a.passes
        assert b.value == pytest.approx(a.value, rel=0.5)


@pytest.mark.parametrize("name", ["ctc_conformer", "ctc_interctc"])
def test_what_lies_beneath_is_the_gradient_at_the_encoders_output(load: Any, name: str) -> None:
    recognizer = load(name)
    cotangents, _ = cotangents_of(recognizer, pool()[0])
    first = torch.eye(len(HYPOTHESES)).double()[None, :1]
    for combined, (h, d) in zip(cotangents.combine(first), cotangents.beneath(first), strict=True):
        at_logits = torch.zeros(h.size(1), recognizer.model.vocab_size)
        combined.write(0, 0, at_logits)
        wanted = at_logits @ recognizer.model.ctc.ctc_lo.weight
        torch.testing.assert_close(d[0, 0], wanted, rtol=ROUNDING, atol=1e-6)


def test_hypotheses_that_change_nothing_are_left_out() -> None:
    weights = [0.5, 1e-9, 0.5 - 1e-9, 0.0]
    assert noticeable(weights, 1e-5) == [0, 2]
    assert noticeable([1.0], 1e-5) == [0]
    # Beside one that is all but certain, the least likely ones are what counts.
    assert noticeable([1 - 3e-7, 2e-7, 1e-7], 1e-5) == [0, 1, 2]
