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
    from espnet_egl.recognizer import Encoded, Recognizer


@dataclass(frozen=True)
class Evidence:
    """All that is known of one utterance when the methods are asked.

    Attributes:
        utterance: The clip.
        recognizer: The model.
        encoded: The encoder's output; with a graph if any method wants gradients.
        nbest: The hypotheses, most probable first; never empty.
    """

    utterance: Utterance
    recognizer: Recognizer
    encoded: Encoded
    nbest: NBest


class AbsAcquisition(ABC):
    """A rule that gives an utterance a score.

    Attributes:
        needs_gradients: Whether the encoder must be run with a graph.
    """

    needs_gradients = False

    def prepare(self, recognizer: Recognizer) -> None:  # noqa: B027  (optional)
        """Check the options against the model, once, before the first utterance."""

    @abstractmethod
    def score(self, evidence: Evidence) -> float:
        """The score of one utterance; larger = label first; finite."""


acquisition_methods = Registry(
    "acquisition method",
    "espnet_egl.acquisition",
    {
        "egl": "espnet_egl.acquisition.egl:ExpectedGradientLength",
        "confidence": "espnet_egl.acquisition.confidence:Confidence",
        "random": "espnet_egl.acquisition.random:Random",
    },
)
