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
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from espnet_egl.errors import ConfigError, UtteranceError
from espnet_egl.model.recognizer import CHUNK, Encoded, Recognizer, occurring, scoring_mode
from espnet_egl.types import Hypothesis, TranscriptConfidence, Word

MEASURES = ("max_prob", "gibbs", "tsallis", "renyi", "posterior")
NORMS = ("linear", "exp")
AGGREGATIONS = ("mean", "min", "prod")
LEVELS = ("transcript", "word", "token")

# Owners of steps that belong to no token.
LEADING, END = -1, -2


@dataclass(frozen=True)
class Alignment:
    """A transcript laid over the audio.

    Attributes:
        log_probs: (S, V), normalised; what the model saw as possible at every step.
        symbols: What it is taken to have emitted: S ids.
        owners: The token (0..L-1) every step belongs to: S numbers; LEADING for blanks
            before the first token, END for the end of the sentence.
        blanks: Which of the steps emit a blank: S.
        spans: Where every token starts and ends, in frames: L pairs that do not overlap;
            None where the model tells no times.
    """

    log_probs: torch.Tensor
    symbols: tuple[int, ...]
    owners: tuple[int, ...]
    blanks: tuple[bool, ...]
    spans: tuple[tuple[float, float], ...] | None


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
        shift = seconds / encoded.frames
        found = []
        for (text, own), confidence in zip(words, confidences, strict=True):
            start, end = 0.0, float(encoded.frames)
            if alignment.spans is not None:
                start, end = alignment.spans[own[0]][0], alignment.spans[own[-1]][1]
            found.append(Word(text, start * shift, (end - start) * shift, confidence))
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


# ---- alignments ----


def align(
    recognizer: Recognizer, encoded: Encoded, tokens: Sequence[int], posterior: str = "auto"
) -> Alignment:
    """Lay a transcript over the audio.

    Args:
        recognizer: The model.
        encoded: The utterance.
        tokens: L ids without blank, sos and eos; may be none.
        posterior: The branch: ``ctc``, ``attention``, ``transducer``; ``joint`` is the
            decoder's; ``auto`` as in :meth:`Recognizer.log_likelihoods`.

    Raises:
        UtteranceError: The model cannot emit the transcript in so few frames.
        ConfigError: The model has no such branch.
    """
    posterior = recognizer.resolve_posterior(posterior)
    with torch.no_grad(), scoring_mode(recognizer.model):
        if posterior == "ctc":
            return align_ctc(_ctc_log_probs(recognizer, encoded), tokens, recognizer.model.blank_id)
        if posterior == "transducer":
            return _align_transducer(recognizer, encoded, tokens)
        return _align_decoder(recognizer, encoded, tokens)


def _ctc_log_probs(recognizer: Recognizer, encoded: Encoded) -> torch.Tensor:
    return recognizer.model.ctc.log_softmax(encoded.hidden)[0, : encoded.frames]


def align_ctc(log_probs: torch.Tensor, tokens: Sequence[int], blank: int) -> Alignment:
    """The most probable CTC alignment of a transcript: a step a frame.

    Args:
        log_probs: (T, V), normalised.
        tokens: L ids.
        blank: Id of the blank.

    Raises:
        UtteranceError: There is none: more tokens, and blanks between equal ones, than frames.
    """
    symbols = _ctc_path(log_probs, tokens, blank)
    owners, token, previous = [], LEADING, blank
    for symbol in symbols:
        if symbol not in (blank, previous):
            token += 1
        owners.append(token)
        previous = symbol
    blanks = tuple(symbol == blank for symbol in symbols)
    frames: list[list[int]] = [[] for _ in tokens]
    for frame, (owner, silent) in enumerate(zip(owners, blanks, strict=True)):
        if not silent:
            frames[owner].append(frame)
    spans = tuple((own[0], own[-1] + 1) for own in frames)
    return Alignment(log_probs, tuple(symbols), tuple(owners), blanks, spans)


def _ctc_path(log_probs: torch.Tensor, tokens: Sequence[int], blank: int) -> list[int]:
    """What every frame emits: T symbols."""
    import torchaudio

    repeats = sum(a == b for a, b in itertools.pairwise(tokens))
    if len(tokens) + repeats > len(log_probs):
        raise UtteranceError(
            "no_alignment",
            f"{len(tokens)} tokens with {repeats} repeats do not fit into {len(log_probs)} frames",
        )
    if not tokens:
        return [blank] * len(log_probs)
    symbols, kept, (renamed,) = occurring(log_probs.double().cpu(), [tokens], blank)
    path, _ = torchaudio.functional.forced_align(kept.unsqueeze(0), torch.tensor([renamed]))
    return symbols[path[0].long()].tolist()


def _align_decoder(recognizer: Recognizer, encoded: Encoded, tokens: Sequence[int]) -> Alignment:
    """A step a token, and the end of the sentence; times from CTC if the model has it."""
    model = recognizer.model
    history = torch.tensor([[model.sos, *tokens]], device=recognizer.device)
    lengths = torch.tensor([history.size(1)], device=recognizer.device)
    logits, _ = model.decoder(encoded.hidden, encoded.lengths, history, lengths)
    spans = None
    if model.ctc is not None:
        ctc = align_ctc(_ctc_log_probs(recognizer, encoded), tokens, model.blank_id)
        spans = ctc.spans
    return Alignment(
        logits[0].log_softmax(-1),
        (*tokens, model.eos),
        (*range(len(tokens)), END),
        (False,) * (len(tokens) + 1),
        spans,
    )


def _align_transducer(recognizer: Recognizer, encoded: Encoded, tokens: Sequence[int]) -> Alignment:
    """The most probable path through the lattice of frames and tokens: T + L steps."""
    model, device = recognizer.model, recognizer.device
    model.decoder.set_device(device)
    hidden = encoded.hidden[0, : encoded.frames]  # (T, D)
    history = torch.tensor([[model.blank_id, *tokens]], device=device)
    decoded = model.decoder(history)[0]  # (L + 1, D)

    def joint(frames: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        return model.joint_network(frames, states)[0].log_softmax(-1)

    # The last token's column of labels is never read.
    labels = torch.tensor([*tokens, model.blank_id], device=device).view(1, -1, 1)
    blank_parts, label_parts = [], []
    symbols = len(recognizer.model.token_list)
    for part in hidden.split(max(1, CHUNK // (len(decoded) * symbols))):
        log_probs = joint(part[None, :, None], decoded[None, None])
        blank_parts.append(log_probs[..., model.blank_id])
        label_parts.append(log_probs.gather(-1, labels.expand(len(part), -1, -1)).squeeze(-1))
    path = transducer_path(torch.cat(blank_parts), torch.cat(label_parts)[:, :-1])
    times = torch.tensor([t for t, _ in path], device=device)
    states = torch.tensor([u for _, u in path], device=device)
    log_probs = joint(hidden[times][None, :, None], decoded[states][None, :, None])[:, 0]
    emits = [after > u for (_, u), (_, after) in itertools.pairwise([*path, (0, len(tokens))])]
    return Alignment(
        log_probs,
        tuple(
            tokens[u] if emit else model.blank_id for (_, u), emit in zip(path, emits, strict=True)
        ),
        tuple(u if emit else u - 1 for (_, u), emit in zip(path, emits, strict=True)),
        tuple(not emit for emit in emits),
        _shared([t for (t, _), emit in zip(path, emits, strict=True) if emit]),
    )


def _shared(frames: Sequence[int]) -> tuple[tuple[float, float], ...]:
    """Tokens emitted at one frame share it evenly."""
    count, place, spans = Counter(frames), Counter[int](), []
    for frame in frames:
        start, place[frame] = place[frame], place[frame] + 1
        spans.append((frame + start / count[frame], frame + place[frame] / count[frame]))
    return tuple(spans)


def transducer_path(blank: torch.Tensor, label: torch.Tensor) -> list[tuple[int, int]]:
    """The most probable way through a transducer's lattice.

    At frame t with u tokens emitted, a blank leads to the next frame and the next token to
    u + 1. The last step is the blank at the last frame.

    Args:
        blank: (T, L + 1) log-probabilities of the blank.
        label: (T, L) log-probabilities of the next token.

    Returns:
        (t, u) before every one of the T + L steps.
    """
    # Far below any probability, far above what would cost the sums their digits.
    blank, label = (part.double().cpu().clamp_min(-1e4) for part in (blank, label))
    frames, count = blank.shape
    # To wait in column u from frame s to t costs waiting[t] - waiting[s].
    waiting = torch.zeros(frames, count, dtype=torch.float64)
    waiting[1:] = blank[:-1].cumsum(0)
    best, entries = waiting[:, 0], []
    for u in range(1, count):
        entered = best + label[:, u - 1] - waiting[:, u]
        most, entry = entered.cummax(0)
        best = most + waiting[:, u]
        entries.append(entry.tolist())
    turns = [frames - 1]
    for entry in reversed(entries):
        turns.append(entry[turns[-1]])
    columns = itertools.pairwise([0, *reversed(turns)])
    return [(t, u) for u, (first, last) in enumerate(columns) for t in range(first, last + 1)]


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
