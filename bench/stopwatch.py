"""Where the time of a scoring pass goes, seen from outside: the calls of its parts are timed."""

from __future__ import annotations

import inspect
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch


class Stopwatch:
    """Seconds by label. A part inside another counts for that one alone, if it is not an aside.

    Args:
        device: A GPU is waited for before the clock is read.
    """

    ASIDES = ("search",)

    def __init__(self, device: str = "cpu"):
        self.seconds: Counter[str] = Counter()
        self._gpu = device.startswith("cuda")
        self._running: list[str] = []

    def now(self) -> float:
        """Seconds on a clock, when all that was asked for is done."""
        if self._gpu:
            torch.cuda.synchronize()
        return time.perf_counter()

    def timed(self, function: Callable[[], Any]) -> tuple[Any, float]:
        """What the function returns, and the seconds it took."""
        started = self.now()
        result = function()
        return result, self.now() - started

    @contextmanager
    def part(self, label: str) -> Iterator[None]:
        """Count what happens inside."""
        if label in self._running or (self._running and label not in self.ASIDES):
            yield
            return
        self._running.append(label)
        started = self.now()
        try:
            yield
        finally:
            self.seconds[label] += self.now() - started
            self._running.pop()

    def watch(self, thing: Any, label: str) -> None:
        """Count calls of a thing, and of its public methods.

        ``prepare`` is left out: it belongs to no utterance.
        """
        kind = type(thing)
        methods = {
            name: self.counted(method, label)
            for name in dir(kind)
            if (name == "__call__" or not name.startswith("_")) and name != "prepare"
            if inspect.isfunction(method := getattr(kind, name))
        }
        thing.__class__ = type(kind.__name__, (kind,), methods)

    def counted(self, method: Callable[..., Any], label: str) -> Callable[..., Any]:
        """The same function, its seconds counted."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.part(label):
                return method(*args, **kwargs)

        return counted

    def watch_engine(self, engine: Any) -> None:
        """Count its encoder and what its batches do."""
        encode = engine.encode

        @contextmanager
        def watched(*args: Any, **kwargs: Any) -> Iterator[Any]:
            with ExitStack() as stack:
                with self.part("encoder"):
                    batch = stack.enter_context(encode(*args, **kwargs))
                self.watch(batch, "gradients")
                yield batch

        engine.encode = watched
