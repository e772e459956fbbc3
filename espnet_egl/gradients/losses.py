"""The gradients of all hypotheses' losses where they still share the model.

Axes: G utterances that are taken together, K hypotheses of each at most, N of all, T encoder
frames, V vocabulary, U symbols that occur, D features, R directions.

All hypotheses of an utterance share x, and with it everything up to the tensors at which
the transcript enters: the logits of a CTC model, the encoder's output of a hybrid or a
transducer. With g_k the gradient of the k-th loss there and J the common Jacobian,

    sum_k w_k || grad_theta loss_k ||^2 = sum_k w_k own_k + sum_k w_k || J^T g_k ||^2

where own_k belongs to the parameters above, in the decoder. Only inner products of the g_k
and linear combinations of them are needed further on. An utterance of fewer hypotheses than
others has some of no weight, whatever they say.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from espnet_egl.gradients.taps import AutogradNorms, TappedNorms
from espnet_egl.model.encoded import Encoded
from espnet_egl.model.likelihoods import CHUNK, chunks, pad
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
    """g_1 ... g_K of several utterances.

    Attributes:
        gram: (G, K, K) inner products <g_k, g_l>, float64.
        own: (G, K) squared gradient lengths above the shared part, float64.
    """

    gram: torch.Tensor
    own: torch.Tensor

    @abstractmethod
    def combine(self, coefficients: torch.Tensor) -> list[Combined]:
        """u_r = sum_k coefficients[r, k] g_k, for every tensor of the shared part.

        Args:
            coefficients: (G, R, K).
        """

    @abstractmethod
    def beneath(self, coefficients: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """A layer's inputs and the gradients at its outputs, were it the encoder's last.

        Args:
            coefficients: (G, R, K).

        Returns:
            For every tensor of the shared part the encoder's output (G, T, D), and u_r pulled
            back to it (G, R, T, D); zeros beyond an utterance's frames.
        """


@dataclass(frozen=True)
class Combined:
    """u_1 ... u_R at one tensor (G, T, F), where F are a few symbols of a vocabulary or all.

    Attributes:
        values: (G, R, T, U), single precision: what the backward pass computes in.
        symbols: (G, U) the columns that ``values`` are of, some twice; None for all.
        common: (G, T, F) what the other columns are a multiple of.
        factors: (G, R) of ``common``.
    """

    values: torch.Tensor
    symbols: torch.Tensor | None = None
    common: torch.Tensor | None = None
    factors: torch.Tensor | None = None

    def write(self, g: int, r: int, target: torch.Tensor) -> None:
        """Put u_r of an utterance into a (T', F) tensor of zeros.

        Args:
            g: The utterance.
            r: The direction.
            target: Of as many frames as it has, or more.
        """
        values = self.values[g, r]
        frames = min(len(values), len(target))
        rows, values = target[:frames], values[:frames]
        if self.symbols is None:
            rows.copy_(values)
            return
        assert self.common is not None
        assert self.factors is not None
        rows.copy_(self.factors[g, r] * self.common[g, :frames])
        rows[:, self.symbols[g]] = values.to(rows.dtype)


def occupancies(
    log_probs: torch.Tensor,
    frames: torch.Tensor,
    hypotheses: Sequence[Sequence[Sequence[int]]],
    blank: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """P(frame t emits symbol u | x, y_k) by the CTC forward-backward algorithm.

    Args:
        log_probs: (G, T, V), normalised, float64.
        frames: (G,) of each utterance.
        hypotheses: Token sequences of every utterance, each with a CTC alignment.
        blank: Id of the blank.

    Returns:
        The symbols (G, U) that occur in any hypothesis of an utterance, blank first, then again
        where it has fewer; and the occupancies (G, K, T, U), which sum to 1 over the different
        ones of U: zeros in what is there twice, beyond an utterance's frames, and of hypotheses
        that it does not have.
    """
    sets = [sorted({token for y in found for token in y}) for found in hypotheses]
    most = max(map(len, sets))
    symbols, _ = pad([[blank, *own] for own in sets], log_probs.device, fill=blank)
    places = [{token: i for i, token in enumerate(own, 1)} for own in sets]
    renamed = [[places[g][t] for t in y] for g, found in enumerate(hypotheses) for y in found]
    columns = symbols.unsqueeze(1).expand(-1, log_probs.size(1), -1)
    kept = log_probs.detach().gather(2, columns)  # (G, T, U)
    owners = torch.tensor([g for g, found in enumerate(hypotheses) for _ in found])
    numbers = list(range(len(renamed)))
    parts = [
        _occupancies(kept, frames, owners[part[0] : part[-1] + 1], [renamed[n] for n in part])
        for part in chunks(numbers, kept.size(1) * (most + 1))
    ]
    found = kept.new_zeros(len(sets), max(map(len, hypotheses)), *kept.shape[1:])
    slots = torch.tensor([k for one in hypotheses for k in range(len(one))])
    found[owners.to(found.device), slots.to(found.device)] = torch.cat(parts)
    return symbols, found


def _occupancies(
    kept: torch.Tensor,
    frames: torch.Tensor,
    owners: torch.Tensor,
    hypotheses: Sequence[Sequence[int]],
) -> torch.Tensor:
    """(N, T, U) of hypotheses of the utterances ``owners``."""
    owners = owners.to(kept.device)
    targets, lengths = pad(hypotheses, kept.device, fill=0)
    copies = kept[owners].transpose(0, 1).requires_grad_()
    with torch.enable_grad():
        loss = torch.nn.functional.ctc_loss(
            copies, targets, frames.to(kept.device)[owners], lengths, reduction="sum"
        )
    # PyTorch returns the gradient at the logits before a softmax over these very columns:
    # probability minus occupancy.
    (gradient,) = torch.autograd.grad(loss, copies)
    return (copies.detach().exp() - gradient).transpose(0, 1)


class CTCCotangents(Cotangents):
    """Of a loss that is a weighted sum of CTC losses.

    At the logits, g_k = probability - occupancy_k.

    Args:
        hidden: (G, T, D) of every branch.
        weight: (V, D) of the output layer.
        logits: (G, T, V) of every branch, not normalised.
        frames: (G,) of each utterance.
        branch_weights: Of every branch.
        hypotheses: Token sequences of every utterance.
        blank: Id of the blank.
    """

    def __init__(
        self,
        hidden: Sequence[torch.Tensor],
        weight: torch.Tensor,
        logits: Sequence[torch.Tensor],
        frames: torch.Tensor,
        branch_weights: Sequence[float],
        hypotheses: Sequence[Sequence[Sequence[int]]],
        blank: int,
    ):
        count = max(map(len, hypotheses))
        self.gram = logits[0].new_zeros(len(hypotheses), count, count, dtype=torch.float64)
        self.own = self.gram.new_zeros(len(hypotheses), count)
        inside = _inside(frames, logits[0])
        self._hidden, self._weight = [h.detach() * inside for h in hidden], weight.detach()
        self._branches = []
        for z, share in zip(logits, branch_weights, strict=True):
            log_probs = z.detach().double().log_softmax(-1)
            symbols, occupied = occupancies(log_probs, frames, hypotheses, blank)
            probs = log_probs.exp() * inside
            columns = symbols.unsqueeze(1).expand(-1, probs.size(1), -1)
            # Of a symbol that is there twice the first counts.
            once = (symbols != blank).to(probs)
            once[:, 0] = 1.0
            of_symbols = probs.gather(2, columns) * once.unsqueeze(1)  # (G, T, U)
            # What no hypothesis has is the same in every g_k.
            common = probs.square().sum((1, 2)) - of_symbols.square().sum((1, 2))
            occupied = occupied * (inside * once.unsqueeze(1)).unsqueeze(1)
            kept = (of_symbols.unsqueeze(1) - occupied).flatten(2)  # (G, K, T U)
            self.gram += share**2 * (kept @ kept.mT + common[:, None, None])
            self._branches.append((share, probs.to(z.dtype), symbols, once.to(z.dtype), kept))

    def combine(self, coefficients: torch.Tensor) -> list[Combined]:
        found = []
        for share, probs, symbols, _, kept in self._branches:
            values = (share * coefficients.to(kept.device)) @ kept
            values = values.unflatten(2, (probs.size(1), -1)).to(probs.dtype)
            # A symbol that is there twice says the same each time.
            again = symbols == symbols[:, :1]
            values = torch.where(again[:, None, None], values[..., :1], values)
            factors = share * coefficients.sum(2).to(probs)
            found.append(Combined(values, symbols, probs, factors))
        return found

    def beneath(self, coefficients: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        found = []
        for h, u, branch in zip(
            self._hidden, self.combine(coefficients), self._branches, strict=True
        ):
            _, probs, symbols, once, _ = branch
            assert u.factors is not None
            rows = self._weight[symbols] * once.unsqueeze(2)  # (G, U, D)
            columns = symbols.unsqueeze(1).expand(-1, probs.size(1), -1)
            rest = probs @ self._weight - probs.gather(2, columns) @ rows
            found.append(
                (h, u.values @ rows.unsqueeze(1) + u.factors[:, :, None, None] * rest.unsqueeze(1))
            )
        return found


def _inside(frames: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """(G, T, 1): 1 within an utterance, 0 behind it."""
    places = torch.arange(like.size(1), device=like.device)
    return (places < frames.to(like.device).unsqueeze(1)).unsqueeze(2).to(like.dtype)


class HiddenCotangents(Cotangents):
    """Of a loss that goes through a decoder, at the encoder's output.

    Args:
        recognizer: The model.
        norms: Norms over the selected parameters of decoder and output layers.
        encoded: The utterances.
        hypotheses: Token sequences of every utterance.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        norms: TappedNorms | AutogradNorms,
        encoded: Encoded,
        hypotheses: Sequence[Sequence[Sequence[int]]],
    ):
        inside = _inside(encoded.lengths, encoded.hidden)
        self._hidden = [h.detach() * inside for h in encoded.layers]
        rows = [(g, k) for g, found in enumerate(hypotheses) for k in range(len(found))]
        size = _decoder_size(recognizer, encoded, [y for found in hypotheses for y in found])
        parts = [
            _decode(
                recognizer,
                norms,
                encoded,
                [g for g, _ in part],
                [hypotheses[g][k] for g, k in part],
            )
            for part in chunks(rows, size if isinstance(norms, TappedNorms) else CHUNK)
        ]
        count = max(map(len, hypotheses))
        place = tuple(torch.tensor(rows, device=inside.device).T)
        self.own = inside.new_zeros(len(hypotheses), count, dtype=torch.float64)
        self.own[place] = torch.cat([own for own, _ in parts])
        self._gradients, grams = [], []
        for found in zip(*(at_hidden for _, at_hidden in parts), strict=True):
            gradients = inside.new_zeros(
                len(hypotheses), count, *inside.shape[1:2], found[0].size(2)
            )
            gradients[place] = torch.cat(found)
            gradients *= inside.unsqueeze(1)
            flat = gradients.flatten(2).double()
            grams.append(flat @ flat.mT)
            self._gradients.append(gradients)
        self.gram = torch.stack(grams).sum(0)

    def combine(self, coefficients: torch.Tensor) -> list[Combined]:
        return [
            Combined(torch.einsum("grk,gktd->grtd", coefficients.to(g), g)) for g in self._gradients
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
    owners: Sequence[int],
    hypotheses: Sequence[Sequence[int]],
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Own squared gradient lengths (N,), and gradients (N, T, D) at the encoder's outputs."""
    copies = encoded.of(owners)
    inputs = [h.requires_grad_() for h in copies.layers]
    output: Any = inputs[0]
    if copies.intermediate:
        layers = [layer for layer, _ in copies.intermediate]
        output = (inputs[0], list(zip(layers, inputs[1:], strict=True)))
    copies = Encoded(output, copies.lengths)
    with torch.enable_grad(), norms.recording(len(owners)) as recording:
        loss = recognizer.training_loss_encoded(copies, hypotheses)
        own, gradients = recording.backward([loss], [torch.ones_like(loss)], inputs)
    shapes = [(len(owners), *h.shape[1:]) for h in encoded.layers]
    found = [encoded.hidden.new_zeros(shape) for shape in shapes]
    for target, gradient in zip(found, gradients, strict=True):
        if gradient is not None:
            target[:, : gradient.size(1)] = gradient
    return own, found
