"""Utterances between the encoder and the backward passes that all of them share.

Axes: B utterances, K hypotheses, T encoder frames, R directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from espnet_egl.gradients.directions import enough, find_directions, noticeable, turn
from espnet_egl.gradients.estimate import ExpectedGradientLength, Pulled, spread
from espnet_egl.gradients.losses import (
    Cotangents,
    CTCCotangents,
    HiddenCotangents,
    ctc_weights,
    loss_is_ctc,
    separable,
)
from espnet_egl.gradients.projection import DIMENSIONS
from espnet_egl.gradients.shared_forward import gradient_lengths
from espnet_egl.gradients.taps import Recording, TappedRecording
from espnet_egl.model.encoded import Encoded

if TYPE_CHECKING:
    from espnet_egl.gradients.engine import GradientEngine


class EncodedBatch:
    """Utterances between the encoder and the backward passes.

    Attributes:
        utterances: Each alone, without padding and graph.
    """

    def __init__(
        self, engine: GradientEngine, speech: Sequence[Any], recording: Recording, encoded: Encoded
    ):
        self._engine = engine
        self._speech = speech
        self._recording = recording
        self._encoded = encoded
        self.utterances = [encoded.utterance(b) for b in range(len(encoded.lengths))]
        self._outputs = self._shared_outputs()

    def _shared_outputs(self) -> list[torch.Tensor]:
        """The tensors at which the hypotheses come in, (B, T, F) each."""
        hidden = self._encoded.layers
        model = self._engine.recognizer.model
        return [model.ctc.ctc_lo(h) for h in hidden] if loss_is_ctc(model) else hidden

    def norms_of_noise(
        self, noise: list[torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """|| J_b^T noise_b ||^2 (B,), for noise on the valid frames, and the noise."""
        if noise is None:
            generator = torch.Generator().manual_seed(0)
            noise = [torch.randn(o.shape, generator=generator).to(o) for o in self._outputs]
        cut = [torch.zeros_like(o) for o in self._outputs]
        for target, values in zip(cut, noise, strict=True):
            for b, length in enumerate(self._encoded.lengths):
                target[b, :length] = values[b, :length]
        return self._recording.backward(self._outputs, cut)[0], noise

    def expected_gradient_lengths(
        self, hypotheses: Sequence[Sequence[Sequence[int]]], weights: Sequence[Sequence[float]]
    ) -> list[ExpectedGradientLength]:
        """sum_k w_k || grad_theta loss(x_b, y_k) ||^2 of every utterance.

        Args:
            hypotheses: K_b token sequences of every utterance, each with a CTC alignment
                where CTC is part of the loss; none leave an utterance out.
            weights: K_b weights of every utterance, which sum to 1.

        Returns:
            One for every utterance; of one left out, zeros.
        """
        engine = self._engine
        if not separable(engine.recognizer.model) and hypotheses[0]:
            return [self._one_by_one(hypotheses[0], weights[0])]
        wanted = {
            b: self._utterance(b, found, shares)
            for b, (found, shares) in enumerate(zip(hypotheses, weights, strict=True))
            if found
        }
        lengths, projected = self._pull_back(wanted)
        nothing = ExpectedGradientLength(0.0, 0.0, 0.0, 0)
        return [
            wanted[b].result(lengths[b], projected[b]) if b in wanted else nothing
            for b in range(len(hypotheses))
        ]

    def _one_by_one(
        self, hypotheses: Sequence[Sequence[int]], weights: Sequence[float]
    ) -> ExpectedGradientLength:
        engine = self._engine
        lengths = torch.tensor(
            gradient_lengths(engine.recognizer, self._encoded, hypotheses, engine.parameters),
            dtype=torch.float64,
        )
        shares = torch.tensor(weights, dtype=torch.float64)
        return ExpectedGradientLength(
            float(shares @ lengths), 0.0, spread(shares, lengths), len(lengths)
        )

    def _utterance(
        self, b: int, hypotheses: Sequence[Sequence[int]], weights: Sequence[float]
    ) -> Pulled:
        kept = noticeable(weights, self._engine.weight_left_out)
        cotangents = self._cotangents(b, [hypotheses[k] for k in kept])
        shares = torch.tensor(
            [weights[k] for k in kept], dtype=torch.float64, device=cotangents.gram.device
        )
        directions = find_directions(cotangents.gram, shares)
        count = self._engine.count(directions.energies)
        if self._engine.limit is not None and 0 < count < len(directions.energies):
            directions = turn(cotangents, directions.first(enough(directions.energies)))
            count = min(count, len(directions.energies))
        return Pulled(
            weights=shares,
            own=cotangents.own,
            lengths=cotangents.gram.diagonal().clone(),
            best=directions.best[:count].cpu(),
            energies=directions.energies,
            left_out=directions.left_out,
            # The hypotheses' own gradients are let go of: there may be a hundred.
            directions=cotangents.combine(directions.coefficients[:count]) if count else [],
            count=count,
        )

    def _cotangents(self, b: int, hypotheses: Sequence[Sequence[int]]) -> Cotangents:
        recognizer, encoded = self._engine.recognizer, self.utterances[b]
        model = recognizer.model
        if not loss_is_ctc(model):
            return HiddenCotangents(recognizer, self._engine.above_norms, encoded, hypotheses)
        logits = [z[b, : encoded.frames] for z in self._outputs]
        hidden = [h[0] for h in encoded.layers]
        branch_weights = ctc_weights(model, len(logits) - 1)
        weight = model.ctc.ctc_lo.weight
        return CTCCotangents(hidden, weight, logits, branch_weights, hypotheses, model.blank_id)

    def _pull_back(
        self, utterances: dict[int, Pulled], first: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """J_b^T u_r of every utterance and direction from ``first`` on.

        Returns:
            || J_b^T u_r ||^2 (B, R), and projected (B, R, S), float64, on the CPU.
        """
        lengths = [torch.zeros(len(self.utterances), 0, dtype=torch.float64)]
        size = DIMENSIONS if self._engine.projection is not None else 0
        projected = [torch.zeros(len(self.utterances), 0, size, dtype=torch.float64)]
        for r in range(first, max((u.count for u in utterances.values()), default=0)):
            left = {b: u for b, u in utterances.items() if r < u.count}
            if _deserve_a_batch(list(left.values()), r, len(self.utterances)):
                more_lengths, more_projected = self._pull_back_alone(left, r)
                lengths.append(more_lengths)
                projected.append(more_projected)
                break
            wanted = [torch.zeros_like(output) for output in self._outputs]
            for b, utterance in left.items():
                utterance.write_direction(r, [target[b] for target in wanted])
            norms, _ = self._recording.backward(self._outputs, wanted)
            lengths.append(norms.cpu().unsqueeze(1))
            projected.append(self._recording.projected.double().cpu().unsqueeze(1))
        return torch.cat(lengths, 1), torch.cat(projected, 1)

    def _pull_back_alone(
        self, left: dict[int, Pulled], first: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same for the few that are left, in a batch of their own."""
        assert isinstance(self._recording, TappedRecording)  # one alone is never few of many
        self._recording.close()
        self._outputs.clear()
        self._encoded = self.utterances[0]  # without a graph: its memory is free
        with self._engine.encode([self._speech[b] for b in left]) as batch:
            found = batch._pull_back(dict(enumerate(left.values())), first)
        lengths, projected = (
            values.new_zeros(len(self.utterances), *values.shape[1:]) for values in found
        )
        lengths[list(left)], projected[list(left)] = found
        return lengths, projected


def _deserve_a_batch(left: Sequence[Pulled], done: int, batch: int) -> bool:
    """Whether encoding those left anew costs less than to carry the others on.

    To encode costs about as much as to pull back once.
    """
    passes = max(u.count for u in left) - done
    return 2 * len(left) <= batch and (batch - len(left)) * passes > 2 * len(left)
