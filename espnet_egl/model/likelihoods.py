"""log P(y | x), exactly, by every branch that a model may have. A new kind of branch is one entry.

Axes: K hypotheses, T encoder frames, L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from espnet_egl.model import compat
from espnet_egl.model.encoded import Encoded

Hypotheses = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Branch:
    """A part of the model that says how probable a transcript is.

    Attributes:
        is_in: Whether a model has it.
        log_likelihoods: A recogniser, one encoded utterance, K hypotheses -> (K,) natural
            logarithms, float64; -inf where no alignment exists. Of a prompted model, given its
            prompt.
    """

    is_in: Callable[[Any], bool]
    log_likelihoods: Callable[[Any, Encoded, Hypotheses], torch.Tensor]


def _has_ctc(model: Any) -> bool:
    return model.ctc is not None


def _has_attention(model: Any) -> bool:
    return model.decoder is not None and not model.use_transducer_decoder


def _ctc(recognizer: Any, encoded: Encoded, hypotheses: Hypotheses) -> torch.Tensor:
    model, prompt = recognizer.model, recognizer.ctc_prompt
    log_probs = model.ctc.log_softmax(encoded.hidden)[0, : encoded.frames].double()
    found = ctc_log_likelihoods(log_probs, recognizer.ctc_targets(hypotheses), model.blank_id)
    if prompt:
        found = found - ctc_entries(log_probs, prompt, model.blank_id).logsumexp(0).to(found)
    return found


def _attention(recognizer: Any, encoded: Encoded, hypotheses: Hypotheses) -> torch.Tensor:
    model = recognizer.model
    if recognizer.decoder_prompt:
        return _prompted(recognizer, encoded, hypotheses)
    targets, lengths = pad(hypotheses, encoded.hidden.device, fill=model.ignore_id)
    count = len(hypotheses)
    return -model.batchify_nll(
        encoded.hidden.expand(count, -1, -1), encoded.lengths.expand(count), targets, lengths
    ).double()


def _prompted(recognizer: Any, encoded: Encoded, hypotheses: Hypotheses) -> torch.Tensor:
    """log P of transcripts and their ends after the decoder's prompt."""
    model, prompt = recognizer.model, recognizer.decoder_prompt
    found = []
    size = encoded.frames + model.vocab_size
    longest = max(map(len, hypotheses)) + len(prompt) + 2
    for chunk in chunks(hypotheses, size * longest):
        device, count = encoded.hidden.device, len(chunk)
        history, lengths = pad([[model.sos, *prompt, *y] for y in chunk], device, fill=model.eos)
        ends = [[*y, model.eos] for y in chunk]
        targets, _ = pad(ends, device, fill=model.ignore_id)
        logits, _ = model.decoder(
            encoded.hidden.expand(count, -1, -1), encoded.lengths.expand(count), history, lengths
        )
        log_probs = logits[:, len(prompt) :].double().log_softmax(-1)
        inside = targets != model.ignore_id
        kept = log_probs.gather(-1, targets.masked_fill(~inside, 0).unsqueeze(-1)).squeeze(-1)
        found.append((kept * inside).sum(1))
    return torch.cat(found)


def _joint(recognizer: Any, encoded: Encoded, hypotheses: Hypotheses) -> torch.Tensor:
    weight = recognizer.model.ctc_weight
    return weight * _ctc(recognizer, encoded, hypotheses) + (1 - weight) * _attention(
        recognizer, encoded, hypotheses
    )


def _transducer(recognizer: Any, encoded: Encoded, hypotheses: Hypotheses) -> torch.Tensor:
    from espnet2.asr_transducer.utils import get_transducer_task_io

    model = recognizer.model
    device = encoded.hidden.device
    model.decoder.set_device(device)
    log_probs = []
    for tokens in hypotheses:  # one by one: the joint network's output is (T, L, V) large
        labels, _ = pad([tokens], device, fill=model.ignore_id)
        inputs, targets, frames, lengths = get_transducer_task_io(
            labels, encoded.lengths, ignore_id=model.ignore_id, blank_id=model.blank_id
        )
        decoded = model.decoder(inputs)
        logits = model.joint_network(encoded.hidden.unsqueeze(2), decoded.unsqueeze(1))
        log_probs.append(-compat.rnnt_loss(logits, targets, frames, lengths, model.blank_id))
    return torch.cat(log_probs).double()


BRANCHES = {
    "ctc": Branch(_has_ctc, _ctc),
    "attention": Branch(_has_attention, _attention),
    "joint": Branch(lambda model: _has_ctc(model) and _has_attention(model), _joint),
    "transducer": Branch(lambda model: bool(model.use_transducer_decoder), _transducer),
}
POSTERIORS = ("auto", *BRANCHES)
# Of what a model has, the one that is taken unless another is asked for.
AUTO = ("transducer", "attention", "ctc")


# Numbers held at once by what is computed hypothesis by hypothesis: 128 MB in float64.
CHUNK = 2**24


def ctc_log_likelihoods(
    log_probs: torch.Tensor, hypotheses: Sequence[Sequence[int]], blank: int
) -> torch.Tensor:
    """log P(y | x) by the CTC forward algorithm: (K,), -inf where no alignment exists.

    Args:
        log_probs: (T, V), normalised.
        hypotheses: K token sequences.
        blank: Id of the blank.
    """
    _, kept, renamed = occurring(log_probs, hypotheses, blank)
    parts = []
    for chunk in chunks(renamed, kept.numel()):
        targets, lengths = pad(chunk, kept.device, fill=0)
        frames = torch.full((len(chunk),), len(kept), device=kept.device)
        copies = kept.unsqueeze(1).expand(-1, len(chunk), -1).contiguous()
        parts.append(
            -torch.nn.functional.ctc_loss(copies, targets, frames, lengths, reduction="none")
        )
    return torch.cat(parts)


def ctc_entries(log_probs: torch.Tensor, prefix: Sequence[int], blank: int) -> torch.Tensor:
    """log P(CTC's first tokens are ``prefix``, the last of which it begins at frame t): (T,).

    Whatever comes after, the tokens begin so: these are disjoint, and their sum is the probability
    of the prefix.

    Args:
        log_probs: (T, V), normalised.
        prefix: At least one token.
        blank: Id of the blank.
    """
    before = prefix[:-1]
    columns = log_probs.detach().double().cpu().numpy()
    # After the first i tokens: with a blank since, and within the i-th.
    waiting = np.full(len(prefix), -np.inf)
    within = np.full(len(prefix), -np.inf)
    waiting[0] = 0.0
    entries = []
    for frame in columns:
        entered = [
            np.logaddexp(waiting[i], -np.inf if i and before[i - 1] == token else within[i])
            + frame[token]
            for i, token in enumerate(prefix)
        ]
        entries.append(entered[-1])
        waiting = np.logaddexp(waiting, within) + frame[blank]
        stayed = [-np.inf, *(within[i + 1] + frame[token] for i, token in enumerate(before))]
        within = np.logaddexp(stayed, [-np.inf, *entered[:-1]])
    return torch.tensor(np.array(entries))


def occurring(
    log_probs: torch.Tensor, hypotheses: Sequence[Sequence[int]], blank: int
) -> tuple[torch.Tensor, torch.Tensor, list[list[int]]]:
    """Leave out of the vocabulary what no hypothesis has: CTC never looks at it.

    Returns:
        The symbols (U,), the blank first; their columns (T, U) of ``log_probs``; and the
        hypotheses in the new numbers.
    """
    tokens = sorted({token for y in hypotheses for token in y})
    place = {token: i for i, token in enumerate(tokens, 1)}
    symbols = torch.tensor([blank, *tokens], device=log_probs.device)
    return symbols, log_probs[:, symbols], [[place[t] for t in y] for y in hypotheses]


def chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Runs of ``items`` that need no more than CHUNK numbers at ``size`` each, at least one."""
    step = max(1, CHUNK // max(1, size))
    return (items[i : i + step] for i in range(0, len(items), step))


def pad(
    sequences: Sequence[Sequence[int]], device: torch.device, fill: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token sequences -> (K, L) padded with ``fill``, and (K,) lengths."""
    counts = [len(s) for s in sequences]
    longest = max(counts, default=0)
    # One copy to the device, however many sequences there are.
    rows = [[*s, *[fill] * (longest - len(s))] for s in sequences]
    padded = torch.tensor(rows, dtype=torch.long).view(len(rows), longest)
    return padded.to(device), torch.tensor(counts, dtype=torch.long).to(device)
