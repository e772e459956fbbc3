"""What may be labelled: ``500utt``, ``2.5h`` or ``20%`` (of the pool's hours)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from espnet_egl.errors import BudgetError


@dataclass(frozen=True)
class Budget:
    """An upper bound in utterances, or in seconds of audio; the other one is None."""

    utterances: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        if self.seconds is None:
            return f"{self.utterances} utterances"
        return f"{self.seconds / 3600:.3g} h"


def parse_budget(text: str, pool_utterances: int, pool_seconds: float) -> Budget:
    """Read a budget and check it against the pool.

    >>> parse_budget("20%", 100, 3600.0)
    Budget(utterances=None, seconds=720.0)

    Raises:
        BudgetError: It cannot be read, is not above zero, or is larger than the pool.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(utts?|h|%)\s*", text)
    if match is None:
        raise BudgetError(f"budget '{text}': write it as 500utt, 2.5h or 20% (of the pool's hours)")
    amount, unit = float(match[1]), match[2]
    if amount <= 0:
        raise BudgetError(f"budget '{text}': nothing would be selected; give more than zero")
    if unit.startswith("utt"):
        if amount != int(amount):
            raise BudgetError(f"budget '{text}': give a whole number of utterances")
        if amount > pool_utterances:
            raise BudgetError(
                f"budget '{text}' is larger than the pool's {pool_utterances} scored utterances; "
                "give 100% to take all of it"
            )
        return Budget(utterances=int(amount))
    seconds = amount * 3600 if unit == "h" else amount / 100 * pool_seconds
    if seconds > pool_seconds:
        raise BudgetError(
            f"budget '{text}' ({seconds / 3600:.3g} h) is larger than the pool's "
            f"{pool_seconds / 3600:.3g} scored hours; give 100% to take all of it"
        )
    return Budget(seconds=seconds)
