"""From what a search found to hypotheses that can be trusted as probabilities.

The search's scores are never used: with a beam as large as the vocabulary ESPnet's
CTC search returned posteriors that sum to more than 1, and lists can hold one transcript
several times, once for every way to place blanks.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Sequence, Set

from humanfriendly.text import pluralize

from espnet_egl.errors import UtteranceError
from espnet_egl.model.encoded import Encoded
from espnet_egl.model.recognizer import Recognizer
from espnet_egl.types import Hypothesis, NBest

logger = logging.getLogger(__name__)

# A mass above 1 by no more than this is rounding of the model's float32 arithmetic.
MASS_TOLERANCE = 1e-3


def clean(found: Sequence[Sequence[int]], special: Set[int]) -> list[tuple[int, ...]]:
    """Strip blank, sos and eos, then drop duplicates, keeping the search's order."""
    return list(dict.fromkeys(tuple(t for t in y if t not in special) for y in found))


def has_ctc_alignment(tokens: Sequence[int], frames: int) -> bool:
    """Whether CTC can emit ``tokens`` in ``frames``: repeated tokens need a blank between.

    Where it cannot, ``zero_infinity`` would turn the infinite loss into zero loss and
    gradient.
    """
    repeats = sum(a == b for a, b in itertools.pairwise(tokens))
    return len(tokens) + repeats <= frames


def not_aligned(tokens: int, frames: int) -> str:
    """What is told of a transcript of so many tokens that has none."""
    return f"no CTC alignment of {pluralize(tokens, 'token')} in {pluralize(frames, 'frame')}"


def rescore(
    recognizer: Recognizer, encoded: Encoded, found: Sequence[Sequence[int]], posterior: str
) -> NBest:
    """Clean the search's hypotheses and give each its exact log P(y | x).

    Args:
        recognizer: The model.
        encoded: The utterance.
        found: Token ids as a search left them.
        posterior: See :meth:`Recognizer.log_likelihoods`.

    Returns:
        The hypotheses with a finite probability, most probable first; equal ones by tokens.

    Raises:
        UtteranceError: None is left, or their mass is above 1.
    """
    return rescore_cleaned(recognizer, encoded, clean(found, recognizer.special), posterior)


def rescore_cleaned(
    recognizer: Recognizer,
    encoded: Encoded,
    candidates: Sequence[tuple[int, ...]],
    posterior: str,
) -> NBest:
    """:func:`rescore` for transcripts that are different and without blanks already."""
    possible = candidates
    if recognizer.has_ctc_loss():
        frames = encoded.frames
        targets = zip(candidates, recognizer.ctc_targets(candidates), strict=True)
        possible = [
            y
            for y, target in targets
            if has_ctc_alignment(target, frames) and recognizer.not_available not in y
        ]
        if len(possible) < len(candidates):
            logger.debug(
                f"Hypotheses left out, for want of a CTC alignment: "
                f"{len(candidates) - len(possible)} of {len(candidates)}"
            )
    if not possible:
        raise UtteranceError(
            "no_hypothesis",
            f"none can be aligned of {pluralize(len(candidates), 'transcript')} found",
        )
    log_probs = recognizer.log_likelihoods(encoded, possible, posterior).tolist()
    hypotheses = [
        Hypothesis(tokens, min(log_prob, 0.0), recognizer.to_text(tokens))
        for tokens, log_prob in zip(possible, log_probs, strict=True)
        if math.isfinite(log_prob)
    ]
    if not hypotheses:
        raise UtteranceError("no_hypothesis", "no hypothesis has a finite probability")
    hypotheses.sort(key=lambda h: (-h.log_prob, h.tokens))
    nbest = NBest(tuple(hypotheses))
    if nbest.mass > 1 + MASS_TOLERANCE:
        raise UtteranceError(
            "impossible_posterior",
            f"the hypotheses' probabilities sum to {nbest.mass:.4f}, which is above 1",
        )
    return nbest
