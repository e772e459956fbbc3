"""Measures by hand and within [0, 1]; alignments against all there are; words and tokens."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import sentencepiece
import torch
from conftest import MODELS, is_transducer, make_speech
from espnet2.text.build_tokenizer import build_tokenizer
from hypothesis import given, settings

from espnet_egl.errors import ConfigError, UtteranceError
from espnet_egl.hypotheses.forced_alignment import (
    END,
    LEADING,
    Alignment,
    align,
    align_ctc,
    transducer_path,
)
from espnet_egl.hypotheses.sureness import (
    AGGREGATIONS,
    LEVELS,
    MEASURES,
    NORMS,
    ConfidenceMeasure,
    sureness,
    words_of,
)
from espnet_egl.model.modes import scoring_mode
from espnet_egl.types import Hypothesis

HALF = [0.5, 0.25, 0.25, 0.0]  # Shannon: 1.5 bits of 2


def logs(*rows: Sequence[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


# ---- measures ----


@pytest.mark.parametrize(
    ("measure", "alpha", "norm", "expected"),
    [
        # (p V - 1) / (V - 1), and the same of powers.
        ("max_prob", 1.0, "linear", (0.5 * 4 - 1) / 3),
        ("max_prob", 0.5, "linear", (math.sqrt(0.5) * 2 - 1) / (2 - 1)),
        # 1 - H / log V, and (exp(-H) V - 1) / (V - 1).
        *((name, 1.0, "linear", 0.25) for name in ("gibbs", "tsallis", "renyi")),
        *((name, 1.0, "exp", (2**-1.5 * 4 - 1) / 3) for name in ("gibbs", "tsallis", "renyi")),
        # H = sqrt(.5) log sqrt(1/.5) + 2 sqrt(.25) log sqrt(1/.25) = (.3536 + 1) log 2;
        # of the uniform: 4 * .5 * log 2 = 2 log 2.
        ("gibbs", 0.5, "linear", 1 - (math.sqrt(0.5) / 2 + 1) / 2),
        ("gibbs", 0.5, "exp", (2 ** -(math.sqrt(0.5) / 2 + 1) - 2**-2) / (1 - 2**-2)),
        # sum sqrt(p) = 1.7071: H = .7071 / .5; of the uniform: (2 - 1) / .5.
        ("tsallis", 0.5, "linear", 1 - math.sqrt(0.5)),
        (
            "tsallis",
            0.5,
            "exp",
            (math.exp(-2 * math.sqrt(0.5)) - math.exp(-2)) / (1 - math.exp(-2)),
        ),
        # H = 2 log2(1.7071) of 2 bits.
        ("renyi", 0.5, "linear", 1 - math.log2(1 + math.sqrt(0.5))),
        ("renyi", 0.5, "exp", ((1 + math.sqrt(0.5)) ** -2 * 4 - 1) / 3),
        # sum p^2 = .375: H = 1 - .375 of 1 - .25; -log2(.375) of 2 bits.
        ("tsallis", 2.0, "linear", 1 - 0.625 / 0.75),
        ("renyi", 2.0, "exp", (0.375 * 4 - 1) / 3),
    ],
)
def test_measures_by_hand(measure: str, alpha: float, norm: str, expected: float) -> None:
    assert sureness(logs(HALF), measure, alpha, norm).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.33, 1.0, 1.2])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("measure", MEASURES[:-1])
def test_uniform_is_0_and_certain_is_1(measure: str, norm: str, alpha: float) -> None:
    for size in (2, 4, 20):
        certain = [1.0] + [0.0] * (size - 1)
        found = sureness(logs([1 / size] * size, certain), measure, alpha, norm)
        assert found.tolist() == pytest.approx([0, 1], abs=1e-9)


@given(
    logits=st.lists(st.floats(-30, 30), min_size=2, max_size=12),
    measure=st.sampled_from(MEASURES[:-1]),
    norm=st.sampled_from(NORMS),
    alpha=st.floats(0.05, 3.0),
)
def test_measures_stay_within_0_and_1(
    logits: list[float], measure: str, norm: str, alpha: float
) -> None:
    try:
        ConfidenceMeasure(measure, alpha).check_vocabulary(len(logits))
    except ConfigError:
        alpha = 1.0
    log_probs = torch.tensor([logits], dtype=torch.float64).log_softmax(-1)
    assert 0 <= sureness(log_probs, measure, alpha, norm).item() <= 1
    # Without the clamp: it only takes rounding away.
    exact = unclamped(log_probs, measure, alpha, norm)
    assert -1e-6 <= exact <= 1 + 1e-6


def unclamped(log_probs: torch.Tensor, measure: str, alpha: float, norm: str) -> float:
    clamp = torch.Tensor.clamp
    try:
        torch.Tensor.clamp = lambda self, *_: self  # type: ignore[method-assign,assignment]
        return sureness(log_probs, measure, alpha, norm).item()
    finally:
        torch.Tensor.clamp = clamp  # type: ignore[method-assign]


def test_temperature_flattens_first() -> None:
    """p = (.8, .2) at T = 2: the roots' shares, 2 : 1."""
    measure = ConfidenceMeasure("max_prob", 1.0, temperature=2.0)
    assert measure.steps(logs([0.8, 0.2]), [0]).item() == pytest.approx(2 * 2 / 3 - 1)
    posterior = ConfidenceMeasure("posterior", temperature=2.0)
    assert posterior.steps(logs([0.8, 0.2]), [1]).item() == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("measure", "entropy"),
        ("norm", "log"),
        ("aggregation", "max"),
        ("level", "frame"),
        ("alpha", 0.0),
        ("alpha", math.nan),
        ("temperature", -1.0),
        ("temperature", math.inf),
    ],
)
def test_wrong_options_are_refused(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"--confidence_{option} must be"):
        ConfidenceMeasure(**{option: value})


def test_exponents_that_leave_the_interval_are_refused() -> None:
    """With alpha = 0.1 one symbol ahead of 19 others has more of Gibbs' entropy than none."""
    log_probs = torch.zeros(1, 20, dtype=torch.float64)
    log_probs[0, 0] = 4.0
    assert unclamped(log_probs.log_softmax(-1), "gibbs", 0.1, "linear") < 0
    with pytest.raises(ConfigError, match=r"takes exponents from 0\.233 to 1\.340"):
        ConfidenceMeasure("gibbs", 0.1).check_vocabulary(20)
    ConfidenceMeasure("gibbs", 0.33).check_vocabulary(20)
    ConfidenceMeasure("tsallis", 0.1).check_vocabulary(20)


# ---- steps -> tokens -> words -> utterance ----

# "a b": a blank, a over two frames, a blank, the space, b, and the end of the sentence.
STEPS = [0.9, 0.5, 0.8, 0.4, 1.0, 0.6, 0.7]
EXAMPLE = Alignment(
    torch.zeros(7, 2),
    symbols=(0, 3, 3, 0, 2, 4, 8),
    owners=(LEADING, 0, 0, 0, 1, 2, END),
    blanks=(True, False, False, True, False, False, False),
    spans=None,
)
WORDS = [[0], [2]]


@pytest.mark.parametrize(
    ("options", "utterance", "words"),
    [
        ({"level": "transcript"}, 0.2, [0.65, 0.6]),
        ({"aggregation": "mean"}, (0.65 + 0.6 + 0.7) / 3, [0.65, 0.6]),
        ({"aggregation": "min"}, 0.5, [0.5, 0.6]),
        ({"aggregation": "prod"}, 0.4 * 0.6 * 0.7, [0.4, 0.6]),
        ({"aggregation": "mean", "level": "token"}, (0.65 + 1 + 0.6 + 0.7) / 4, [0.65, 0.6]),
        ({"aggregation": "prod", "level": "token"}, 0.4 * 1 * 0.6 * 0.7, [0.4, 0.6]),
        # With its blanks a has (.5, .8, .4); blanks before every token are nobody's.
        ({"aggregation": "min", "exclude_blank": False}, 0.4, [0.4, 0.6]),
        ({"aggregation": "prod", "exclude_blank": False}, 0.16 * 0.6 * 0.7, [0.16, 0.6]),
    ],
)
def test_aggregation_by_hand(options: dict[str, Any], utterance: float, words: list[float]) -> None:
    best = Hypothesis((3, 2, 4), 4 * math.log(0.2), "a b")
    found = ConfidenceMeasure(**{"level": "word", **options}).join(STEPS, EXAMPLE, best, WORDS)
    assert found[0] == pytest.approx(utterance)
    assert found[1] == pytest.approx(words)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("level", ["word", "token"])
def test_what_has_no_words(aggregation: str, level: str) -> None:
    """An empty transcript has its blanks, or its end; a lonely space has itself."""
    measure = ConfidenceMeasure(aggregation=aggregation, level=level)
    empty = Hypothesis((), -1.0, "")
    silent = Alignment(torch.zeros(2, 2), (0, 0), (LEADING,) * 2, (True,) * 2, ())
    expected = {"mean": 0.7, "min": 0.5, "prod": 0.45}[aggregation]
    assert measure.join([0.9, 0.5], silent, empty, []) == (pytest.approx(expected), [])
    ended = Alignment(torch.zeros(1, 2), (8,), (END,), (False,), ())
    assert measure.join([0.3], ended, empty, []) == (0.3, [])
    space = Alignment(torch.zeros(2, 2), (0, 2), (LEADING, 0), (True, False), ((1, 2),))
    assert measure.join([0.9, 0.4], space, Hypothesis((2,), -1.0, " "), []) == (0.4, [])


# ---- alignments ----


def collapse(path: Sequence[int]) -> list[int]:
    return [s for i, s in enumerate(path) if s and (i == 0 or path[i - 1] != s)]


@settings(max_examples=60, deadline=None)
@given(
    frames=st.integers(1, 6),
    tokens=st.lists(st.integers(1, 2), max_size=4),
    seed=st.integers(0, 1000),
)
def test_the_ctc_alignment_is_the_best_of_all(frames: int, tokens: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    log_probs = torch.randn(frames, 3, generator=generator, dtype=torch.float64).log_softmax(-1)
    paths = [p for p in itertools.product(range(3), repeat=frames) if collapse(p) == tokens]

    def score(path: Sequence[int]) -> float:
        return sum(log_probs[t, s].item() for t, s in enumerate(path))

    if not paths:
        with pytest.raises(UtteranceError, match="no_alignment"):
            align_ctc(log_probs, tokens, blank=0)
        return
    found = align_ctc(log_probs, tokens, blank=0)
    best = max(paths, key=score)
    assert found.symbols == best
    assert found.blanks == tuple(s == 0 for s in best)
    assert found.spans is not None
    assert len(found.spans) == len(tokens)
    for token, (start, end) in enumerate(found.spans):
        assert set(best[start:end]) == {tokens[token]}
        assert set(found.owners[start:end]) == {token}
    assert list(found.owners) == sorted(found.owners)
    assert found.owners[0] in (LEADING, 0)


@settings(max_examples=60, deadline=None)
@given(frames=st.integers(1, 5), count=st.integers(0, 4), seed=st.integers(0, 1000))
def test_the_transducer_path_is_the_best_of_all(frames: int, count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    blank = torch.randn(frames, count + 1, generator=generator, dtype=torch.float64) - 1
    label = torch.randn(frames, count, generator=generator, dtype=torch.float64) - 1

    def walk(turns: Sequence[int]) -> tuple[float, list[tuple[int, int]]]:
        """``turns``: the frame of every token."""
        path, score, u = [], 0.0, 0
        for t in range(frames):
            for _ in range(turns.count(t)):
                path.append((t, u))
                score += label[t, u].item()
                u += 1
            path.append((t, u))
            score += blank[t, u].item()
        return score, path

    ways = map(walk, itertools.combinations_with_replacement(range(frames), count))
    assert transducer_path(blank, label) == max(ways)[1]


@pytest.mark.parametrize("tokens", [(), (3,), (3, 2, 4, 4)])
@pytest.mark.parametrize(
    "name", ["ctc_conformer", "ctc_ebranchformer", "hybrid_rnn", *filter(is_transducer, MODELS)]
)
def test_alignments_of_real_models(load: Any, name: str, tokens: tuple[int, ...]) -> None:
    recognizer = load(name)
    with torch.no_grad(), scoring_mode(recognizer.model):
        encoded = recognizer.encode(make_speech())
    found = align(recognizer, encoded, tokens)
    steps, size = len(found.symbols), len(recognizer.model.token_list)
    kind = name.split("_")[0]
    assert (
        steps
        == {
            "ctc": encoded.frames,
            "hybrid": len(tokens) + 1,
            "transducer": encoded.frames + len(tokens),
        }[kind]
    )
    assert found.log_probs.shape == (steps, size)
    assert torch.allclose(found.log_probs.exp().sum(-1), torch.ones(steps), atol=1e-5)
    spoken = [s for s, blank in zip(found.symbols, found.blanks, strict=True) if not blank]
    assert tuple(collapse(found.symbols) if kind == "ctc" else spoken) == (
        (*tokens, recognizer.model.eos) if kind == "hybrid" else tokens
    )
    assert found.spans is not None
    assert all(0 <= start < end <= encoded.frames for start, end in found.spans)
    assert sorted(found.spans) == list(found.spans)
    # What is emitted has the probability of this way, at most that of the transcript.
    emitted = torch.tensor(found.symbols).unsqueeze(-1)
    way = found.log_probs.double().gather(-1, emitted).sum().item()
    whole = recognizer.log_likelihoods(encoded, [tokens]).item()
    assert way == pytest.approx(whole, abs=1e-3) if kind == "hybrid" else way <= whole + 1e-3
    assert torch.equal(align(recognizer, encoded, tokens).log_probs, found.log_probs)


def test_the_branch_can_be_chosen(load: Any) -> None:
    recognizer = load("hybrid_rnn")
    with torch.no_grad(), scoring_mode(recognizer.model):
        encoded = recognizer.encode(make_speech())
    assert len(align(recognizer, encoded, (3,), "ctc").symbols) == encoded.frames
    assert len(align(recognizer, encoded, (3,), "joint").symbols) == 2
    with pytest.raises(ConfigError, match="no such branch"):
        align(recognizer, encoded, (3,), "transducer")


def test_a_decoder_without_ctc_tells_no_times(
    load_fresh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = load_fresh("hybrid_rnn")
    with torch.no_grad(), scoring_mode(recognizer.model):
        encoded = recognizer.encode(make_speech())
    recognizer.model.ctc = None
    found = ConfidenceMeasure()(recognizer, encoded, Hypothesis((3, 2, 4), -1.0, "a b"), 0.6)
    assert [(w.text, w.start, w.seconds) for w in found.words] == [("a", 0, 0.6), ("b", 0, 0.6)]


@pytest.mark.parametrize("name", ["ctc_conformer", "hybrid_rnn", "transducer", "transducer_task"])
@pytest.mark.parametrize("measure", MEASURES)
def test_words_of_real_models(load: Any, name: str, measure: str) -> None:
    recognizer = load(name)
    with torch.no_grad(), scoring_mode(recognizer.model):
        encoded = recognizer.encode(make_speech())
    best = Hypothesis((3, 4, 2, 5, 2), -3.0, "ab c ")
    for aggregation, level in itertools.product(AGGREGATIONS, LEVELS):
        conf = ConfidenceMeasure(measure, aggregation=aggregation, level=level)
        found = conf(recognizer, encoded, best, 0.6)
        assert [w.text for w in found.words] == ["ab", "c"]
        assert all(0 <= w.confidence <= 1 for w in found.words)
        assert 0 <= found.utterance <= 1
        first, second = found.words
        assert 0 <= first.start < first.start + first.seconds <= second.start + 1e-9
        assert second.start + second.seconds <= 0.6 + 1e-9
    nothing = ConfidenceMeasure(measure)(recognizer, encoded, Hypothesis((), -3.0, ""), 0.6)
    assert nothing.words == ()
    assert 0 <= nothing.utterance <= 1


# ---- words ----


def grouped(tokens: list[str], to_text: Any) -> list[tuple[str, list[str]]]:
    found = words_of(lambda ids: to_text([tokens[i] for i in ids]), range(len(tokens)))
    return [(word, [tokens[i] for i in own]) for word, own in found]


def test_words_of_characters() -> None:
    to_text = build_tokenizer("char").tokens2text
    assert grouped(["a", "b", "<space>", "c"], to_text) == [("ab", ["a", "b"]), ("c", ["c"])]
    spaces = ["<space>", "a", "<space>", "<space>", "b", "<space>"]
    assert grouped(spaces, to_text) == [("a", ["a"]), ("b", ["b"])]
    assert grouped(["a", "<unk>", "b"], to_text) == [("a<unk>b", ["a", "<unk>", "b"])]
    assert grouped(["<space>"], to_text) == grouped([], to_text) == []


def test_words_of_words() -> None:
    to_text = build_tokenizer("word").tokens2text
    assert grouped(["a", "bc", "a"], to_text) == [("a", ["a"]), ("bc", ["bc"]), ("a", ["a"])]
    # Phonemes and other models without a tokenizer: every token is a word.
    assert grouped(["HH", "AY1"], " ".join) == [("HH", ["HH"]), ("AY1", ["AY1"])]


@pytest.fixture(scope="module")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Sentencepiece with byte fallback, on a few words."""
    directory = tmp_path_factory.mktemp("bpe")
    (directory / "text").write_text("one two three four five one two nineteen none\n" * 20)
    sentencepiece.SentencePieceTrainer.Train(
        input=str(directory / "text"),
        model_prefix=str(directory / "bpe"),
        vocab_size=290,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return build_tokenizer("bpe", bpemodel=Path(f"{directory}/bpe.model"))


def test_words_of_pieces(bpe: Any) -> None:
    pieces = ["▁t", "w", "o", "▁", "one", "▁f", "o", "u", "r"]
    assert grouped(pieces, bpe.tokens2text) == [
        ("two", ["▁t", "w", "o"]),
        ("one", ["one"]),
        ("four", ["▁f", "o", "u", "r"]),
    ]
    # A piece that starts no word continues one, also at the very start.
    assert grouped(["o", "n", "▁t"], bpe.tokens2text) == [("on", ["o", "n"]), ("t", ["▁t"])]
    # Sentencepiece sets an unknown piece apart.
    unknown = grouped(["▁t", "<unk>", "o"], bpe.tokens2text)
    assert unknown == [("t", ["▁t"]), ("⁇", ["<unk>"]), ("o", ["o"])]


def test_words_of_bytes(bpe: Any) -> None:
    """A character in three bytes is one word with its neighbours."""
    pieces = ["▁t", "<0xE3>", "<0x81>", "<0x82>", "o", "▁f"]
    assert grouped(pieces, bpe.tokens2text) == [("tあo", pieces[:5]), ("f", ["▁f"])]


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_every_word_has_its_tokens_in_order(bpe: Any, data: Any) -> None:
    alphabet = ["▁", "▁t", "o", "n", "<unk>", "one", "<0xE3>", "<0x81>", "<0x82>"]
    tokens = data.draw(st.lists(st.sampled_from(alphabet), max_size=8))
    ids = range(len(tokens))
    text = bpe.tokens2text(tokens)
    found = words_of(lambda some: bpe.tokens2text([tokens[i] for i in some]), ids)
    assert [word for word, _ in found] == text.split()
    assert all(own and own == sorted(set(own)) for _, own in found)


def test_a_piece_of_two_words_belongs_to_both() -> None:
    found = grouped(["▁of▁the", "m"], lambda t: "".join(t).replace("▁", " ").strip())
    assert found == [("of", ["▁of▁the"]), ("them", ["▁of▁the", "m"])]
