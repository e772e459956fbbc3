"""Longest first: the trivial rival under a budget of utterances."""

from __future__ import annotations

from espnet_egl.acquisition import AbsAcquisition, Evidence


class Longest(AbsAcquisition):
    """Duration of the audio in seconds."""

    def score(self, evidence: Evidence) -> float:
        return evidence.utterance.seconds
