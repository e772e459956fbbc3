"""Transcripts drawn from the model's own P(transcript | audio), without a search.

Axes: T encoder frames, V vocabulary, S samples.

Given the audio, CTC emits every frame independently of the others. To draw every frame
from its softmax and to collapse the result is therefore to draw a transcript from
P(y | x), exactly. A list of the most probable transcripts holds what the search found of
the posterior, of an uncertain utterance often a small part; the mean over samples is an
unbiased estimate of the expectation over all of it.
"""

from __future__ import annotations

from collections import Counter

import torch

from espnet_egl.errors import ConfigError, UtteranceError
from espnet_egl.hypotheses import AbsHypothesisSource
from espnet_egl.hypotheses.rescoring import rescore_cleaned
from espnet_egl.model.encoded import Encoded
from espnet_egl.model.likelihoods import ctc_entries
from espnet_egl.model.recognizer import Recognizer
from espnet_egl.store.files import seed_of
from espnet_egl.types import NBest


class CTCSampleSource(AbsHypothesisSource):
    """``size`` samples of an utterance, equal ones joined, and the most probable alignment's.

    The latter serves as the utterance's best hypothesis and has no weight unless drawn.
    """

    def prepare(self, recognizer: Recognizer) -> None:
        if self.posterior not in ("auto", "ctc"):
            raise ConfigError(
                f"--hyp_source ctc_sample draws from CTC, not --posterior {self.posterior}"
            )
        recognizer.check_posterior("ctc")

    def __call__(self, recognizer: Recognizer, uid: str, encoded: Encoded) -> NBest:
        with torch.no_grad():
            probs = recognizer.model.ctc.softmax(encoded.hidden)[0].double().cpu()
        alignments = draw(probs, self.size, f"{self.seed} {uid}")
        best_alignment = probs.argmax(1, keepdim=True)
        blank, prompt = recognizer.model.blank_id, recognizer.ctc_prompt
        if prompt:
            entries = ctc_entries(probs.log(), prompt, blank)
            alignments = after_prompt(alignments, entries, prompt[-1], f"prompt {self.seed} {uid}")
            first = after_prompt(best_alignment, entries, prompt[-1])
            # What the model says of itself, where it says the prompt of itself, too.
            (said,) = collapse(best_alignment, blank)
            told = said[: len(prompt)] == prompt
            best = [said[len(prompt) :]] if told else [y[1:] for y in collapse(first, blank)]
            counts = Counter(y[1:] for y in collapse(alignments, blank))
        else:
            counts, best = Counter(collapse(alignments, blank)), collapse(best_alignment, blank)
        candidates = list(dict.fromkeys([*counts, *best]))
        nbest = rescore_cleaned(recognizer, encoded, candidates, "ctc")
        drawn = tuple(counts[h.tokens] for h in nbest.hypotheses)
        if not any(drawn):
            raise UtteranceError("no_hypothesis", "no sample is a transcript to train on")
        return NBest(nbest.hypotheses, drawn)


def draw(probs: torch.Tensor, size: int, seed: str) -> torch.Tensor:
    """Alignments (T, S) drawn from (T, V), the same for the same seed whatever else is drawn."""
    generator = torch.Generator().manual_seed(seed_of(seed))
    uniform = torch.rand(len(probs), size, generator=generator, dtype=torch.float64)
    # By the inverse of the distribution function: a rounding error in it moves next to none.
    found = torch.searchsorted(probs.cumsum(1), uniform, right=True)
    return found.clamp_max(probs.size(1) - 1)


def after_prompt(
    alignments: torch.Tensor, entries: torch.Tensor, last: int, seed: str | None = None
) -> torch.Tensor:
    """Alignments given that CTC's first tokens are a prompt, begun with the prompt's last token.

    Where that begins is drawn from its probability. What is emitted before is settled by then, and
    every frame after it is independent of all others, as without a prompt.

    Args:
        alignments: (T, S), drawn frame by frame.
        entries: (T,) log-probabilities, see :func:`.likelihoods.ctc_entries`.
        last: The prompt's last token.
        seed: None: the most probable place.
    """
    probs = entries.softmax(0)
    if seed is None:
        places = probs.argmax().expand(alignments.size(1))
    else:
        places = draw(probs.unsqueeze(0), alignments.size(1), seed)[0]
    frames = torch.arange(len(probs)).unsqueeze(1)
    # As long as it is not over, the last token says nothing new.
    return torch.where(frames <= places, last, alignments)


def collapse(alignments: torch.Tensor, blank: int) -> list[tuple[int, ...]]:
    """Alignments (T, S) -> transcripts: repeated symbols joined, then blanks removed."""
    kept = alignments != blank
    kept[1:] &= alignments[1:] != alignments[:-1]
    columns = zip(alignments.T.numpy(), kept.T.numpy(), strict=True)
    return [tuple(symbols[keep].tolist()) for symbols, keep in columns]
