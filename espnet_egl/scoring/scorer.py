"""What turns utterances into rows: a batch at a time, the rest of it where one fails."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from espnet_egl.acquisition import AbsAcquisition, Evidence, Truth
from espnet_egl.acquisition.confidence import Confidence
from espnet_egl.errors import ConfigError, EGLError, UtteranceError
from espnet_egl.gradients.engine import GradientEngine
from espnet_egl.gradients.estimate import ExpectedGradientLength
from espnet_egl.hypotheses import AbsHypothesisSource
from espnet_egl.hypotheses.rescoring import has_ctc_alignment, not_aligned
from espnet_egl.model.encoded import Encoded
from espnet_egl.model.modes import scoring_mode
from espnet_egl.model.recognizer import Recognizer
from espnet_egl.store.tables import known_columns, score_column
from espnet_egl.types import NBest, ScoredUtterance, Skipped, Utterance

logger = logging.getLogger(__name__)

# The reason of an utterance on which something unforeseen was raised.
FAILED = "unexpected_error"

# Of a batch, in samples: half a minute at 16 kHz.
BATCH_BINS = 500_000


@dataclass(frozen=True)
class Scorer:
    """All that turns utterances into rows.

    Attributes:
        recognizer: The model.
        source: Where hypotheses come from.
        methods: Name -> method.
        engine: Needed if any method needs gradients.
        batch_bins: An upper bound for (utterances x samples of the longest) of a batch.
        confidence: What measures every best hypothesis and its words, whether or not it is
            one of the methods.
        temperature: Of P(y | x) in EGL, see :meth:`.NBest.tempered`.
        texts: Utterance -> transcript, for methods that need the truth.
        skip_untranscribed: Leave out what has no transcript that could be trained on, where
            methods are fitted; else oracles give it 0, and the others what they always give.
        detector: Measures the seconds of speech, if they are wanted.
    """

    recognizer: Recognizer
    source: AbsHypothesisSource
    methods: Mapping[str, AbsAcquisition]
    engine: GradientEngine | None = None
    batch_bins: int = BATCH_BINS
    confidence: Confidence = field(default_factory=Confidence)
    temperature: float = 1.0
    texts: Mapping[str, str] | None = None
    skip_untranscribed: bool = True
    detector: Callable[[Utterance], float] | None = None

    def prepare(self) -> None:
        """Check the options against the model.

        Raises:
            ConfigError: They do not fit it.
        """
        self.source.prepare(self.recognizer)
        self.confidence.prepare(self.recognizer)
        for name, method in self.methods.items():
            method.prepare(self.recognizer)
            if method.needs_truth and self.texts is None:
                raise ConfigError(
                    f"--methods {name} needs the transcripts: give them with --text. It is an "
                    "oracle, for utterances that are transcribed already"
                )

    @property
    def columns(self) -> list[str]:
        """Of the score table, after BASE_COLUMNS."""
        details = [column for method in self._in_order().values() for column in method.columns]
        speech = [] if self.detector is None else ["speech_seconds"]
        return [*map(score_column, self._in_order()), *details, *speech, "audio_hash"]

    def _in_order(self) -> dict[str, AbsAcquisition]:
        """The methods, those last that look at what the others found."""
        return dict(sorted(self.methods.items(), key=lambda item: item[1].needs_columns))

    @property
    def wants_true_gradients(self) -> bool:
        """Whether the transcript's own gradient is asked for."""
        return any(m.needs_truth and m.needs_gradients for m in self.methods.values())

    def batches(self, utterances: Sequence[Utterance]) -> list[list[Utterance]]:
        """Cut utterances into batches of similar length and one prompt, the longest first."""
        if self.engine is None or not self.engine.batches:
            return [[utterance] for utterance in utterances]
        found: list[list[Utterance]] = []
        last: dict[Any, list[Utterance]] = {}
        for utterance in sorted(utterances, key=lambda u: (-len(u.speech), u.uid)):
            prompt = self.recognizer.prompt_of(utterance.uid)
            batch = last.get(prompt, [])
            longest = self.recognizer.samples((batch or [utterance])[0].speech)
            if not batch or longest * (len(batch) + 1) > self.batch_bins:
                batch = last[prompt] = []
                found.append(batch)
            batch.append(utterance)
        return found

    def verify(self, utterances: Sequence[Utterance]) -> bool:
        """Let the engine compare its ways on the longest and the shortest of a batch.

        Returns:
            Whether any of them told something: what is too short, or not finite, does not.
        """
        assert self.engine is not None
        # The longest: of what short ones never reach, the blocks of a streaming encoder, it has all
        for batch in sorted(self.batches(utterances), key=lambda batch: -len(batch[0].speech)):
            ends = batch if len(batch) < 2 else batch[:: len(batch) - 1]
            try:
                with self.recognizer.prompted([u.uid for u in ends]):
                    self.engine.verify([u.speech for u in ends])
            except UtteranceError:
                continue  # another batch will do, or another window
            return True
        return False

    def score(self, batch: Sequence[Utterance]) -> list[ScoredUtterance | Skipped]:
        """Score utterances together; where that fails, fewer of them.

        Raises:
            ConfigError: And other errors that no other utterance would mend.
        """
        try:
            return self._score(batch)
        except UtteranceError as e:
            if len(batch) == 1:
                return [Skipped(batch[0].uid, e.reason, e.detail)]
        except EGLError:
            raise
        except Exception as e:
            if len(batch) == 1:
                logger.exception(f"{batch[0].uid}: unexpected error")
                reason = "out_of_memory" if is_out_of_memory(e) else FAILED
                return [Skipped(batch[0].uid, reason, f"{type(e).__name__}: {e}")]
            names = " ".join(u.uid for u in batch)
            logger.warning(f"{names} together: {type(e).__name__}: {e}; in halves")
        # Outside of the handlers: the exception holds on to the failed batch's memory.
        middle = len(batch) // 2
        return [*self.score(batch[:middle]), *self.score(batch[middle:])]

    def _score(self, batch: Sequence[Utterance]) -> list[ScoredUtterance | Skipped]:
        with self.recognizer.prompted([u.uid for u in batch]):
            evidence = self._evidence(batch, self._truths(batch))
            # After the engine's recording: methods may run the model themselves.
            with torch.no_grad(), scoring_mode(self.recognizer.model):
                return [e if isinstance(e, Skipped) else self._row(e) for e in evidence]

    def _evidence(
        self, batch: Sequence[Utterance], truths: Sequence[Truth | None]
    ) -> list[Evidence | Skipped]:
        if self.engine is None:
            (utterance,), (truth,) = batch, truths
            with torch.no_grad(), scoring_mode(self.recognizer.model):
                encoded = self.recognizer.encode(utterance.speech)
                nbest = self.source(self.recognizer, utterance.uid, encoded)
            return [Evidence(utterance, self.recognizer, encoded, nbest, truth=truth)]
        with self.engine.encode([u.speech for u in batch]) as encoded_batch:
            utterances = encoded_batch.utterances
            found = [self._find(u, e) for u, e in zip(batch, utterances, strict=True)]
            gradients = encoded_batch.expected_gradient_lengths(
                [() if isinstance(n, Skipped) else [h.tokens for h in n.hypotheses] for n in found],
                [() if isinstance(n, Skipped) else n.tempered(self.temperature) for n in found],
            )
        return [
            nbest
            if isinstance(nbest, Skipped)
            else Evidence(utterance, self.recognizer, encoded, nbest, gradient, truth)
            for utterance, encoded, nbest, gradient, truth in zip(
                batch, utterances, found, gradients, truths, strict=True
            )
        ]

    def _truths(self, batch: Sequence[Utterance]) -> list[Truth | None]:
        """What the transcripts tell, of a batch; None where there is none to train on.

        Raises:
            UtteranceError: One has no transcript, or none that the model could have spoken, and
                such are to be skipped.
        """
        if self.texts is None:
            return [None] * len(batch)
        tokens = [self._transcript(utterance.uid) for utterance in batch]
        lengths: list[float | None] = [None] * len(batch)
        embeddings: list[torch.Tensor | None] = [None] * len(batch)
        if self.wants_true_gradients:
            assert self.engine is not None
            with self.engine.encode([u.speech for u in batch]) as encoded:
                pairs = zip(tokens, encoded.utterances, strict=True)
                tokens = [y and self._aligned(y, one) for y, one in pairs]
                gradients = encoded.expected_gradient_lengths(
                    [[y] if y else [] for y in tokens], [[1.0] if y else [] for y in tokens]
                )
            lengths = [gradient.value for gradient in gradients]
            embeddings = [gradient.embedding for gradient in gradients]
        return [
            Truth(self.recognizer.to_text(y), length, embedding) if y else None
            for y, length, embedding in zip(tokens, lengths, embeddings, strict=True)
        ]

    def _transcript(self, uid: str) -> list[int] | None:
        assert self.texts is not None
        if uid not in self.texts:
            return self._no_truth(UtteranceError("no_transcript", f"{uid} is not in --text"))
        try:
            return self.recognizer.to_tokens(self.texts[uid])
        except UtteranceError as e:
            return self._no_truth(e)

    def _aligned(self, y: list[int], encoded: Encoded) -> list[int] | None:
        (target,) = self.recognizer.ctc_targets([y])
        if not self.recognizer.has_ctc_loss() or has_ctc_alignment(target, encoded.frames):
            return y
        detail = not_aligned(len(target), encoded.frames)
        return self._no_truth(UtteranceError("no_alignment", detail))

    def _no_truth(self, error: UtteranceError) -> list[int] | None:
        if self.skip_untranscribed:
            raise error
        return None

    def _find(self, utterance: Utterance, encoded: Encoded) -> NBest | Skipped:
        try:
            with torch.no_grad():
                return self.source(self.recognizer, utterance.uid, encoded)
        except UtteranceError as e:
            return Skipped(utterance.uid, e.reason, e.detail)

    def _embedding(self, evidence: Evidence, gradient: ExpectedGradientLength) -> torch.Tensor:
        """A row of ``embeddings.npy``; empty if no method asked.

        Where the transcript is known, the gradient is that of the transcript.
        """
        first = gradient.embedding
        if any(method.embeds_truth for method in self.methods.values()):
            truth = evidence.truth
            first = first if truth is None or truth.embedding is None else truth.embedding
        if not any(method.needs_factors for method in self.methods.values()):
            return first
        return torch.cat([first, gradient.factors.flatten()])

    def _row(self, evidence: Evidence) -> ScoredUtterance | Skipped:
        utterance, nbest = evidence.utterance, evidence.nbest
        frames = evidence.encoded.frames
        confidence = self.confidence.confidence(evidence)
        known = known_columns(utterance, frames, nbest, confidence.utterance)
        scores: dict[str, float] = {}
        details: dict[str, float] = {}
        speech = {} if self.detector is None else {"speech_seconds": self.detector(utterance)}
        known |= speech
        for name, method in self._in_order().items():
            if method.needs_columns:
                evidence = replace(evidence, columns=known)
            scores[name] = float(method.score(evidence))
            more = dict(zip(method.columns, method.details(evidence), strict=True))
            details |= more
            known |= {score_column(name): scores[name]} | more
        details |= speech
        finite = [*(scores | details).items(), ("confidence", confidence.utterance)]
        finite += [(f"confidence of {w.text}", w.confidence) for w in confidence.words]
        for name, value in finite:
            if not math.isfinite(value):
                return Skipped(utterance.uid, "not_finite_score", f"{name} gave {value}")
        gradient = evidence.gradient
        embedding: tuple[float, ...] = ()
        if gradient is not None:
            embedding = tuple(self._embedding(evidence, gradient).tolist())
        return ScoredUtterance(
            utterance.uid,
            utterance.seconds,
            frames,
            nbest,
            confidence,
            utterance.audio_hash,
            scores,
            details,
            embedding,
        )


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
