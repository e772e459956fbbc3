"""Few hypotheses that stand for all, where each takes its own way through a decoder.

Axes: K hypotheses.

A hundred samples of a transcript differ in few places, and so do their gradients: to pass all of
them through a decoder says little more than to pass a dozen. Those of large weight are taken for
sure; of the others as many as may be are drawn in proportion to their weight, at even distances in
the order of the list, the most probable first, so that they are spread over what is there
(systematic sampling, Horvitz and Thompson 1952). Nothing is left to chance: the first is drawn at
half a distance. Their error is taken as if they were drawn at random, which is on the safe side.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Paths:
    """Hypotheses with weights whose sum over any length is about that over all hypotheses.

    Attributes:
        shares: Number of a hypothesis -> its weight; the one of the largest weight first.
        drawn: Numbers of those that were drawn, in their order, some several times.
        each: What one of these weighs.
    """

    shares: dict[int, float]
    drawn: tuple[int, ...] = ()
    each: float = 0.0

    def variance(self, lengths: torch.Tensor) -> float:
        """Of the sum, for the squared gradient lengths of ``shares``, in their order."""
        if len(self.drawn) < 2:
            return 0.0
        places = {k: i for i, k in enumerate(self.shares)}
        drawn = lengths[[places[k] for k in self.drawn]]
        return self.each**2 * len(drawn) * float(drawn.var())


def few(weights: Sequence[float], ranks: Sequence[int], count: int) -> Paths:
    """Choose hypotheses.

    Args:
        weights: K, at least 0, the largest first.
        ranks: Their K places in the list, in whose order they are drawn.
        count: How many are chosen at most, at least 3: of two draws there is an error.
    """
    if len(weights) <= count:
        return Paths(dict(enumerate(weights)))
    sure, rest = 1, sum(weights[1:])
    while sure < count - 2 and weights[sure] * (count - sure) >= rest:
        rest = max(0.0, rest - weights[sure])
        sure += 1
    shares = dict(enumerate(weights[:sure]))
    order = sorted(range(sure, len(weights)), key=lambda k: ranks[k])
    ends = list(itertools.accumulate(weights[k] for k in order))
    step = ends[-1] / (count - sure)
    drawn = [
        order[min(bisect.bisect_left(ends, (i + 0.5) * step), len(order) - 1)]
        for i in range(count - sure)
    ]
    for k in drawn:
        shares[k] = shares.get(k, 0.0) + step
    return Paths(shares, tuple(drawn), step)
