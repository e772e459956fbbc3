"""Where weighted hypotheses come from. One file a source, one line in the registry."""

from __future__ import annotations

from abc import ABC, abstractmethod

from espnet_egl.model.encoded import Encoded
from espnet_egl.model.recognizer import Recognizer
from espnet_egl.registry import Registry
from espnet_egl.types import NBest


class AbsHypothesisSource(ABC):
    """Produces the hypotheses of an utterance, cleaned and with exact probabilities.

    Args:
        posterior: Whose probability, see :meth:`Recognizer.log_likelihoods`.
        size: Hypotheses an utterance at most, or samples.
        seed: For sources that draw.
    """

    def __init__(self, posterior: str = "auto", size: int = 100, seed: int = 0):
        self.posterior = posterior
        self.size = size
        self.seed = seed

    def prepare(self, recognizer: Recognizer) -> None:  # noqa: B027  (optional)
        """Check the options against the model, once, before the first utterance.

        Raises:
            ConfigError: The model cannot give such hypotheses.
        """

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
    {
        "beam": "espnet_egl.hypotheses.beam:BeamSearchSource",
        "ctc_sample": "espnet_egl.hypotheses.ctc_sampling:CTCSampleSource",
    },
)
