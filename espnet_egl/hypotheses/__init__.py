"""Where weighted hypotheses come from. One file a source, one line in the registry."""

from __future__ import annotations

from abc import ABC, abstractmethod

from espnet_egl.recognizer import Encoded, Recognizer
from espnet_egl.registry import Registry
from espnet_egl.types import NBest


class AbsHypothesisSource(ABC):
    """Produces the hypotheses of an utterance, cleaned and with exact probabilities."""

    @abstractmethod
    def __call__(self, recognizer: Recognizer, uid: str, encoded: Encoded) -> NBest:
        """The hypotheses of one utterance.

        Args:
            recognizer: The model.
            uid: Utterance id, e.g. for seeding.
            encoded: The utterance after the encoder.

        Raises:
            UtteranceError: No hypothesis is left.
        """


hypothesis_sources = Registry(
    "hypothesis source",
    "espnet_egl.hypotheses",
    {"beam": "espnet_egl.hypotheses.beam:BeamSearchSource"},
)
