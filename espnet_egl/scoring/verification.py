"""A few of a shard's scores taken again from the definition, before the shard counts as done."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from humanfriendly.text import pluralize

from espnet_egl.acquisition import Evidence
from espnet_egl.acquisition.egl import EGL
from espnet_egl.errors import DataError
from espnet_egl.gradients import reference
from espnet_egl.gradients.engine import GradientEngine
from espnet_egl.gradients.estimate import ExpectedGradientLength
from espnet_egl.hypotheses import AbsHypothesisSource
from espnet_egl.model.recognizer import Recognizer
from espnet_egl.store.files import text_hash
from espnet_egl.store.tables import read_rows, write_rows
from espnet_egl.types import Utterance

logger = logging.getLogger(__name__)

NAME = "verified.tsv"
COLUMNS = ("utterance", "egl", "by_definition", "difference", "allowed")

# How far EGL may be from the definition, as a share of it, and how many of its standard errors
# more: measured, see docs/reliability.md.
TOLERANCES = {"exact": 5e-3, "estimate": 0.25}
STANDARD_ERRORS = 10.0
# Below, differences are rounding: of clips that the model has no doubt about.
NOTHING = 1e-6


@dataclass(frozen=True)
class Verifier:
    """Computes EGL as it is defined, one utterance and one hypothesis at a time.

    Attributes:
        recognizer: The model.
        source: Where hypotheses come from.
        method: Whose scores are checked.
        engine: That computed them.
        temperature: Of P(y | x) in EGL.
    """

    recognizer: Recognizer
    source: AbsHypothesisSource
    method: EGL
    engine: GradientEngine
    temperature: float = 1.0

    def verify(self, utterance: Utterance, score: float) -> list[str]:
        """A row of COLUMNS: differences as shares of the definition's value.

        Args:
            utterance: As it was read to be scored.
            score: What was written for it.
        """
        with self.recognizer.prompted([utterance.uid]):
            return self._verify(utterance, score)

    def _verify(self, utterance: Utterance, score: float) -> list[str]:
        recognizer = self.recognizer
        with self.engine.encode([utterance.speech]) as batch:
            (encoded,) = batch.utterances
            with torch.no_grad():
                nbest = self.source(recognizer, utterance.uid, encoded)
            tokens = [h.tokens for h in nbest.hypotheses]
            weights = nbest.tempered(self.temperature)
            (alone,) = batch.expected_gradient_lengths([tokens], [weights])
        value = reference.expected_gradient_length(
            recognizer, utterance.speech, tokens, weights, self.engine.parameters
        )
        gradient = ExpectedGradientLength(value, 0.0, 0.0, len(tokens))
        defined = self.method.score(Evidence(utterance, recognizer, encoded, nbest, gradient))
        difference = abs(score - defined) / max(defined, NOTHING)
        tolerance = TOLERANCES["exact" if self.engine.limit is None else "estimate"]
        allowed = tolerance + STANDARD_ERRORS * alone.stderr / max(value, NOTHING)
        numbers = (score, defined, difference, allowed)
        return [utterance.uid, *(f"{number:.8g}" for number in numbers)]


def sample(uids: Iterable[str], count: int, seed: int) -> list[str]:
    """Which utterances are checked: the same ones whatever their order."""
    return sorted(uids, key=lambda uid: (text_hash(f"{seed} {uid}"), uid))[:count]


def write_verified(output_dir: str | Path, rows: Sequence[list[str]]) -> None:
    """Write ``verified.tsv``, and refuse scores that are not what they should be.

    Of estimates a single one may be far off, which is said in the log: their errors have a long
    tail. What is computed wrongly is wrong for most.

    Raises:
        DataError: A difference is larger than allowed: of exact scores, or of most estimates.
    """
    path = Path(output_dir) / NAME
    write_rows(path, COLUMNS, sorted(rows))
    # Not the other way round: NaN is no small difference.
    off = [row for row in rows if not float(row[3]) <= float(row[4])]
    wrong = [r for r in off if float(r[4]) < TOLERANCES["estimate"] or math.isnan(float(r[3]))]
    if wrong or 2 * len(off) > len(rows):
        raise DataError(
            f"{_told((wrong or off)[0])} ({path}). Do not use these scores. Where the model has "
            "layers of other packages, try --egl_params encoder or head; please report it"
        )
    for row in off:
        logger.warning(f"{_told(row)}; of most utterances the estimate is close ({path})")


def _told(row: Sequence[str]) -> str:
    uid, score, defined, difference, allowed = row
    return (
        f"'{uid}' has the score {score}, by the definition it is {defined}: a relative "
        f"difference of {float(difference):.2g}, where {float(allowed):.2g} is allowed"
    )


def read_verified(directories: Iterable[Path]) -> list[dict[str, str]]:
    """The rows of every shard that has any."""
    paths = (directory / NAME for directory in directories)
    return [row for path in paths if path.exists() for row in read_rows(path, COLUMNS)]


def describe(rows: Iterable[Mapping[str, str]]) -> str:
    """What the check came to, in a sentence."""
    differences = [float(row["difference"]) for row in rows]
    if not differences:
        return "No utterance was scored again by the definition"
    largest = max(differences, key=lambda d: math.inf if math.isnan(d) else d)
    again = pluralize(len(differences), "utterance")
    return f"{again} scored again by the definition: largest relative difference {largest:.2g}"
