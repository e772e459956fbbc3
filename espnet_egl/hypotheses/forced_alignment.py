"""A transcript laid over the audio by the model itself.

Axes: T encoder frames, L tokens, S steps, V vocabulary.

CTC and transducers give their most probable alignment of the transcript, attention decoders
go token by token with the transcript as their history.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from humanfriendly.text import pluralize

from espnet_egl.errors import UtteranceError
from espnet_egl.model.encoded import Encoded
from espnet_egl.model.likelihoods import CHUNK, occurring
from espnet_egl.model.modes import scoring_mode
from espnet_egl.model.recognizer import Recognizer

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
            return _align_by_ctc(recognizer, encoded, tokens)
        if posterior == "transducer":
            return _align_transducer(recognizer, encoded, tokens)
        return _align_decoder(recognizer, encoded, tokens)


def _ctc_log_probs(recognizer: Recognizer, encoded: Encoded) -> torch.Tensor:
    return recognizer.model.ctc.log_softmax(encoded.hidden)[0, : encoded.frames]


def _align_by_ctc(recognizer: Recognizer, encoded: Encoded, tokens: Sequence[int]) -> Alignment:
    """:func:`align_ctc`, where what the model emits of its prompt belongs to no token."""
    log_probs, (target,) = _ctc_log_probs(recognizer, encoded), recognizer.ctc_targets([tokens])
    found = align_ctc(log_probs, target, recognizer.model.blank_id)
    count = len(target) - len(tokens)
    owners = tuple(owner - count if owner >= count else LEADING for owner in found.owners)
    return replace(found, owners=owners, spans=found.spans and found.spans[count:])


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
            f"no room for {pluralize(len(tokens), 'token')} with {pluralize(repeats, 'repeat')} in "
            f"{pluralize(len(log_probs), 'frame')}",
        )
    if not tokens:
        return [blank] * len(log_probs)
    symbols, kept, (renamed,) = occurring(log_probs.double().cpu(), [tokens], blank)
    path, _ = torchaudio.functional.forced_align(kept.unsqueeze(0), torch.tensor([renamed]))
    return symbols[path[0].long()].tolist()


def _align_decoder(recognizer: Recognizer, encoded: Encoded, tokens: Sequence[int]) -> Alignment:
    """A step a token, and the end of the sentence; times from CTC if the model has it."""
    model = recognizer.model
    prompt = recognizer.decoder_prompt
    history = torch.tensor([[model.sos, *prompt, *tokens]], device=recognizer.device)
    lengths = torch.tensor([history.size(1)], device=recognizer.device)
    logits, _ = model.decoder(encoded.hidden, encoded.lengths, history, lengths)
    spans = None
    if model.ctc is not None:
        spans = _align_by_ctc(recognizer, encoded, tokens).spans
    return Alignment(
        logits[0, len(prompt) :].log_softmax(-1),
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
