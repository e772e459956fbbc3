"""The words of the project as types (see docs/architecture.md)."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Utterance:
    """One clip of the pool, ready for the model.

    Attributes:
        uid: Utterance id.
        speech: Waveform (samples,) in [-1, 1], or features (frames, dims).
        seconds: Duration of the audio.
        file: Of the file it was read from, see :meth:`espnet_egl.data.pool.Pool.file_state`.
        overheard: Whether another channel holds speech that is not in the one that was read.
        before: Seconds of ``speech`` that are what is heard before the clip, and not of it.
    """

    uid: str
    speech: np.ndarray
    seconds: float
    file: str = field(default="", compare=False)
    overheard: bool = field(default=False, compare=False)
    before: float = field(default=0.0, compare=False)

    @property
    def audio_hash(self) -> str:
        """Of the samples as 16-bit numbers: the same audio has the same."""
        samples = (self.speech * 2**15).round().astype("<i8")
        return hashlib.sha256(samples.tobytes()).hexdigest()[:16]


@dataclass(frozen=True)
class Skipped:
    """A clip that is not scored, and why.

    Attributes:
        uid: Utterance id.
        reason: A short lower-case word, e.g. ``empty_audio``.
        detail: What happened, for a person to read.
        file: As of an :class:`Utterance`.
    """

    uid: str
    reason: str
    detail: str
    file: str = field(default="", compare=False)


@dataclass(frozen=True)
class Hypothesis:
    """A candidate transcript.

    Attributes:
        tokens: Token ids without blank, sos and eos; may be empty.
        log_prob: log P(tokens | audio), natural logarithm, at most 0; exact, not the
            search's score.
        text: The transcript as a person reads it.
    """

    tokens: tuple[int, ...]
    log_prob: float
    text: str

    @property
    def confidence(self) -> float:
        """Probability per token: P(y | x)^(1 / (L + 1)), in [0, 1].

        L + 1 counts the end of the sentence, so that an empty transcript has one too.
        """
        return math.exp(self.log_prob / (len(self.tokens) + 1))


@dataclass(frozen=True)
class NBest:
    """The hypotheses of one utterance, most probable first, without duplicates.

    Attributes:
        hypotheses: At least one.
        counts: How often each was drawn, where they are samples of P(y | x); else None.
    """

    hypotheses: tuple[Hypothesis, ...]
    counts: tuple[int, ...] | None = None

    @property
    def probs(self) -> list[float]:
        """P(y | x) of every hypothesis, in [0, 1]."""
        return [math.exp(h.log_prob) for h in self.hypotheses]

    @property
    def mass(self) -> float:
        """The share of the whole posterior that the list holds, in [0, 1]."""
        return sum(self.probs)

    @property
    def weights(self) -> list[float]:
        """For an expectation over the list: P(y | x) renormalised, or the samples' shares.

        They sum to 1, however small the probabilities are.
        """
        return self.tempered(1.0)

    def tempered(self, temperature: float) -> list[float]:
        """:attr:`weights` with P(y | x)^(1 / temperature), above 1 for over-confident models.

        Samples keep their shares: they were drawn at temperature 1.
        """
        if self.counts is not None:
            return [count / sum(self.counts) for count in self.counts]
        best = self.hypotheses[0].log_prob
        relative = [math.exp((h.log_prob - best) / temperature) for h in self.hypotheses]
        return [r / sum(relative) for r in relative]


@dataclass(frozen=True)
class Word:
    """A word of a transcript, where it is heard, and how sure the model is of it.

    Attributes:
        text: Without spaces.
        start: In seconds from the utterance's start.
        seconds: How long it is heard.
        confidence: In [0, 1].
    """

    text: str
    start: float
    seconds: float
    confidence: float


@dataclass(frozen=True)
class TranscriptConfidence:
    """How sure the model is of a transcript.

    Attributes:
        utterance: Of all of it, in [0, 1].
        words: In their order.
    """

    utterance: float
    words: tuple[Word, ...]


@dataclass(frozen=True)
class ScoredUtterance:
    """A row of the score table.

    Attributes:
        uid: Utterance id.
        seconds: Duration of the audio.
        frames: Number of encoder frames.
        nbest: The hypotheses.
        confidence: Of the best hypothesis.
        audio_hash: Of the samples: the same audio has the same.
        scores: Acquisition method -> score.
        details: Column -> what a method tells beside its score.
        embedding: Of the gradient; empty if no method asked.
    """

    uid: str
    seconds: float
    frames: int
    nbest: NBest
    confidence: TranscriptConfidence
    audio_hash: str
    scores: dict[str, float] = field(default_factory=dict)
    details: dict[str, float] = field(default_factory=dict)
    embedding: tuple[float, ...] = ()
