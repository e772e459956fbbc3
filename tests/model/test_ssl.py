"""Self-supervised front ends: HuBERT and wav2vec 2.0 of the real classes, tiny and random."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CONFORMER, TRANSFORMER_DECODER, ModelFiles, make_speech, write_model
from tolerances import DEFINITION

from espnet_egl.errors import UtteranceError
from espnet_egl.gradients.engine import GradientEngine
from espnet_egl.gradients.parameters import select_parameters
from espnet_egl.gradients.reference import expected_gradient_length, gradient_length
from espnet_egl.gradients.taps import AutogradNorms, TappedNorms
from espnet_egl.hypotheses.ctc_sampling import CTCSampleSource
from espnet_egl.model.loading import load_recognizer
from espnet_egl.model.modes import scoring_mode

transformers = pytest.importorskip("transformers")

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8, 8),
    "conv_kernel": (20, 10),
    "conv_stride": (10, 8),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    # The traps: layers that are left out, and masks of the input, both in training alone.
    "layerdrop": 0.5,
    "mask_time_prob": 0.5,
}
FROZEN = ["frontend.encoder"]
CTC = {"encoder": "conformer", "encoder_conf": CONFORMER, "model_conf": {"ctc_weight": 1.0}}
HYBRID = {**CTC, "decoder": "transformer", "decoder_conf": TRANSFORMER_DECODER}
HYBRID["model_conf"] = {"ctc_weight": 0.3}
# The front end, what is frozen of it, and what stands behind it.
KINDS: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "hubert_frozen": ("hubert", FROZEN, CTC),
    "wav2vec2_frozen": ("wav2vec2", FROZEN, HYBRID),
    "hubert_tuned": ("hubert", ["frontend.encoder.feature_extractor"], CTC),
}
HYPOTHESES = [y for n in range(3) for y in itertools.product((3, 4), repeat=n)]
NAMES = {"hubert": ("HubertConfig", "HubertModel"), "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2Model")}


def write_hub_model(directory: Path, kind: str) -> str:
    """A model as Hugging Face's hub leaves it on the disk."""
    config, model = (getattr(transformers, name) for name in NAMES[kind])
    torch.manual_seed(0)
    model(config(**SIZES)).save_pretrained(directory)
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=8000).save_pretrained(directory)
    return str(directory)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ModelFiles]:
    root = tmp_path_factory.mktemp("ssl")

    @cache
    def get(name: str) -> ModelFiles:
        kind, frozen, rest = KINDS[name]
        return write_model(
            root / name,
            **rest,
            frontend="huggingface",
            frontend_conf={"model": write_hub_model(root / f"{name}_hub", kind), "fs": 8000},
            freeze_param=frozen,
            init=None,
        )

    return get


@pytest.fixture(scope="module")
def load_ssl(files: Callable[[str], ModelFiles]) -> Callable[[str], Any]:
    @cache
    def get(name: str) -> Any:
        f = files(name)
        args = "--beam_size 4 --maxlenratio -4"
        return load_recognizer(f.config, f.checkpoint, inference_args=args, nbest=4)

    return get


def pool() -> list[np.ndarray]:
    return [make_speech(1.3, seed=0), make_speech(0.9, seed=1)]


def encode(recognizer: Any, speech: np.ndarray) -> Any:
    with torch.no_grad(), scoring_mode(recognizer.model):
        return recognizer.encode(speech)


def compare(recognizer: Any, engine: GradientEngine) -> None:
    speech = pool()
    engine.verify(speech)
    weights = [
        torch.softmax(recognizer.log_likelihoods(encode(recognizer, s), HYPOTHESES), 0).tolist()
        for s in speech
    ]
    results = []
    for group in [[0, 1]] if engine.batches else [[0], [1]]:
        with engine.encode([speech[i] for i in group]) as batch:
            results += batch.expected_gradient_lengths(
                [HYPOTHESES] * len(group), [weights[i] for i in group]
            )
    for s, w, found in zip(speech, weights, results, strict=True):
        expected = expected_gradient_length(recognizer, s, HYPOTHESES, w, engine.parameters)
        assert expected > 0
        assert found.value == pytest.approx(expected, rel=DEFINITION)


@pytest.mark.parametrize("name", [name for name in KINDS if "frozen" in name])
def test_behind_a_frozen_front_end_batches_are_as_behind_filter_banks(
    load_ssl: Any, name: str
) -> None:
    engine = GradientEngine(load_ssl(name), mode="exact")
    assert not any(n.startswith("frontend.encoder") for n in engine.parameters)
    compare(load_ssl(name), engine)
    assert engine.batches
    assert isinstance(engine._norms, TappedNorms)


def test_a_front_end_that_is_trained_takes_part(load_ssl: Any, caplog: Any) -> None:
    """One utterance at a time, as the log says; what of it is frozen does not."""
    recognizer = load_ssl("hubert_tuned")
    with caplog.at_level(logging.WARNING):
        engine = GradientEngine(recognizer, mode="exact")
    assert "The front end is trained (frontend.encoder." in caplog.text
    assert not engine.batches
    assert isinstance(engine._norms, AutogradNorms)
    trained = [n for n in engine.parameters if n.startswith("frontend.")]
    assert trained
    assert not any(".feature_extractor." in n for n in trained)
    compare(recognizer, engine)


def test_without_the_front_ends_parameters_batches_are_back(load_ssl: Any) -> None:
    engine = GradientEngine(load_ssl("hubert_tuned"), r"^(encoder|ctc)\.", mode="exact")
    assert engine.batches
    compare(load_ssl("hubert_tuned"), engine)
    assert engine.batches


@pytest.mark.parametrize("name", KINDS)
def test_the_gradient_is_that_of_a_loop_of_autograd(load_ssl: Any, name: str) -> None:
    recognizer, speech, tokens = load_ssl(name), pool()[0], [3, 4, 3]
    parameters = select_parameters(recognizer.model)
    model = recognizer.model
    modes = {m: m.training for m in model.modules()}
    model.eval()
    loss, _, _ = model(
        speech=torch.tensor(speech).unsqueeze(0),
        speech_lengths=torch.tensor([len(speech)]),
        text=torch.tensor([tokens]),
        text_lengths=torch.tensor([3]),
    )
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    for module, mode in modes.items():
        module.training = mode
    expected = sum(float(g.double().square().sum()) for g in gradients if g is not None)
    found = gradient_length(recognizer, speech, tokens, parameters)
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_hypotheses_are_espnets_own(files: Any, load_ssl: Any, name: str) -> None:
    from espnet2.bin.asr_inference import Speech2Text

    recognizer, speech = load_ssl(name), pool()[0]
    weight = recognizer.speech2text.beam_search.weights["ctc"]
    options = {"beam_size": 4, "maxlenratio": -4, "nbest": 4, "ctc_weight": weight}
    own = Speech2Text(str(files(name).config), str(files(name).checkpoint), **options)
    encoded = encode(recognizer, speech)
    assert recognizer.search(encoded) == [[int(t) for t in hyp.yseq] for *_, hyp in own(speech)]
    nbest = CTCSampleSource("ctc", size=20)(recognizer, "u", encoded)
    assert 0 < nbest.mass <= 1 + 1e-3


def test_clips_too_short_say_so(load_ssl: Any) -> None:
    with pytest.raises(UtteranceError, match="too_short"):
        encode(load_ssl("hubert_frozen"), np.zeros(100, dtype=np.float32))
