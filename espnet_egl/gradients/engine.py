"""Expected gradient length, by the cheapest way that is known to be right for the model.

Axes: K hypotheses, T encoder frames, V vocabulary, R directions.

A CTC model's loss depends on its parameters through the logits z (T, V) alone. With
g_k = dloss_k/dz and J = dz/dtheta, the same for every hypothesis,

    sum_k w_k ||J^T g_k||^2 = ||J^T A^T||_F^2,   A = rows sqrt(w_k) g_k  (K, T V)

which no rotation of A's rows changes. The eigenvectors of the Gram matrix A A^T turn the
rows into orthogonal directions of decreasing energy, and as hypotheses of one utterance
differ in few places, a few of them hold all but a sliver of it. Each costs one backward
pass; all g_k come from one batched CTC.

Other losses are computed hypothesis by hypothesis (:mod:`.shared_forward`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from espnet_egl.gradients.reference import squared_norm
from espnet_egl.gradients.shared_forward import gradient_lengths
from espnet_egl.recognizer import Encoded, Recognizer, pad, scoring_mode

# Directions are added until the rest holds no more than this share of the energy at the
# logits. EGL then differs from the definition by about as much (see the tests).
ENERGY_LEFT_OUT = 1e-5


def expected_gradient_length(
    recognizer: Recognizer,
    encoded: Encoded,
    hypotheses: Sequence[Sequence[int]],
    weights: Sequence[float],
    parameters: dict[str, torch.nn.Parameter],
) -> float:
    """sum_k w_k || grad_theta loss(x, y_k) ||^2.

    Args:
        recognizer: The model.
        encoded: The utterance, encoded in :func:`scoring_mode` with gradients.
        hypotheses: K token sequences, each with a CTC alignment.
        weights: K weights, at least 0.
        parameters: Name -> parameter.
    """
    if not loss_is_ctc(recognizer.model):
        lengths = gradient_lengths(recognizer, encoded, hypotheses, parameters)
        return sum(w * length for w, length in zip(weights, lengths, strict=True))
    with scoring_mode(recognizer.model):
        logits = recognizer.model.ctc.ctc_lo(encoded.hidden)[0]
        gradients = logit_gradients(logits, encoded, hypotheses, recognizer.model.blank_id)
        total = 0.0
        for direction in few_directions(gradients, weights):
            found = torch.autograd.grad(
                logits,
                list(parameters.values()),
                grad_outputs=direction.to(logits.dtype),
                retain_graph=True,
                allow_unused=True,
            )
            total += float(squared_norm(found))
    return total


def loss_is_ctc(model: torch.nn.Module) -> bool:
    """Whether the training loss is plain CTC on the last layer, computed by PyTorch."""
    return bool(
        model.decoder is None
        and not model.use_transducer_decoder
        and model.interctc_weight == 0.0
        and model.ctc.ctc_type == "builtin"
    )


def logit_gradients(
    logits: torch.Tensor, encoded: Encoded, hypotheses: Sequence[Sequence[int]], blank: int
) -> torch.Tensor:
    """d(-log P(y_k | x)) / d(logits) of every hypothesis by one batched CTC.

    Args:
        logits: (T, V), not normalised.
        encoded: The utterance.
        hypotheses: K token sequences.
        blank: Id of the blank.

    Returns:
        (K, T, V) float64.
    """
    targets, lengths = pad(hypotheses, logits.device, fill=0)
    count = len(hypotheses)
    copies = logits.detach().double().unsqueeze(1).repeat(1, count, 1).requires_grad_()
    with torch.enable_grad():
        loss = torch.nn.functional.ctc_loss(
            copies.log_softmax(-1),
            targets,
            encoded.lengths.expand(count),
            lengths,
            blank=blank,
            reduction="sum",
        )
    return torch.autograd.grad(loss, copies)[0].transpose(0, 1)


def few_directions(gradients: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """Orthogonal directions with (nearly) the same sum of outer products.

    Args:
        gradients: (K, T, V).
        weights: K weights, at least 0.

    Returns:
        (R, T, V), R <= K, by decreasing energy; sum_r d_r d_r^T is sum_k w_k g_k g_k^T but for
        ENERGY_LEFT_OUT of its trace.
    """
    roots = torch.tensor(weights, dtype=gradients.dtype, device=gradients.device).sqrt()
    rows = (gradients * roots[:, None, None]).flatten(1)
    energies, vectors = torch.linalg.eigh(rows @ rows.T)  # ascending
    left_out = energies.clamp_min(0).cumsum(0)
    keep = left_out > ENERGY_LEFT_OUT * left_out[-1]
    return (vectors.T[keep].flip(0) @ rows).unflatten(1, gradients.shape[1:])
