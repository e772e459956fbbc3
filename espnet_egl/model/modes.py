"""The model as a fixed function of its input, and left as it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from espnet_egl.model import compat

# PyTorch's recurrent layers drop out between their layers.
DROPOUT = (torch.nn.modules.dropout._DropoutNd, torch.nn.RNNBase)


@contextmanager
def scoring_mode(model: Any, dropout: bool = False) -> Iterator[None]:
    """The model as a fixed function of its input; left as it was, also after an exception.

    Evaluation mode switches off dropout, SpecAugment and BatchNorm's updates. Traps remain:
    ESPnet's CTC branch and its recurrent encoders with projections keep their dropout in
    evaluation mode, the recurrent decoder its scheduled sampling, and the branches compute
    error rates there that nobody asked for. LoRA layers merge their weights when they are
    told to evaluate, which would leave nothing to differentiate, so that modes are set and
    not switched. cuDNN's RNNs refuse a backward pass in evaluation mode, so they are
    computed without cuDNN.

    Args:
        model: The model.
        dropout: Leave dropout on, as in training; nothing else.
    """
    modes = {module: module.training for module in model.modules()}
    with ExitStack() as stack:
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        for name in ("error_calculator", "error_calculator_trans"):
            if getattr(model, name, None) is not None:
                stack.enter_context(replaced(model, name, None))
        off = compat.RANDOM_IN_EVALUATION - (compat.DROPOUT_IN_EVALUATION if dropout else set())
        for module in modes:
            for name in off.intersection(vars(module)):
                if isinstance(getattr(module, name), float):
                    stack.enter_context(replaced(module, name, 0.0))
        try:
            for module in modes:
                module.training = dropout and isinstance(module, DROPOUT)
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute of this one object, and undo it whatever happens."""
    missing = object()
    previous = vars(owner).get(name, missing)
    vars(owner)[name] = value
    try:
        yield
    finally:
        if previous is missing:
            del vars(owner)[name]
        else:
            vars(owner)[name] = previous


def freeze(model: torch.nn.Module, prefixes: Sequence[str]) -> None:
    """Freeze what training froze (``--freeze_param``); ESPnet forgets it in inference.

    Adapters come after: they are trained inside of what is frozen.
    """
    for name, parameter in model.named_parameters():
        if not compat.is_adapter(name) and any(
            name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes
        ):
            parameter.requires_grad = False
