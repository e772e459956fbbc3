"""What is launched for an utterance, which on a GPU is what it costs."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import make_speech
from torch.utils._python_dispatch import TorchDispatchMode

from espnet_egl.acquisition.egl import EGL
from espnet_egl.gradients.engine import GradientEngine
from espnet_egl.hypotheses.ctc_sampling import CTCSampleSource
from espnet_egl.scoring.scorer import Scorer
from espnet_egl.types import Utterance

BATCH = 32


class Count(TorchDispatchMode):
    """Counts operators as they reach a device."""

    count = 0

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return op(*args, **(kwargs or {}))


@pytest.mark.parametrize(("name", "most"), [("ctc_conformer", 450), ("hybrid_conformer", 900)])
def test_operators_of_an_utterance_are_few(load: Any, name: str, most: int) -> None:
    """Once 1400 and 3500: loops over hypotheses and over utterances, whatever the batch."""
    recognizer = load(name)
    engine = GradientEngine(recognizer)
    source = CTCSampleSource(size=100)
    scorer = Scorer(recognizer, source, {"egl": EGL()}, engine, 10**9)
    scorer.prepare()
    utterances = [
        Utterance(f"u{i}", make_speech(1.5 - 0.02 * i, seed=i), 1.5 - 0.02 * i)
        for i in range(BATCH)
    ]
    with Count() as counted:
        rows = scorer.score(utterances)
    assert len(rows) == BATCH
    assert counted.count / BATCH < most
