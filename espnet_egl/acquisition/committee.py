"""Disagreement among decodings with dropout on (Gal and Ghahramani, arXiv 1506.02142)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import editdistance

from espnet_egl.acquisition import AbsAcquisition, Evidence
from espnet_egl.errors import ConfigError
from espnet_egl.store.files import seed_of

if TYPE_CHECKING:
    from espnet_egl.model.recognizer import Recognizer


class Committee(AbsAcquisition):
    """Mean word error rate between the transcripts of every two members, at least 0.

    A member is the model with its dropout as in training, drawn anew; the transcript is that
    of the most probable CTC alignment, or ESPnet's search where there is no CTC. Each
    member costs a pass of the encoder.

    Args:
        size: Members, at least 2.
        seed: Of the dropout, together with the utterance's id: the same in any order.
    """

    def __init__(self, size: int = 5, seed: int = 0):
        if size < 2:
            raise ConfigError(f"--committee_size must be at least 2, not {size}")
        self.size = size
        self.seed = seed

    def prepare(self, recognizer: Recognizer) -> None:
        if not recognizer.has_dropout():
            raise ConfigError(
                "--methods committee: the model was trained without dropout, so that all "
                "members would say the same"
            )

    def score(self, evidence: Evidence) -> float:
        members = self._decode(evidence, seed_of(f"{self.seed} {evidence.utterance.uid}"))
        words = [evidence.recognizer.to_text(tokens).split() for tokens in members]
        rates = [
            editdistance.eval(a, b) / max(len(a), len(b), 1)
            for a, b in itertools.combinations(words, 2)
        ]
        return sum(rates) / len(rates)

    def _decode(self, evidence: Evidence, seed: int) -> list[Sequence[int]]:
        """Token ids as every member has them."""
        import torch

        from espnet_egl.hypotheses.ctc_sampling import collapse
        from espnet_egl.model.modes import scoring_mode

        recognizer = evidence.recognizer
        model, device = recognizer.model, recognizer.device
        cuda = [device] if device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(cuda), scoring_mode(model, dropout=True):
            torch.manual_seed(seed)
            features = recognizer.features(evidence.utterance.speech)
            encoded = recognizer.encode_features([features] * self.size)
            if model.ctc is not None:
                best = model.ctc.log_softmax(encoded.hidden).argmax(-1)
                return list(collapse(best.T, model.blank_id))
            special = recognizer.special
            members = [recognizer.search(encoded.utterance(b))[0] for b in range(self.size)]
            return [[t for t in tokens if t not in special] for tokens in members]
