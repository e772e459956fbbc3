"""What a transcript would bring, predicted from the other scores.

Yuan et al. (ICASSP 2019) learn the true gradient length from EGL and uncertainty, Luo et
al. (arXiv 2107.04289) the loss; :mod:`espnet_egl.fitted.prediction` fits both on utterances that
are transcribed already.
"""

from __future__ import annotations

from pathlib import Path

from espnet_egl.acquisition import AbsAcquisition, Evidence


class Predicted(AbsAcquisition):
    """A prediction from the other columns of the score table.

    Args:
        fitted: The file of ``al_fit``.

    Raises:
        ConfigError: It is missing, or predicts no better than EGL itself does.
    """

    needs_columns = True
    target: str

    def __init__(self, fitted: str | Path | None = None):
        from espnet_egl.fitted.prediction import read_predictor

        self.predictor = read_predictor(fitted, self.target)

    def score(self, evidence: Evidence) -> float:
        return self.predictor.predict(evidence.columns)


class PredictedGL(Predicted):
    """The true gradient length, at least 0, in EGL's unit."""

    target = "true_gl"


class PredictedWER(Predicted):
    """The best hypothesis's word error rate."""

    target = "true_wer"
