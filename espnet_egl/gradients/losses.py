"""The gradients of all hypotheses' losses where they still share the model.

Axes: B utterances, K hypotheses, T encoder frames, V vocabulary, U symbols that occur, D
features, R directions.

All hypotheses of an utterance share x, and with it everything up to the tensors at which
the transcript enters: the logits of a CTC model, the encoder's output of a hybrid or a
transducer. With g_k the gradient of the k-th loss there and J the common Jacobian,

    sum_k w_k || grad_theta loss_k ||^2 = sum_k w_k own_k + sum_k w_k || J^T g_k ||^2

where own_k belongs to the parameters above, in the decoder. Only inner products of the g_k
and linear combinations of them are needed further on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from espnet_egl.gradients.taps import AutogradNorms, TappedNorms
from espnet_egl.model.encoded import Encoded
from espnet_egl.model.likelihoods import CHUNK, chunks, occurring, pad
from espnet_egl.model.recognizer import Recognizer


def loss_is_ctc(model: Any) -> bool:
    """Whether the training loss is a sum of CTC losses computed by PyTorch."""
    return bool(
        model.decoder is None
        and not model.use_transducer_decoder
        and model.ctc is not None
        and model.ctc.ctc_type == "builtin"
        and getattr(model, "aux_ctc", None) is None
    )


def ctc_weights(model: Any, intermediate: int) -> list[float]:
    """Weight of the last layer's CTC loss, then of every intermediate layer's."""
    weight = model.interctc_weight if intermediate else 0.0
    return [1.0 - weight, *[weight / max(1, intermediate)] * intermediate]


def separable(model: Any) -> bool:
    """Whether the loss of a batch of transcripts is the sum of theirs, and falls into a
    shared part and one above that have no parameter in common."""
    if loss_is_ctc(model):
        return True
    attention = getattr(model, "criterion_att", None)
    return (
        not getattr(attention, "normalize_length", False)
        and (model.ctc is None or model.ctc.ctc_type == "builtin")
        and not getattr(model.encoder, "interctc_use_conditioning", False)
        and getattr(model, "aux_ctc", None) is None
    )


class Cotangents(ABC):
    """g_1 ... g_K of one utterance.

    Attributes:
        gram: (K, K) inner products <g_k, g_l>, float64.
        own: (K,) squared gradient lengths above the shared part, float64.
    """

    gram: torch.Tensor
    own: torch.Tensor

    @abstractmethod
    def combine(self, coefficients: torch.Tensor) -> list[Combined]:
        """u_r = sum_k coefficients[r, k] g_k, for every tensor of the shared part.

        Args:
            coefficients: (R, K).
        """

    @abstractmethod
    def beneath(self, coefficients: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """A layer's inputs and the gradients at its outputs, were it the encoder's last.

        Args:
            coefficients: (R, K).

        Returns:
            For every tensor of the shared part the encoder's output (T, D), and u_r pulled
            back to it (R, T, D).
        """


@dataclass(frozen=True)
class Combined:
    """u_1 ... u_R at one tensor (T, F), where F are a few symbols of a vocabulary or all.

    Attributes:
        values: (R, T, U), single precision: what the backward pass computes in.
        symbols: (U,) the columns that ``values`` are of; None for all.
        common: (T, F) what the other columns are a multiple of.
        factors: (R,) of ``common``.
    """

    values: torch.Tensor
    symbols: torch.Tensor | None = None
    common: torch.Tensor | None = None
    factors: torch.Tensor | None = None

    def write(self, r: int, target: torch.Tensor) -> None:
        """Put u_r into a (T', F) tensor of zeros with T' >= T."""
        if self.symbols is None:
            target[: self.values.size(1)] = self.values[r]
            return
        assert self.common is not None
        assert self.factors is not None
        rows = target[: self.values.size(1)]
        rows.copy_(self.factors[r] * self.common)
        rows[:, self.symbols] = self.values[r].to(rows.dtype)

    def times(self, matrix: torch.Tensor) -> torch.Tensor:
        """u_r @ matrix (F, D): (R, T, D)."""
        if self.symbols is None:
            return self.values @ matrix
        assert self.common is not None
        assert self.factors is not None
        rest = self.common @ matrix - self.common[:, self.symbols] @ matrix[self.symbols]
        return self.values @ matrix[self.symbols] + self.factors[:, None, None] * rest


def occupancies(
    log_probs: torch.Tensor, hypotheses: Sequence[Sequence[int]], blank: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """P(frame t emits symbol u | x, y_k) by the CTC forward-backward algorithm.

    Args:
        log_probs: (T, V), normalised, float64.
        hypotheses: K token sequences, each with a CTC alignment.
        blank: Id of the blank.

    Returns:
        The symbols (U,) that occur in any hypothesis, blank first, and the occupancies
        (K, T, U), which sum to 1 over U.
    """
    symbols, kept, renamed = occurring(log_probs.detach(), hypotheses, blank)
    return symbols, torch.cat([_occupancies(kept, part) for part in chunks(renamed, kept.numel())])


def _occupancies(kept: torch.Tensor, hypotheses: Sequence[Sequence[int]]) -> torch.Tensor:
    count = len(hypotheses)
    targets, lengths = pad(hypotheses, kept.device, fill=0)
    copies = kept.unsqueeze(1).repeat(1, count, 1).requires_grad_()
    frames = torch.full((count,), len(kept), device=kept.device)
    with torch.enable_grad():
        loss = torch.nn.functional.ctc_loss(copies, targets, frames, lengths, reduction="sum")
    # PyTorch returns the gradient at the logits before a softmax over these very columns:
    # probability minus occupancy.
    (gradient,) = torch.autograd.grad(loss, copies)
    return (copies.detach().exp() - gradient).transpose(0, 1)


class CTCCotangents(Cotangents):
    """Of a loss that is a weighted sum of CTC losses of one utterance.

    At the logits, g_k = probability - occupancy_k.

    Args:
        hidden: (T, D) of every branch.
        weight: (V, D) of the output layer.
        logits: (T, V) of every branch, not normalised.
        branch_weights: Of every branch.
        hypotheses: K token sequences.
        blank: Id of the blank.
    """

    def __init__(
        self,
        hidden: Sequence[torch.Tensor],
        weight: torch.Tensor,
        logits: Sequence[torch.Tensor],
        branch_weights: Sequence[float],
        hypotheses: Sequence[Sequence[int]],
        blank: int,
    ):
        count = len(hypotheses)
        self.gram = logits[0].new_zeros(count, count, dtype=torch.float64)
        self.own = self.gram.new_zeros(count)
        self._hidden, self._weight = hidden, weight.detach()
        self._branches = []
        for z, share in zip(logits, branch_weights, strict=True):
            log_probs = z.detach().double().log_softmax(-1)
            probs = log_probs.exp()
            symbols, occupied = occupancies(log_probs, hypotheses, blank)
            # What no hypothesis has is the same in every g_k.
            common = probs.square().sum() - probs[:, symbols].square().sum()
            kept = (probs[:, symbols] - occupied).flatten(1)
            self.gram += share**2 * (kept @ kept.T + common)
            self._branches.append((share, probs.to(z.dtype), symbols, kept))

    def combine(self, coefficients: torch.Tensor) -> list[Combined]:
        found = []
        for share, probs, symbols, kept in self._branches:
            values = (share * coefficients @ kept).view(len(coefficients), len(probs), -1)
            factors = share * coefficients.sum(1)
            found.append(Combined(values.to(probs.dtype), symbols, probs, factors.to(probs.dtype)))
        return found

    def beneath(self, coefficients: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        combined = self.combine(coefficients)
        return [(h, u.times(self._weight)) for h, u in zip(self._hidden, combined, strict=True)]


class HiddenCotangents(Cotangents):
    """Of a loss that goes through a decoder, at the encoder's output.

    Args:
        recognizer: The model.
        norms: Norms over the selected parameters of decoder and output layers.
        encoded: The utterance.
        hypotheses: K token sequences.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        norms: TappedNorms | AutogradNorms,
        encoded: Encoded,
        hypotheses: Sequence[Sequence[int]],
    ):
        own, gradients = [], []
        self._hidden = [h[0] for h in encoded.layers]
        size = _decoder_size(recognizer, encoded, hypotheses)
        for part in chunks(hypotheses, size if isinstance(norms, TappedNorms) else CHUNK):
            lengths, at_hidden = _decode(recognizer, norms, encoded, part)
            own.append(lengths)
            gradients.append(at_hidden)
        self.own = torch.cat(own)
        self._gradients = [torch.cat(parts) for parts in zip(*gradients, strict=True)]
        flat = [g.flatten(1).double() for g in self._gradients]
        self.gram = sum((f @ f.T for f in flat[1:]), flat[0] @ flat[0].T)

    def combine(self, coefficients: torch.Tensor) -> list[Combined]:
        return [
            Combined(torch.einsum("rk,ktd->rtd", coefficients.to(g.dtype), g))
            for g in self._gradients
        ]

    def beneath(self, coefficients: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        combined = self.combine(coefficients)
        return [(h, u.values) for h, u in zip(self._hidden, combined, strict=True)]


def _decoder_size(
    recognizer: Recognizer, encoded: Encoded, hypotheses: Sequence[Sequence[int]]
) -> int:
    """About how many numbers a decoder holds for one hypothesis."""
    longest = max(len(y) for y in hypotheses) + 1
    width = max(recognizer.model.vocab_size, encoded.hidden.size(-1))
    positions = encoded.frames * (longest if recognizer.model.use_transducer_decoder else 1)
    return 4 * (positions + longest) * width


def _decode(
    recognizer: Recognizer,
    norms: TappedNorms | AutogradNorms,
    encoded: Encoded,
    hypotheses: Sequence[Sequence[int]],
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Own squared gradient lengths (K,), and gradients (K, T, D) at the encoder's outputs."""
    count = len(hypotheses)

    def copy(hidden: torch.Tensor) -> torch.Tensor:
        return hidden.detach().repeat(count, 1, 1).requires_grad_()

    inputs = [copy(h) for h in encoded.layers]
    output: Any = inputs[0]
    if encoded.intermediate:
        layers = [layer for layer, _ in encoded.intermediate]
        output = (inputs[0], list(zip(layers, inputs[1:], strict=True)))
    copies = Encoded(output, encoded.lengths.expand(count))
    with torch.enable_grad(), norms.recording(count) as recording:
        loss = recognizer.training_loss_encoded(copies, hypotheses)
        own, gradients = recording.backward([loss], [torch.ones_like(loss)], inputs)
    return own, [
        torch.zeros_like(x) if g is None else g for x, g in zip(inputs, gradients, strict=True)
    ]
