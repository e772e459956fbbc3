"""How over-confident P(transcript | audio) is, fitted on transcribed utterances.

With P(y | x)^(1 / T) in the place of P(y | x), a temperature T above 1 spreads the
probability over the list. It is fitted by maximum likelihood (Guo et al., arXiv 1706.04599),
the classes being the hypotheses of the list, and the true one that with the fewest word
errors, of several the most probable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import editdistance

from espnet_egl.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

RANGE = (0.1, 100.0)


def fit_temperature(nbest: pd.DataFrame, texts: Mapping[str, str]) -> float:
    """The temperature, in RANGE.

    Args:
        nbest: Rows of NBEST_COLUMNS, the most probable hypothesis of an utterance first.
        texts: Utterance -> transcript.

    Raises:
        DataError: No utterance has a transcript and two hypotheses.
    """
    from scipy.optimize import minimize_scalar

    lists = [
        (rows["log_prob"].to_numpy(float), _closest(rows["text"].tolist(), texts[str(uid)]))
        for uid, rows in nbest.groupby("utterance", sort=False)
        if uid in texts and len(rows) > 1
    ]
    if not lists:
        raise DataError(
            "no utterance has a transcript and two hypotheses or more: score the set with "
            "--write_nbest as large as --nbest"
        )

    def loss(log_temperature: float) -> float:
        return sum(_surprise(log_probs, best, log_temperature) for log_probs, best in lists)

    import math

    bounds = tuple(map(math.log, RANGE))
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)


def _closest(hypotheses: list[str], text: str) -> int:
    errors = [editdistance.eval(h.split(), text.split()) for h in hypotheses]
    return errors.index(min(errors))


def _surprise(log_probs: np.ndarray, best: int, log_temperature: float) -> float:
    import numpy as np
    from scipy.special import logsumexp

    tempered = log_probs / np.exp(log_temperature)
    return float(logsumexp(tempered) - tempered[best])
