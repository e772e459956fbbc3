"""Gradient lengths of many transcripts of one utterance with one pass through the encoder.

All hypotheses share x, so the encoder's graph is built once and kept; the decoder's part
and the backward pass are done for every hypothesis.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from espnet_egl.gradients.reference import squared_norm
from espnet_egl.model.encoded import Encoded
from espnet_egl.model.modes import scoring_mode
from espnet_egl.model.recognizer import Recognizer


def gradient_lengths(
    recognizer: Recognizer,
    encoded: Encoded,
    hypotheses: Sequence[Sequence[int]],
    parameters: dict[str, torch.nn.Parameter],
) -> list[float]:
    """|| grad_theta loss(x, y_k) ||^2 of every hypothesis.

    Args:
        recognizer: The model.
        encoded: The utterance, encoded in :func:`scoring_mode` with gradients.
        hypotheses: K token sequences.
        parameters: Name -> parameter.

    Returns:
        K squared norms.
    """
    lengths = []
    with scoring_mode(recognizer.model):
        for tokens in hypotheses:
            loss = recognizer.training_loss_encoded(encoded, [tokens])
            gradients = torch.autograd.grad(
                loss, list(parameters.values()), retain_graph=True, allow_unused=True
            )
            lengths.append(float(squared_norm(gradients)))
    return lengths
