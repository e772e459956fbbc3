"""The progress bar of every long stage."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any


def progress(
    items: Iterable[Any], total: int | None, done: int = 0, unit: str = "utt"
) -> Iterable[Any]:
    """A progress bar with rate and time left; in a log file a line now and then."""
    from tqdm import tqdm

    interval = 0.5 if os.isatty(2) else 15.0
    return tqdm(
        items,
        total=total,
        initial=done,
        unit=unit,
        mininterval=interval,
        maxinterval=2 * interval,
        delay=interval,  # what is done sooner needs no bar
    )
