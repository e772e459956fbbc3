"""What may be labelled: ``500utt``, ``2.5h``, ``20%`` (of the pool's hours) or ``1500EUR``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from humanfriendly.text import pluralize

from espnet_egl.errors import BudgetError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SYNTAX = "write it as 500utt, 2.5h, 20% (of the pool's hours) or 1500EUR (with its prices)"
# Durations are sums of milliseconds, prices of cents: half of one must not cost an utterance.
SLACK = 5e-4


@dataclass(frozen=True)
class Prices:
    """What transcribing costs, in any currency: so much an hour of audio, and so much a clip."""

    per_hour: float = 0.0
    per_clip: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.per_hour < float("inf") and 0 <= self.per_clip < float("inf")):
            raise BudgetError("--price_per_hour and --price_per_clip cannot be below zero")

    def __bool__(self) -> bool:
        return self.per_hour + self.per_clip > 0

    def total(self, clips: float, hours: float) -> float:
        """Of so many clips with so many hours together."""
        return hours * self.per_hour + clips * self.per_clip

    def of(self, table: pd.DataFrame) -> np.ndarray:
        """Of every utterance."""
        return table["seconds"].to_numpy(float) / 3600 * self.per_hour + self.per_clip


FREE = Prices()


@dataclass(frozen=True)
class Budget:
    """An upper bound in utterances, in seconds of audio or in money; the other two are None."""

    utterances: int | None = None
    seconds: float | None = None
    money: float | None = None
    prices: Prices = FREE

    def __str__(self) -> str:
        if self.utterances is not None:
            return pluralize(self.utterances, "utterance")
        return f"{self.money:g}" if self.seconds is None else f"{self.seconds / 3600:.3g} h"

    @property
    def limit(self) -> float:
        """In its own unit."""
        return next(v for v in (self.utterances, self.seconds, self.money) if v is not None)

    def costs(self, table: pd.DataFrame) -> np.ndarray:
        """Of every utterance, in the budget's unit."""
        import numpy as np

        if self.utterances is not None:
            return np.ones(len(table))
        return table["seconds"].to_numpy(float) if self.money is None else self.prices.of(table)


def parse_amount(text: str) -> tuple[float, str]:
    """The number and the unit of a budget: ``utt``, ``h``, ``%`` or a currency.

    >>> parse_amount("2.5h")
    (2.5, 'h')

    Raises:
        BudgetError: It cannot be read, or is not above zero.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(utts?|h|%|[A-Za-z]{3})\s*", text)
    if match is None:
        raise BudgetError(f"budget '{text}': {SYNTAX}")
    amount = float(match[1])
    if amount <= 0:
        raise BudgetError(f"budget '{text}': nothing would be selected; give more than zero")
    return amount, "utt" if match[2].startswith("utt") else match[2]


def parse_budget(
    text: str, pool_utterances: int, pool_seconds: float, prices: Prices = FREE
) -> Budget:
    """Read a budget and check it against the pool.

    >>> parse_budget("20%", 100, 3600.0).seconds
    720.0

    Raises:
        BudgetError: It cannot be read, is not above zero, or is larger than the pool.
    """
    amount, unit = parse_amount(text)
    if unit == "utt":
        if amount != int(amount):
            raise BudgetError(f"budget '{text}': give a whole number of utterances")
        if amount > pool_utterances:
            raise BudgetError(
                f"budget '{text}' is larger than the pool's {pool_utterances} scored utterances; "
                "give 100% to take all of it"
            )
        return Budget(utterances=int(amount))
    if unit not in ("h", "%"):
        return _money(text, amount, pool_utterances, pool_seconds, prices)
    seconds = amount * 3600 if unit == "h" else amount / 100 * pool_seconds
    if seconds > pool_seconds:
        raise BudgetError(
            f"budget '{text}' ({seconds / 3600:.3g} h) is larger than the pool's "
            f"{pool_seconds / 3600:.3g} scored hours; give 100% to take all of it"
        )
    return Budget(seconds=seconds)


def _money(
    text: str, amount: float, pool_utterances: int, pool_seconds: float, prices: Prices
) -> Budget:
    if not prices:
        raise BudgetError(
            f"budget '{text}': give --price_per_hour, --price_per_clip or both, or {SYNTAX}"
        )
    total = pool_seconds / 3600 * prices.per_hour + pool_utterances * prices.per_clip
    if amount > total:
        raise BudgetError(
            f"budget '{text}' is larger than what all of the pool costs, {total:.2f}; "
            "give 100% to take all of it"
        )
    return Budget(money=amount, prices=prices)
