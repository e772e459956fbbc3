"""What no real pool allows: the truth, as a bound for the others and to fit predictions to.

Of a clip that has no transcript to train on, both are 0: there is nothing to be learnt from it.
"""

from __future__ import annotations

import editdistance

from espnet_egl.acquisition import AbsAcquisition, Evidence


class TrueGL(AbsAcquisition):
    """|| grad loss(x, transcript) ||^2: the true gradient length, which EGL expects.

    Yuan et al. (ICASSP 2019) find it the best criterion of all.
    """

    needs_gradients = True
    needs_truth = True

    def score(self, evidence: Evidence) -> float:
        if evidence.truth is None:
            return 0.0
        assert evidence.truth.gradient_length is not None
        return evidence.truth.gradient_length


class TrueWER(AbsAcquisition):
    """Word error rate of the best hypothesis, at least 0; of an empty transcript, its errors."""

    needs_truth = True

    def score(self, evidence: Evidence) -> float:
        if evidence.truth is None:
            return 0.0
        words = evidence.truth.text.split()
        best = evidence.nbest.hypotheses[0].text.split()
        return editdistance.eval(words, best) / max(1, len(words))


class TrueGradient(AbsAcquisition):
    """Squared length of the transcript's projected gradient, 0 where there is none to train on.

    In ``embeddings.npy`` the transcript's gradient stands where else the best hypothesis's does:
    what a target set that is transcribed pulls at.
    """

    needs_gradients = True
    needs_embedding = True
    needs_truth = True
    embeds_truth = True

    def score(self, evidence: Evidence) -> float:
        if evidence.truth is None or evidence.truth.embedding is None:
            return 0.0
        return float(evidence.truth.embedding.square().sum())
