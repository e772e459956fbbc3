"""Acquisition methods: a score for every utterance, larger = label first.

One file a method, one line in the registry below. Modules of methods import nothing heavy,
so that ``--help`` answers at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espnet_egl.registry import Registry
from espnet_egl.types import NBest, Utterance

if TYPE_CHECKING:
    from espnet_egl.gradients.engine import ExpectedGradientLength
    from espnet_egl.recognizer import Encoded, Recognizer


@dataclass(frozen=True)
class Evidence:
    """All that is known of one utterance when the methods are asked.

    Attributes:
        utterance: The clip.
        recognizer: The model.
        encoded: The encoder's output, without a graph.
        nbest: The hypotheses, most probable first; never empty.
        gradient: For the hypotheses' weights, if any method needs it.
    """

    utterance: Utterance
    recognizer: Recognizer
    encoded: Encoded
    nbest: NBest
    gradient: ExpectedGradientLength | None = None


class AbsAcquisition(ABC):
    """A rule that gives an utterance a score.

    Attributes:
        needs_gradients: Whether :attr:`Evidence.gradient` is wanted.
        columns: Of the score table, that :meth:`details` fills.
    """

    needs_gradients = False
    columns: tuple[str, ...] = ()

    def prepare(self, recognizer: Recognizer) -> None:  # noqa: B027  (optional)
        """Check the options against the model, once, before the first utterance."""

    @abstractmethod
    def score(self, evidence: Evidence) -> float:
        """The score of one utterance; larger = label first; finite."""

    def details(self, evidence: Evidence) -> tuple[float, ...]:
        """What the method tells beside its score: a finite value for each of ``columns``."""
        return ()


acquisition_methods = Registry(
    "acquisition method",
    "espnet_egl.acquisition",
    {
        "egl": "espnet_egl.acquisition.egl:EGL",
        "confidence": "espnet_egl.acquisition.confidence:Confidence",
        "random": "espnet_egl.acquisition.random:Random",
    },
)
