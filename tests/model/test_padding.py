"""A padded batch comes out as if every utterance were alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import MODELS, PADDING_MATTERS, make_speech
from tolerances import ACTIVATION

from espnet_egl.model.modes import scoring_mode

LENGTHS = (1.3, 1.27, 1.1, 1.06, 0.77, 0.5)


@pytest.mark.parametrize("name", [n for n in MODELS if n not in PADDING_MATTERS])
def test_utterances_are_as_if_alone(load: Any, name: str) -> None:
    recognizer = load(name)
    speech = [make_speech(seconds, seed=i) for i, seconds in enumerate(LENGTHS)]
    with torch.no_grad(), scoring_mode(recognizer.model):
        batch = recognizer.encode_features([recognizer.features(s) for s in speech])
        for b, s in enumerate(speech):
            alone, found = recognizer.encode(s), batch.utterance(b)
            assert found.frames == alone.frames
            assert torch.allclose(found.hidden, alone.hidden, atol=ACTIVATION)
            for (_, x), (_, y) in zip(found.intermediate, alone.intermediate, strict=True):
                assert torch.allclose(x, y, atol=ACTIVATION)


def test_hooks_are_gone_after_an_error(load: Any) -> None:
    recognizer = load("ctc_conformer")
    with pytest.raises(IndexError), scoring_mode(recognizer.model):
        recognizer.encode_features([torch.zeros(50, 16), torch.zeros(())])
    for module in recognizer.model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
