"""N-best transcripts from ESPnet's own beam search."""

from __future__ import annotations

from espnet_egl.hypotheses import AbsHypothesisSource
from espnet_egl.hypotheses.rescoring import rescore
from espnet_egl.model.encoded import Encoded
from espnet_egl.model.recognizer import Recognizer
from espnet_egl.types import NBest


class BeamSearchSource(AbsHypothesisSource):
    """The search the recipe decodes with: its beam, CTC weight and language model.

    A language model only helps to find hypotheses: P(y | x) is the recogniser's own.
    """

    def prepare(self, recognizer: Recognizer) -> None:
        recognizer.check_posterior(self.posterior)

    def __call__(self, recognizer: Recognizer, uid: str, encoded: Encoded) -> NBest:
        return rescore(recognizer, encoded, recognizer.search(encoded), self.posterior)
