"""Confidence of a transcript, of its words and of its tokens, from the model's posteriors.

Axes: T encoder frames, L tokens, S steps, V vocabulary.

The transcript is laid over the audio by the model itself: CTC and transducers by their most
probable alignment of that transcript, attention decoders token by token with the transcript
as their history. Every step of it has a posterior over the vocabulary, and a measure says
how sure that posterior is, in [0, 1]. Steps make tokens, tokens words, words the utterance.

Measures, normalisations and aggregations are those of Laptev and Ginsburg (Fast Entropy-Based
Methods of Word-Level Confidence Estimation for End-To-End Automatic Speech Recognition, arXiv
2212.08703) as NeMo computes them; docs/confidence.md has the equations.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from espnet_egl.errors import ConfigError
from espnet_egl.hypotheses.forced_alignment import END, LEADING, Alignment, align
from espnet_egl.model.encoded import Encoded
from espnet_egl.model.recognizer import Recognizer
from espnet_egl.types import Hypothesis, TranscriptConfidence, Word

MEASURES = ("max_prob", "gibbs", "tsallis", "renyi", "posterior")
NORMS = ("linear", "exp")
AGGREGATIONS = ("mean", "min", "prod")
LEVELS = ("transcript", "word", "token")


@dataclass(frozen=True)
class ConfidenceMeasure:
    """How sure posteriors are, and how steps become tokens, words and the utterance.

    Args:
        measure: ``max_prob``, the largest probability; ``gibbs``, ``tsallis``, ``renyi``, by
            an entropy; ``posterior``, the probability of what the transcript emits there.
        alpha: Exponent of probabilities (not of ``posterior``): below 1 the improbable
            counts more. 1 makes every entropy Shannon's.
        norm: How an entropy is mapped to [0, 1]: ``linear`` or ``exp``.
        aggregation: Of steps to tokens, tokens to words and, unless ``level`` says otherwise,
            to the utterance: ``mean``, ``min`` or ``prod``.
        temperature: Posteriors are sharpened (below 1) or flattened (above) first.
        level: What the utterance's confidence comes from: ``transcript``, the exact
            P(y | x)^(1 / (L + 1)), whatever the measure; or its ``word`` s or ``token`` s,
            aggregated.
        exclude_blank: Leave blanks out; else they belong to the token before them.

    Raises:
        ConfigError: An option is not one of these.
    """

    measure: str = "tsallis"
    alpha: float = 0.33
    norm: str = "linear"
    aggregation: str = "mean"
    temperature: float = 1.0
    level: str = "transcript"
    exclude_blank: bool = True

    def __post_init__(self) -> None:
        for name, choices in (
            ("measure", MEASURES),
            ("norm", NORMS),
            ("aggregation", AGGREGATIONS),
            ("level", LEVELS),
        ):
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f"--confidence_{name} must be one of {', '.join(choices)}, "
                    f"not {getattr(self, name)}"
                )
        for name in ("alpha", "temperature"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"--confidence_{name} must be above 0, not {value:g}")

    def check_vocabulary(self, size: int) -> None:
        """Whether the measure stays within [0, 1] for so many symbols.

        Raises:
            ConfigError: Gibbs' entropy has its maximum at the uniform distribution only for
                some exponents.
        """
        if self.measure != "gibbs":
            return
        log_v, log_rest = math.log(size), math.log(size - 1)
        low = (log_v + 2 - math.sqrt(log_v**2 + 4)) / (2 * log_v)
        high = (1 + log_rest) / log_rest if size > 2 else math.inf
        if not low <= self.alpha <= high:
            raise ConfigError(
                f"--confidence_alpha {self.alpha:g}: with {size} symbols Gibbs' entropy takes "
                f"exponents from {low:.3f} to {high:.3f}"
            )

    def steps(self, log_probs: torch.Tensor, symbols: Sequence[int]) -> torch.Tensor:
        """The confidence of every step.

        Args:
            log_probs: (S, V), normalised.
            symbols: What is emitted: S ids.

        Returns:
            (S,) float64 in [0, 1].
        """
        log_probs = log_probs.double()
        if self.temperature != 1:
            log_probs = (log_probs / self.temperature).log_softmax(-1)
        if self.measure == "posterior":
            emitted = torch.tensor(symbols, dtype=torch.long, device=log_probs.device)
            return log_probs.gather(-1, emitted.unsqueeze(-1)).squeeze(-1).exp().clamp_max(1.0)
        return sureness(log_probs, self.measure, self.alpha, self.norm)

    def aggregate(self, values: Sequence[float]) -> float:
        """At least one value in [0, 1] -> one."""
        if self.aggregation == "min":
            return min(values)
        if self.aggregation == "prod":
            return math.prod(values)
        return math.fsum(values) / len(values)

    def join(
        self,
        steps: Sequence[float],
        alignment: Alignment,
        hypothesis: Hypothesis,
        words: Sequence[Sequence[int]],
    ) -> tuple[float, list[float]]:
        """From the confidence of steps to that of the utterance and of each of its words.

        The end of the sentence, where the model emits one, is evidence of the utterance
        beside its words or tokens. An empty transcript has its blanks, or its end.

        Args:
            steps: Of every step, in [0, 1]: S.
            alignment: The transcript over the audio.
            hypothesis: The transcript.
            words: The tokens of every word.
        """
        of_token: dict[int, list[float]] = {}
        for value, owner, blank in zip(steps, alignment.owners, alignment.blanks, strict=True):
            if owner != LEADING and not (blank and self.exclude_blank):
                of_token.setdefault(owner, []).append(value)
        tokens = {owner: self.aggregate(values) for owner, values in of_token.items()}
        of_words = [self.aggregate([tokens[i] for i in word]) for word in words]
        if self.level == "transcript":
            return hypothesis.confidence, of_words
        end = [tokens.pop(END)] if END in tokens else []
        if self.level == "word" and of_words:
            return self.aggregate([*of_words, *end]), of_words
        if tokens or end:
            return self.aggregate([*tokens.values(), *end]), of_words
        return self.aggregate(steps), of_words

    def __call__(
        self,
        recognizer: Recognizer,
        encoded: Encoded,
        hypothesis: Hypothesis,
        seconds: float,
        posterior: str = "auto",
    ) -> TranscriptConfidence:
        """The confidence of a transcript, and of its words with their times.

        Args:
            recognizer: The model.
            encoded: The utterance.
            hypothesis: The transcript.
            seconds: Duration of the audio, for the words' times.
            posterior: Which branch of the model is asked, see :func:`align`.

        Raises:
            UtteranceError: The model cannot emit the transcript in so few frames.
        """
        alignment = align(recognizer, encoded, hypothesis.tokens, posterior)
        words = words_of(recognizer.to_text, hypothesis.tokens)
        steps = self.steps(alignment.log_probs, alignment.symbols).tolist()
        utterance, confidences = self.join(steps, alignment, hypothesis, [own for _, own in words])
        shift, first = recognizer.clock(encoded, seconds)
        found = []
        for (text, own), confidence in zip(words, confidences, strict=True):
            start, end = 0.0, seconds
            if alignment.spans is not None:
                spans = (alignment.spans[own[0]][0], alignment.spans[own[-1]][1])
                # Of a window longer than the clip, words may be found in the silence after it.
                start, end = (min(max(s - first, 0.0) * shift, seconds) for s in spans)
            found.append(Word(text, start, end - start, confidence))
        return TranscriptConfidence(utterance, tuple(found))


# ---- measures ----


def sureness(log_probs: torch.Tensor, measure: str, alpha: float, norm: str) -> torch.Tensor:
    """How far distributions are from uniform: 0, to certain: 1.

    Args:
        log_probs: (..., V), normalised, V at least 2.
        measure: ``max_prob``, ``gibbs``, ``tsallis`` or ``renyi``.
        alpha: Exponent.
        norm: ``linear`` or ``exp``; ``max_prob`` has only one.

    Returns:
        (...,) in [0, 1].
    """
    size = log_probs.size(-1)
    log_v = math.log(size)
    if measure == "max_prob":
        floor = size**-alpha
        found = ((alpha * log_probs.amax(-1)).exp() - floor) / (1 - floor)
    else:
        # H in nats, and the most it can be: that of the uniform distribution.
        if math.isclose(alpha, 1.0):
            entropy, most = shannon(log_probs, 1.0), log_v
        elif measure == "gibbs":
            entropy, most = shannon(log_probs, alpha), alpha * size ** (1 - alpha) * log_v
        elif measure == "tsallis":
            entropy = ((alpha * log_probs).exp().sum(-1) - 1) / (1 - alpha)
            most = (size ** (1 - alpha) - 1) / (1 - alpha)
        else:
            entropy, most = (alpha * log_probs).logsumexp(-1) / (1 - alpha), log_v
        if norm == "linear":
            found = 1 - entropy / most
        else:
            found = ((-entropy).exp() - math.exp(-most)) / -math.expm1(-most)
    # Rounding alone leaves the interval.
    return found.clamp(0.0, 1.0)


def shannon(log_probs: torch.Tensor, alpha: float) -> torch.Tensor:
    """-sum_i p_i^alpha log p_i^alpha; a probability of 0 adds nothing."""
    powers = (alpha * log_probs).exp()
    return -torch.where(powers > 0, powers * alpha * log_probs, 0.0).sum(-1)


# ---- words ----


def words_of(
    to_text: Callable[[Sequence[int]], str], tokens: Sequence[int]
) -> list[tuple[str, list[int]]]:
    """The words of a transcript, each with the tokens that wrote it.

    The text itself says: a token belongs to the words whose characters it adds. That holds
    for characters with a space symbol, pieces that bring their space along, words, and
    pieces that are parts of a character or several words. A token that writes nothing but
    space belongs to none.

    Args:
        to_text: Token ids -> text.
        tokens: L ids.

    Returns:
        (word, its tokens' numbers, at least one) in the order of the text.
    """
    owners: dict[int, list[int]] = {}
    before, text = "", to_text(tokens)
    for number in range(len(tokens)):
        after = to_text(tokens[: number + 1])
        same = len(before)
        if not after.startswith(before):  # a byte that completes a character
            pairs = zip(before, after, strict=False)
            same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        old, new = after[:same], after[same:]
        first = len(old.split())
        if old and new and not (old[-1].isspace() or new[0].isspace()):
            first -= 1  # it goes on with a word
        for place in range(first, len(after.split())):
            owners.setdefault(place, []).append(number)
        before = after
    # A tokenizer that rewrites what it wrote leaves words whose tokens nobody can tell.
    everything = list(range(len(tokens)))
    return [(word, owners.get(i, everything)) for i, word in enumerate(text.split())]
