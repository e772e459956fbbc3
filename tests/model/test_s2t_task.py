"""OWSM and OWSM-CTC against ESPnet's own decoding and training."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import owsm
import pytest
import torch
import yaml
from conftest import ModelFiles, make_speech
from tolerances import DEFINITION, ROUNDING

from espnet_egl.errors import ConfigError, UnsupportedModelError, UtteranceError
from espnet_egl.gradients.engine import GradientEngine
from espnet_egl.gradients.parameters import select_parameters
from espnet_egl.gradients.reference import expected_gradient_length, gradient_length
from espnet_egl.gradients.taps import TappedNorms
from espnet_egl.hypotheses.beam import BeamSearchSource
from espnet_egl.hypotheses.ctc_sampling import CTCSampleSource
from espnet_egl.hypotheses.sureness import ConfidenceMeasure
from espnet_egl.model import compat
from espnet_egl.model.loading import load_recognizer
from espnet_egl.model.modes import scoring_mode
from espnet_egl.model.prompts import Prompts

KINDS = {
    "owsm_ctc": owsm.OWSM_CTC,
    # Prompt and audio of the same size; no intermediate CTC.
    "owsm_ctc_plain": {
        **owsm.OWSM_CTC,
        "encoder_conf": {
            **owsm.OWSM_CTC["encoder_conf"],
            "interctc_layer_idx": [],
            "interctc_use_conditioning": False,
        },
        "promptencoder_conf": {**owsm.OWSM_CTC["promptencoder_conf"], "output_size": 16},
        "model_conf": {"ctc_asr_only": [False]},
    },
    "owsm": owsm.OWSM,
    "owsm_attention": {**owsm.OWSM, "model_conf": {"ctc_weight": 0.0}},
}
WITH_CTC = [name for name in KINDS if name != "owsm_attention"]
SEARCH = "--beam_size 6 --maxlenratio -8"
# A search that stops at a length leaves the end out of its scores.
UNBOUND = "--beam_size 6"
# A language that has little probability by itself, and one that is not known.
PROMPTS = ["<eng><asr>", "<nolang>"]
HYPOTHESES = [y for n in range(3) for y in itertools.product((21, 22, 25), repeat=n)]

Load = Callable[..., Any]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ModelFiles]:
    root = tmp_path_factory.mktemp("s2t")

    @cache
    def get(name: str) -> ModelFiles:
        return owsm.write_model(root / name, **KINDS[name])

    return get


@pytest.fixture(scope="module")
def load_s2t(files: Callable[[str], ModelFiles]) -> Load:
    @cache
    def get(name: str, prompt: str = "<eng><asr>", args: str = SEARCH) -> Any:
        f = files(name)
        return load_recognizer(
            f.config, f.checkpoint, inference_args=args, nbest=6, prompts=Prompts.parse(prompt)
        )

    return get


def window(speech: np.ndarray) -> np.ndarray:
    return np.pad(speech, (0, owsm.WINDOW * owsm.FRONTEND["fs"] - len(speech)))


def espnet(files: ModelFiles, ctc_only: bool, prompt: str, **options: Any) -> Any:
    """ESPnet's own decoding."""
    _, decoder = compat.s2t_inference(ctc_only)
    return decoder(
        str(files.config),
        str(files.checkpoint),
        lang_sym=prompt[: prompt.index(">") + 1],
        task_sym="<asr>",
        beam_size=6,
        nbest=6,
        **options,
    )


def encode(recognizer: Any, speech: np.ndarray) -> Any:
    with torch.no_grad(), scoring_mode(recognizer.model):
        return recognizer.encode(speech)


# ---- search and likelihoods ----


@pytest.mark.parametrize("name", ["owsm_ctc", "owsm_ctc_plain"])
def test_hypotheses_of_owsm_ctc_are_espnets_own(files: Any, load_s2t: Load, name: str) -> None:
    """Where the language is not known, all that it emits; its scores are their log P."""
    speech, recognizer = make_speech(1.3), load_s2t(name, "<nolang>", UNBOUND)
    encoded = encode(recognizer, speech)
    own = espnet(files(name), True, "<nolang>")(window(speech))
    own = own if isinstance(own, list) else own[0]
    found = recognizer.search(encoded)
    assert found == [token_int for _, _, token_int, _, _ in own]
    expected = torch.tensor([float(hyp.score) for *_, hyp in own]).double()
    torch.testing.assert_close(
        recognizer.log_likelihoods(encoded, found), expected, rtol=ROUNDING, atol=ROUNDING
    )
    assert [recognizer.to_text(y) for y in found] == [plain for _, _, _, plain, _ in own]


def test_the_best_sample_of_owsm_ctc_is_espnets_best_path(files: Any, load_s2t: Load) -> None:
    speech, recognizer = make_speech(1.3), load_s2t("owsm_ctc", "<nolang>")
    if hasattr(compat.s2t_inference(True)[1], "best_path"):
        own = espnet(files("owsm_ctc"), True, "<nolang>").best_path(window(speech))
    else:
        from espnet2.bin.s2t_inference_ctc import Speech2TextGreedySearch

        f = files("owsm_ctc")
        greedy = Speech2TextGreedySearch(str(f.config), str(f.checkpoint), lang_sym="<nolang>")
        own = greedy(window(speech))
    own = own if isinstance(own, list) else own[0]
    nbest = CTCSampleSource(size=5)(recognizer, "u", encode(recognizer, speech))
    assert tuple(own[0][2]) in [h.tokens for h in nbest.hypotheses]


@pytest.mark.parametrize("name", ["owsm", "owsm_attention"])
def test_hypotheses_of_owsm_are_espnets_own(files: Any, load_s2t: Load, name: str) -> None:
    """The search's scores, by the decoder alone, are the transcripts' log P."""
    speech, recognizer = make_speech(1.3), load_s2t(name, args=f"{UNBOUND} --ctc_weight 0")
    encoded = encode(recognizer, speech)
    own = espnet(files(name), False, "<eng>", ctc_weight=0.0)(window(speech))
    own = own if isinstance(own, list) else own[0]
    ended = [token_int[3:] for _, _, token_int, _, _ in own]
    found = [[t for t in y if t != recognizer.model.eos] for y in recognizer.search(encoded)]
    assert [[t for t in y if t != recognizer.model.blank_id] for y in found] == ended
    expected = torch.tensor([float(hyp.score) for *_, hyp in own]).double()
    torch.testing.assert_close(
        recognizer.log_likelihoods(encoded, found, "attention"), expected, rtol=ROUNDING, atol=1e-4
    )


def test_the_decoders_likelihood_is_of_the_transcript_given_the_prompt(load_s2t: Load) -> None:
    """Token by token, whatever the chunks."""
    recognizer = load_s2t("owsm")
    encoded, model = encode(recognizer, make_speech()), recognizer.model
    prompt = [model.sos, *recognizer.decoder_prompt]
    assert [model.token_list[t] for t in prompt[1:]] == ["<eng>", "<asr>", "<notimestamps>"]
    for y in ((), (21,), (22, 25, 22)):
        total, history = 0.0, list(prompt)
        for token in (*y, model.eos):
            with torch.no_grad(), scoring_mode(model):
                scores, _ = model.decoder.score(torch.tensor(history), None, encoded.hidden[0])
            total += float(scores[token])
            history.append(token)
        (found,) = recognizer.log_likelihoods(encoded, [y])
        assert found == pytest.approx(total, rel=ROUNDING)


def test_prompts_make_a_difference_and_are_put_back(load_s2t: Load) -> None:
    for name in ("owsm_ctc", "owsm"):
        recognizer = load_s2t(name)
        recognizer.prompts = Prompts.parse(None, {"e": "eng", "j": "jpn", "x": "xxx"})
        found = []
        for uid in "ejej":
            with recognizer.prompted([uid]):
                encoded = encode(recognizer, make_speech())
                found.append(float(recognizer.log_likelihoods(encoded, [(21, 22)])))
        assert found[:2] == found[2:]
        assert found[0] != pytest.approx(found[1], rel=1e-3)
        assert recognizer.prompt == "<eng><asr>"
        for uid, reason in (("x", "unknown_language"), ("y", "no_language")):
            with pytest.raises(UtteranceError, match=reason), recognizer.prompted([uid]):
                pass
        recognizer.prompts = Prompts()


# ---- the loss ----


def loss_of_training(recognizer: Any, speech: np.ndarray, text: str) -> torch.Tensor:
    """By ESPnet's own preprocessing and batch, from a recipe's texts."""
    from espnet2.train.collate_fn import CommonCollateFn

    process = recognizer._preprocessor
    times = "" if type(recognizer).__name__ == "OWSMCTC" else "<notimestamps>"
    texts = {"text": f"<eng><asr>{times} {text}", "text_ctc": text, "text_prev": "<na>"}
    data = process("u", {"speech": speech, **texts})
    _, batch = CommonCollateFn(int_pad_value=-1)([("u", data)])
    loss, _, _ = recognizer.model(**batch)
    return loss


@pytest.mark.parametrize("name", KINDS)
def test_the_loss_is_trainings_own(load_s2t: Load, name: str) -> None:
    recognizer, speech = load_s2t(name), make_speech(1.3)
    tokens = recognizer.to_tokens("a bad bead")
    for times in ("<0.00> a bad bead", "<0.00> a bad bead<1.50>", "<0.00> a bad<1.00> bead <1.50>"):
        assert tokens == recognizer.to_tokens(f"<eng><asr>{times}")
    assert recognizer.to_text(tokens) == "a bad bead"
    with scoring_mode(recognizer.model):
        expected = loss_of_training(recognizer, speech, "a bad bead")
        found = recognizer.training_loss(speech, tokens)
        assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
        # And its gradient, by a loop of nothing but autograd.
        parameters = select_parameters(recognizer.model)
        gradients = torch.autograd.grad(expected, list(parameters.values()), allow_unused=True)
    length = sum(float(g.double().square().sum()) for g in gradients if g is not None)
    found = gradient_length(recognizer, speech, tokens, parameters)
    assert found == pytest.approx(length, rel=1e-5)
    # Every parameter is moved, but what no prompt reads.
    unused = {n for (n, _), g in zip(parameters.items(), gradients, strict=True) if g is None}
    assert not unused


def shares(recognizer: Any, speech: np.ndarray) -> list[float]:
    encoded = encode(recognizer, speech)
    return torch.softmax(recognizer.log_likelihoods(encoded, HYPOTHESES), 0).tolist()


@pytest.mark.parametrize("params", ["all", "encoder", "head", r"norm|embed"])
@pytest.mark.parametrize("name", KINDS)
def test_exact_mode_is_the_definition(load_s2t: Load, name: str, params: str) -> None:
    prompt = "<nolang>" if (name, params) == ("owsm_ctc", "head") else "<eng><asr>"
    recognizer = load_s2t(name, prompt)
    speech = [make_speech(1.3, seed=0), make_speech(0.5, seed=1), make_speech(0.4, seed=2)]
    weights = [shares(recognizer, s) for s in speech]
    engine = GradientEngine(recognizer, params, mode="exact")
    engine.verify(speech)
    assert engine.batches
    assert isinstance(engine._norms, TappedNorms)
    with engine.encode(speech) as batch:
        found = batch.expected_gradient_lengths([HYPOTHESES] * 3, weights)
    for s, w, result in zip(speech, weights, found, strict=True):
        expected = expected_gradient_length(recognizer, s, HYPOTHESES, w, engine.parameters)
        assert expected > 0
        assert result.value == pytest.approx(expected, rel=DEFINITION)


# ---- sources and confidences ----


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("name", WITH_CTC)
def test_hypotheses_can_be_trusted_and_have_confidences(
    load_s2t: Load, name: str, prompt: str
) -> None:
    if name == "owsm" and prompt == "<nolang>":
        prompt = "<jpn>"
    recognizer, speech = load_s2t(name, prompt), make_speech(1.3)
    encoded = encode(recognizer, speech)
    for source in (BeamSearchSource(), CTCSampleSource(size=30), BeamSearchSource("ctc")):
        source.prepare(recognizer)
        nbest = source(recognizer, "u", encoded)
        assert 0 < nbest.mass <= 1 + 1e-3
        if recognizer.ctc_prompt:
            assert not any(h.tokens[:2] == recognizer.ctc_prompt for h in nbest.hypotheses)
        assert not any(recognizer.model.na in h.tokens for h in nbest.hypotheses)
        best = max(nbest.hypotheses, key=lambda h: len(h.text))
        measured = ConfidenceMeasure(measure="posterior", level="word")(
            recognizer, encoded, best, 1.3, source.posterior
        )
        assert [w.text for w in measured.words] == best.text.split()
        assert all(0 <= w.start <= w.start + w.seconds <= 1.3 + 1e-9 for w in measured.words)
        assert all(0 <= w.confidence <= 1 for w in measured.words)


def test_words_are_where_they_are_heard(load_s2t: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the frames of the prompt, by the window's clock."""
    recognizer = load_s2t("owsm_ctc")
    encoded = encode(recognizer, make_speech(1.3))
    log_probs = torch.full((encoded.frames, recognizer.model.vocab_size), -20.0)
    log_probs[:, 0] = -0.1
    lang, task = recognizer.ctc_prompt
    (piece,) = recognizer.to_tokens("a")[:1]
    for frame, token in ((0, lang), (1, task), (6, piece), (7, piece)):
        log_probs[frame, token], log_probs[frame, 0] = -0.01, -20.0
    monkeypatch.setattr(recognizer.model.ctc, "log_softmax", lambda _: log_probs.unsqueeze(0))
    nbest = BeamSearchSource()(recognizer, "u", encoded)
    hypothesis = type(nbest.hypotheses[0])((piece,), -0.1, recognizer.to_text([piece]))
    (word,) = ConfidenceMeasure()(recognizer, encoded, hypothesis, 1.3).words
    frame = owsm.WINDOW / (encoded.frames - 2)
    assert (word.start, word.seconds) == pytest.approx((4 * frame, 2 * frame))


# ---- the window ----


def test_clips_are_not_cut_off_and_stay_what_they_are(load_s2t: Load) -> None:
    recognizer, speech = load_s2t("owsm_ctc"), make_speech(1.3)
    process = recognizer.preprocess()
    assert np.array_equal(process("u", {"speech": speech})["speech"], speech)
    long = make_speech(2.1)
    for use in (lambda: process("u", {"speech": long}), lambda: recognizer.encode(long)):
        with pytest.raises(UtteranceError, match=r"2\.1 s, and the model hears 2 s at most"):
            use()
    with pytest.raises(UtteranceError, match="too_short"):
        recognizer.encode(speech[:0])
    assert recognizer.samples(speech) == 16000
    alone, padded = (encode(recognizer, s) for s in (speech, window(speech)))
    assert torch.equal(alone.hidden, padded.hidden)


# ---- what is refused ----


@pytest.mark.parametrize(
    ("prompt", "args", "message"),
    [
        ("<enx><asr>", "", r"no symbol <enx>; of those it has: <eng>"),
        ("<eng><asr><jpn>", "", "takes a language and a task"),
        ("<eng><st_eng>", "", "of a translation nobody has the transcript"),
        ("", "--lang_sym xyz", "lang_sym and task_sym.*no symbol <xyz>"),
        ("", "--quantize_s2t_model true", "quantize_s2t_model"),
    ],
)
def test_what_cannot_be_scored_is_refused(files: Any, prompt: str, args: str, message: str) -> None:
    f = files("owsm_ctc")
    with pytest.raises((ConfigError, UnsupportedModelError), match=message):
        load_recognizer(f.config, f.checkpoint, inference_args=args, prompts=Prompts.parse(prompt))


def test_transcripts_with_times_are_refused(files: Any) -> None:
    f = files("owsm")
    with pytest.raises(UnsupportedModelError, match="predict_time"):
        load_recognizer(f.config, f.checkpoint, inference_args="--predict_time true")


def test_a_model_that_takes_no_prompt_says_so(model_files: Any) -> None:
    f = model_files("ctc_conformer")
    with pytest.raises(ConfigError, match="--prompt and --utt2lang are for models that take one"):
        load_recognizer(f.config, f.checkpoint, prompts=Prompts.parse("<eng>"))


def test_the_decodings_config_tells_the_language(files: Any, tmp_path: Path) -> None:
    f = files("owsm_ctc")
    (tmp_path / "decode.yaml").write_text(yaml.safe_dump({"lang_sym": "jpn", "beam_size": 4}))
    recognizer = load_recognizer(f.config, f.checkpoint, tmp_path / "decode.yaml")
    assert recognizer.prompt == "<jpn><asr>"
    recognizer = load_recognizer(
        f.config, f.checkpoint, tmp_path / "decode.yaml", prompts=Prompts.parse("<eng>")
    )
    assert recognizer.prompt == "<eng><asr>"


def test_a_transcript_needs_a_language_where_none_is_known(load_s2t: Load) -> None:
    recognizer = load_s2t("owsm_ctc", "<nolang>")
    with pytest.raises(UtteranceError, match="no_language"):
        recognizer.to_tokens("a bad")
    known = load_s2t("owsm_ctc", "<jpn>")
    assert tuple(recognizer.to_tokens("<jpn><asr> a bad")) == (
        *known.ctc_prompt,
        *known.to_tokens("a bad"),
    )
    with pytest.raises(UtteranceError, match="empty_transcript"):
        known.to_tokens("<jpn><asr>")


def test_samples_that_nobody_could_train_on_are_none(
    load_s2t: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``<na>``: of a clip that has no transcript, the model's loss is nothing."""
    recognizer = load_s2t("owsm_ctc")
    encoded, na = encode(recognizer, make_speech()), recognizer.model.na
    bias = recognizer.model.ctc.ctc_lo.bias.detach().clone()
    bias[na] = 50.0
    monkeypatch.setattr(recognizer.model.ctc.ctc_lo.bias, "data", bias)
    with pytest.raises(UtteranceError, match="no_hypothesis"):
        CTCSampleSource(size=3)(recognizer, "u", encoded)
