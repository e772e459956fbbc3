"""The first of an order that fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espnet_egl.selection.budget import SLACK

if TYPE_CHECKING:
    import numpy as np


def take(
    costs: np.ndarray,
    limit: float,
    groups: np.ndarray | None = None,
    group_costs: np.ndarray | None = None,
    group_limit: float = 0.0,
) -> np.ndarray:
    """Which rows fit, taken in order; one that does not is passed over.

    The rest of a budget so goes to the next ones that do fit.

    Args:
        costs: (N,) of every row, best first.
        limit: What they may cost together.
        groups: (N,) a number for every row, of a speaker for example.
        group_costs: (N,) of every row, in the unit of the group's limit.
        group_limit: What the rows of a group may cost together.

    Returns:
        (N,) bool.
    """
    import numpy as np

    chosen = np.zeros(len(costs), dtype=bool)
    left, smallest = limit + SLACK, float(costs.min()) if len(costs) else 0.0
    spent: dict[int, float] = {}
    of_group = [0] * len(costs) if groups is None else groups.tolist()
    of_costs = [0.0] * len(costs) if group_costs is None else group_costs.tolist()
    for i, (cost, group, group_cost) in enumerate(
        zip(costs.tolist(), of_group, of_costs, strict=True)
    ):
        if left < smallest:
            break
        total = spent.get(group, 0.0) + group_cost
        if cost <= left and total <= group_limit + SLACK:
            chosen[i] = True
            left -= cost
            spent[group] = total
    return chosen
