"""Expected gradient length as it is defined, the oracle of every faster way.

Huang et al., "Active Learning for Speech Recognition: the Power of Gradients",
arXiv 1612.03226::

    EGL(x) = sum_k w_k || grad_theta loss(x, y_k) ||^2,   w_k = P(y_k | x)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from espnet_egl.model.modes import scoring_mode
from espnet_egl.model.recognizer import Recognizer


def squared_norm(gradients: Iterable[torch.Tensor | None]) -> torch.Tensor:
    """Sum of squares over tensors, in float64; None (no dependence) counts as zero."""
    total = torch.zeros((), dtype=torch.float64)
    for gradient in gradients:
        if gradient is not None:
            total = total + gradient.detach().double().square().sum().cpu()
    return total


def gradient_length(
    recognizer: Recognizer,
    speech: np.ndarray,
    tokens: Sequence[int],
    parameters: dict[str, torch.nn.Parameter],
) -> float:
    """|| grad_theta loss(x, y) ||^2 by one forward and one backward pass.

    Args:
        recognizer: The model; its own training loss is used, for this utterance alone.
        speech: (samples,) or (frames, D).
        tokens: Token ids of the transcript.
        parameters: Name -> parameter.
    """
    with scoring_mode(recognizer.model):
        loss = recognizer.training_loss(speech, tokens)
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        return float(squared_norm(gradients))


def expected_gradient_length(
    recognizer: Recognizer,
    speech: np.ndarray,
    hypotheses: Sequence[Sequence[int]],
    weights: Sequence[float],
    parameters: dict[str, torch.nn.Parameter],
) -> float:
    """The definition, literally: K forward and K backward passes.

    Args:
        recognizer: The model.
        speech: (samples,) or (frames, D).
        hypotheses: K token sequences.
        weights: K weights, P(y | x) as it is or renormalised.
        parameters: Name -> parameter.
    """
    return sum(
        weight * gradient_length(recognizer, speech, tokens, parameters)
        for tokens, weight in zip(hypotheses, weights, strict=True)
    )
