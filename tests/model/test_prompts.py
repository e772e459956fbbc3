"""Language and task of a clip, and what CTC says of them."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from tolerances import ROUNDING_OF_DOUBLES

from espnet_egl.errors import ConfigError, UtteranceError
from espnet_egl.hypotheses.ctc_sampling import after_prompt, collapse, draw
from espnet_egl.model.likelihoods import ctc_entries, ctc_log_likelihoods
from espnet_egl.model.prompts import Prompts, without_symbols

KNOWN = {"<eng>": 1, "<jpn>": 2, "<asr>": 3, "a": 4}


def posteriors(frames: int, symbols: int, seed: int = 0) -> torch.Tensor:
    draws = np.random.default_rng(seed).normal(size=(frames, symbols)) * 1.5
    return torch.tensor(draws).log_softmax(1)


def all_alignments(log_probs: torch.Tensor) -> dict[tuple[int, ...], float]:
    """P(y | x) of every transcript, by every alignment."""
    found: Counter[tuple[int, ...]] = Counter()
    frames, symbols = log_probs.shape
    for path in itertools.product(range(symbols), repeat=frames):
        (y,) = collapse(torch.tensor(path).unsqueeze(1), 0)
        found[y] += math.exp(sum(log_probs[t, s].item() for t, s in enumerate(path)))
    return found


@pytest.mark.parametrize("prefix", [(1,), (1, 2), (2, 2), (2, 1, 2), (1, 2, 1, 2, 1)])
def test_the_probability_of_a_prefix_is_that_of_all_that_begins_so(prefix: tuple[int, ...]) -> None:
    log_probs = posteriors(5, 3)
    expected = sum(p for y, p in all_alignments(log_probs).items() if y[: len(prefix)] == prefix)
    entries = ctc_entries(log_probs, prefix, 0)
    assert entries.shape == (5,)
    assert entries.exp().sum() == pytest.approx(expected, rel=ROUNDING_OF_DOUBLES)


def test_a_prefix_longer_than_the_audio_has_no_probability() -> None:
    assert ctc_entries(posteriors(2, 3), (1, 1), 0).logsumexp(0) == -math.inf


def test_all_transcripts_after_a_prompt_have_all_of_the_probability() -> None:
    log_probs, prompt = posteriors(5, 3), (1, 2)
    targets = [y for y in all_alignments(log_probs) if y[:2] == prompt]
    given = ctc_log_likelihoods(log_probs, targets, 0) - ctc_entries(
        log_probs, prompt, 0
    ).logsumexp(0)
    assert given.exp().sum() == pytest.approx(1, rel=ROUNDING_OF_DOUBLES)


def test_samples_after_a_prompt_come_as_often_as_their_probability_says() -> None:
    log_probs, prompt, size = posteriors(4, 3, seed=1), (2, 1), 20_000
    entries = ctc_entries(log_probs, prompt, 0)
    drawn = after_prompt(draw(log_probs.exp(), size, "a"), entries, prompt[-1], "b")
    shares = {y[1:]: n / size for y, n in Counter(collapse(drawn, 0)).items()}
    expected = {y[2:]: p for y, p in all_alignments(log_probs).items() if y[:2] == prompt}
    total = sum(expected.values())
    for y, probability in expected.items():
        error = 4 * math.sqrt(probability / total / size)
        assert shares.get(y, 0.0) == pytest.approx(probability / total, abs=error)
    assert shares.keys() <= expected.keys()


def test_prompts_are_symbols() -> None:
    assert Prompts.parse("<eng><asr>").symbols == ("<eng>", "<asr>")
    assert Prompts.parse(" <|en|> <|transcribe|>").symbols == ("<|en|>", "<|transcribe|>")
    assert not Prompts.parse(None)
    for prompt in ("eng", "<eng>asr", "<eng", "<>"):
        with pytest.raises(ConfigError, match=f"--prompt {prompt}: write symbols"):
            Prompts.parse(prompt)
    with pytest.raises(ConfigError, match="no symbol <enx>; of those it has: <eng>"):
        Prompts.parse("<enx>").check(KNOWN)


def test_languages_of_clips() -> None:
    prompts = Prompts.parse(None, {"a": "eng", "b": "<jpn>", "c": "xyz"})
    prompts.check(KNOWN)
    assert [prompts.language(uid, KNOWN) for uid in "ab"] == ["<eng>", "<jpn>"]
    with pytest.raises(UtteranceError, match="unknown_language"):
        prompts.language("c", KNOWN)
    with pytest.raises(UtteranceError, match="no_language"):
        prompts.language("d", KNOWN)
    assert Prompts().language("d", KNOWN) is None
    with pytest.raises(ConfigError, match="--utt2lang"):
        Prompts.parse(None, {"c": "xyz"}).check(KNOWN)


def test_what_a_person_reads_has_no_symbols() -> None:
    tokens = ["<eng>", "<asr>", "<0.00>", "a", "<space>", "<unk>", "<", ">", "<>"]
    assert without_symbols(tokens) == tokens[3:]
