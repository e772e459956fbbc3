"""Whisper inside ESPnet: its real classes, small and with random weights."""

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
import yaml
from conftest import TOKENS, TRANSFORMER_DECODER, ModelFiles, make_speech, train_args
from tolerances import DEFINITION, ROUNDING

from espnet_egl.errors import ConfigError, UnsupportedModelError, UtteranceError
from espnet_egl.gradients.engine import GradientEngine
from espnet_egl.gradients.parameters import select_parameters
from espnet_egl.gradients.reference import expected_gradient_length, gradient_length
from espnet_egl.hypotheses.beam import BeamSearchSource
from espnet_egl.hypotheses.sureness import ConfidenceMeasure
from espnet_egl.model import whisper_parts
from espnet_egl.model.loading import load_recognizer
from espnet_egl.model.modes import scoring_mode
from espnet_egl.model.prompts import Prompts

whisper = pytest.importorskip("whisper")
# Newer versions have tokens that ESPnet does not know.
HAS_TOKENS = not hasattr(whisper.tokenizer.Tokenizer, "encoding") and not hasattr(
    whisper.tokenizer.Tokenizer, "encode_with_unstable"
)
needs_tokens = pytest.mark.skipif(not HAS_TOKENS, reason="ESPnet has no tokens of this Whisper")

ENCODER = {"whisper_model": "tiny", "dropout_rate": 0.1}
BASE: dict[str, Any] = {
    "encoder": "whisper",
    "frontend": None,
    "frontend_conf": {},
    "input_size": 1,
    "normalize": None,
    "normalize_conf": {},
    "specaug": None,
    "init": None,
}
MULTILINGUAL = {
    "token_type": "whisper_multilingual",
    "bpemodel": "whisper_multilingual",
    "preprocessor_conf": {"whisper_language": "de", "whisper_task": "transcribe"},
}
KINDS: dict[str, dict[str, Any]] = {
    # As ESPnet's recipes fine-tune it.
    "whole": {
        **BASE,
        **MULTILINGUAL,
        "encoder_conf": {**ENCODER, "do_pad_trim": True},
        "decoder": "whisper",
        "decoder_conf": {"whisper_model": "tiny"},
        "model_conf": {
            "ctc_weight": 0.0,
            "lsm_weight": 0.1,
            "sym_sos": "<|startoftranscript|>",
            "sym_eos": "<|endoftext|>",
        },
    },
    "own_tokens": {
        **BASE,
        "encoder_conf": {**ENCODER, "do_pad_trim": True},
        "decoder": "whisper",
        "decoder_conf": {"whisper_model": "tiny"},
        "model_conf": {"ctc_weight": 0.0},
    },
    "encoder": {
        **BASE,
        "encoder_conf": ENCODER,
        "decoder": "transformer",
        "decoder_conf": TRANSFORMER_DECODER,
        "model_conf": {"ctc_weight": 0.3},
    },
    "encoder_ctc": {**BASE, "encoder_conf": ENCODER, "model_conf": {"ctc_weight": 1.0}},
}
NAMES = [pytest.param(n, marks=[needs_tokens] if n == "whole" else []) for n in KINDS]
KINDS["refused"] = {**KINDS["own_tokens"], "model_conf": {"ctc_weight": 0.3}}
SEARCH = "--beam_size 4 --maxlenratio -5"


@pytest.fixture(scope="module", autouse=True)
def small_whisper() -> Any:
    """Sizes under OpenAI's name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(whisper_parts.SIZES, "tiny", (16, 2, 2, 1, 80, 51865))
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ModelFiles]:
    root = tmp_path_factory.mktemp("whisper")

    @cache
    def get(name: str) -> ModelFiles:
        from espnet2.tasks.asr import ASRTask

        args, directory = train_args(**KINDS[name]), root / name
        if name == "whole":
            args.token_list = whisper_vocabulary()
        torch.manual_seed(0)
        with whisper_parts.without_download():
            model = ASRTask.build_model(args)
        for parameter in model.parameters():
            # OpenAI's code makes some of them without numbers.
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.2)
        directory.mkdir()
        found = ModelFiles(directory / "config.yaml", directory / "valid.loss.best.pth")
        found.config.write_text(yaml.safe_dump(vars(args)), encoding="utf-8")
        torch.save(model.state_dict(), found.checkpoint)
        return found

    return get


def whisper_vocabulary() -> list[str]:
    from espnet2.text.whisper_token_id_converter import OpenAIWhisperTokenIDConverter

    converter = OpenAIWhisperTokenIDConverter("whisper_multilingual")
    count = converter.get_num_vocabulary_size()
    return converter.tokenizer.tokenizer.convert_ids_to_tokens(list(range(count)))


@pytest.fixture(scope="module")
def load_whisper(files: Callable[[str], ModelFiles]) -> Callable[..., Any]:
    @cache
    def get(name: str, args: str = SEARCH) -> Any:
        f = files(name)
        return load_recognizer(f.config, f.checkpoint, inference_args=args, nbest=4)

    return get


def speech16(seconds: float, seed: int = 0) -> np.ndarray:
    return make_speech(seconds, seed, rate=16000)


def encode(recognizer: Any, speech: np.ndarray) -> Any:
    with torch.no_grad(), scoring_mode(recognizer.model):
        return recognizer.encode(speech)


@pytest.mark.parametrize("name", NAMES)
def test_hypotheses_are_espnets_own(files: Any, load_whisper: Any, name: str) -> None:
    from espnet2.bin.asr_inference import Speech2Text

    weight = {"encoder": 0.0, "encoder_ctc": 1.0}.get(name, 0.0)
    args = f"--beam_size 4 --ctc_weight {weight} --maxlenratio -5"
    f, speech = files(name), speech16(0.7)
    recognizer = load_whisper(name, args)
    with whisper_parts.without_download():
        own = Speech2Text(
            str(f.config),
            str(f.checkpoint),
            beam_size=4,
            ctc_weight=weight,
            maxlenratio=-5,
            nbest=4,
        )
    expected = [[int(t) for t in hyp.yseq] for *_, hyp in own(speech)]
    start = [recognizer.model.sos, *recognizer.decoder_prompt]
    assert all(y[: len(start)] == start for y in expected)
    kept = len(start) if recognizer.decoder_prompt else 0
    assert recognizer.search(encode(recognizer, speech)) == [y[kept:] for y in expected]


@needs_tokens
def test_the_prompt_is_trainings_own(load_whisper: Any) -> None:
    recognizer, speech = load_whisper("whole"), speech16(0.7)
    names = [recognizer.model.token_list[t] for t in recognizer.decoder_prompt]
    assert names == ["<|de|>", "<|transcribe|>", "<|notimestamps|>"]
    tokens = recognizer.to_tokens(" guten Tag!")
    assert recognizer.to_text(tokens).strip() == "guten Tag!"
    from espnet2.train.collate_fn import CommonCollateFn

    data = recognizer.preprocess()("u", {"speech": speech, "text": " guten Tag!"})
    _, batch = CommonCollateFn(int_pad_value=-1)([("u", data)])
    with scoring_mode(recognizer.model):
        loss, _, _ = recognizer.model(**batch)
        own = recognizer.training_loss(speech, tokens)
        assert float(own.detach()) == pytest.approx(float(loss.detach()), rel=1e-6)
        parameters = select_parameters(recognizer.model)
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    length = sum(float(g.double().square().sum()) for g in gradients if g is not None)
    assert gradient_length(recognizer, speech, tokens, parameters) == pytest.approx(
        length, rel=1e-5
    )


@needs_tokens
def test_an_exclamation_mark_is_no_blank(load_whisper: Any) -> None:
    """Its number is ESPnet's blank's."""
    recognizer = load_whisper("whole")
    assert recognizer.model.token_list[0] == "!"
    assert 0 not in recognizer.special
    encoded = encode(recognizer, speech16(0.7))
    nbest = BeamSearchSource()(recognizer, "u", encoded)
    assert 0 < nbest.mass <= 1
    total, history = 0.0, [recognizer.model.sos, *recognizer.decoder_prompt]
    for token in (0, recognizer.model.eos):
        with torch.no_grad(), scoring_mode(recognizer.model):
            scores, _ = recognizer.model.decoder.score(
                torch.tensor(history), None, encoded.hidden[0]
            )
        total += float(scores[token])
        history.append(token)
    assert float(recognizer.log_likelihoods(encoded, [(0,)])) == pytest.approx(total, rel=ROUNDING)


@pytest.mark.parametrize("name", NAMES)
def test_exact_mode_is_the_definition(load_whisper: Any, name: str, caplog: Any) -> None:
    recognizer = load_whisper(name)
    hypotheses = [y for n in range(1, 3) for y in itertools.product((3, 4), repeat=n)]
    speech = [speech16(0.9, 0), speech16(0.6, 1)]
    with caplog.at_level(logging.WARNING):
        engine = GradientEngine(recognizer, mode="exact")
        engine.verify(speech)
    # Padding is masked nowhere; where all is padded to 30 s, a batch is as good as one alone.
    assert engine.batches == (name in ("whole", "own_tokens"))
    if not engine.batches:
        assert "padding changes what this encoder gives" in caplog.text
    if "decoder_conf" in KINDS[name] and KINDS[name]["decoder"] == "whisper":
        assert "of the decoder one at a time" in caplog.text
    weights = []
    for s in speech:
        found = recognizer.log_likelihoods(encode(recognizer, s), hypotheses)
        weights.append(torch.softmax(found, 0).tolist())
    groups = [[0, 1]] if engine.batches else [[0], [1]]
    results = []
    for group in groups:
        with engine.encode([speech[i] for i in group]) as batch:
            results += batch.expected_gradient_lengths(
                [hypotheses] * len(group), [weights[i] for i in group]
            )
    for s, w, found in zip(speech, weights, results, strict=True):
        expected = expected_gradient_length(recognizer, s, hypotheses, w, engine.parameters)
        assert expected > 0
        assert found.value == pytest.approx(expected, rel=DEFINITION)


@pytest.mark.parametrize("name", NAMES)
def test_words_have_confidences(load_whisper: Any, name: str) -> None:
    recognizer, speech = load_whisper(name), speech16(0.9)
    encoded = encode(recognizer, speech)
    best = BeamSearchSource()(recognizer, "u", encoded).hypotheses[0]
    measured = ConfidenceMeasure(level="word")(recognizer, encoded, best, 0.9)
    assert [w.text for w in measured.words] == best.text.split()
    assert all(0 <= w.start <= w.start + w.seconds <= 0.9 + 1e-9 for w in measured.words)


def test_the_window_is_not_left(load_whisper: Any) -> None:
    for name in ("own_tokens", "encoder"):
        recognizer = load_whisper(name)
        with pytest.raises(UtteranceError, match=r"30\.5 s, and Whisper hears 30 s at most"):
            recognizer.encode(speech16(30.5))
        with pytest.raises(UtteranceError, match="too_short"):
            recognizer.encode(speech16(0.02))
        assert recognizer.rate == 16000
    assert load_whisper("own_tokens").samples(speech16(1.0)) == 480_000


def test_ctc_beside_padding_is_refused(files: Any) -> None:
    f = files("refused")
    with pytest.raises(UnsupportedModelError, match="do_pad_trim: true and a CTC branch"):
        load_recognizer(f.config, f.checkpoint)


def test_unknown_sizes_are_refused(files: Any, tmp_path: Path) -> None:
    f = files("own_tokens")
    config = yaml.safe_load(f.config.read_text())
    config["encoder_conf"] = {"whisper_model": "gigantic"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UnsupportedModelError, match="whisper_model: gigantic is none of tiny"):
        load_recognizer(tmp_path / "config.yaml", f.checkpoint)


def test_the_language_is_trainings(files: Any) -> None:
    f = files("encoder")
    with pytest.raises(ConfigError, match="whisper_language in preprocessor_conf"):
        load_recognizer(f.config, f.checkpoint, prompts=Prompts.parse("<|en|>"))


def test_nothing_is_downloaded(files: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: Any, **__: Any) -> Any:
        raise AssertionError("a download")

    monkeypatch.setattr(whisper, "_download", download)
    f = files("own_tokens")
    assert load_recognizer(f.config, f.checkpoint).model.vocab_size == len(TOKENS)
