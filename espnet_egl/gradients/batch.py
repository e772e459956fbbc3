"""Utterances between the encoder and the backward passes that all of them share.

Axes: B utterances, K hypotheses, T encoder frames, R directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from espnet_egl.gradients.paths import Paths, few
from espnet_egl.gradients.projection import DIMENSIONS
from espnet_egl.gradients.shared_forward import gradient_lengths
from espnet_egl.gradients.taps import Recording, TappedRecording
from espnet_egl.model import likelihoods
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
        kept = {
            b: noticeable(shares, engine.weight_left_out)
            for b, shares in enumerate(weights)
            if hypotheses[b]
        }
        found = {b: [hypotheses[b][k] for k in numbers] for b, numbers in kept.items()}
        shares = {b: [weights[b][k] for k in numbers] for b, numbers in kept.items()}
        wanted: dict[int, Pulled] = {}
        for rows in self._together(found):
            paths = [self._paths(shares[b], kept[b]) for b in rows]
            wanted |= self._directions(rows, [found[b] for b in rows], paths)
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

    def _together(self, hypotheses: Mapping[int, Sequence[Sequence[int]]]) -> Iterator[list[int]]:
        """Utterances of which no more are taken together than memory holds."""
        sizes = self._encoded.lengths.tolist()
        width = max(h.size(-1) for h in self._encoded.layers)
        rows: list[int] = []
        most = frames = 0
        for b, found in hypotheses.items():
            most, frames = max(most, len(found)), max(frames, sizes[b])
            if rows and (len(rows) + 1) * most * frames * width > likelihoods.CHUNK:
                yield rows
                rows, most, frames = [], len(found), sizes[b]
            rows.append(b)
        if rows:
            yield rows

    def _paths(self, weights: Sequence[float], ranks: Sequence[int]) -> Paths:
        count = self._engine.paths
        return few(weights, ranks, len(weights) if count is None else count)

    def _directions(
        self,
        rows: Sequence[int],
        hypotheses: Sequence[Sequence[Sequence[int]]],
        paths: Sequence[Paths],
    ) -> dict[int, Pulled]:
        """What of some utterances is pulled back."""
        engine, encoded = self._engine, self._encoded.of(rows)
        hypotheses = [
            [found[k] for k in path.shares] for found, path in zip(hypotheses, paths, strict=True)
        ]
        cotangents = self._cotangents(rows, encoded, hypotheses)
        shares = torch.zeros(len(rows), cotangents.gram.size(1), dtype=torch.float64)
        for row, path in zip(shares, paths, strict=True):
            row[: len(path.shares)] = torch.tensor([*path.shares.values()])
        directions = find_directions(cotangents.gram, shares)
        counts = engine.counts(directions.energies)
        if engine.limit is not None and bool(
            ((counts > 0) & (counts < enough(directions.energies))).any()
        ):
            directions = turn(cotangents, directions.first(enough(directions.energies)))
            counts = torch.minimum(counts, (directions.energies > 0).sum(1))
        most = int(counts.max())
        # The hypotheses' own gradients are let go of: there may be a hundred.
        combined = cotangents.combine(directions.coefficients[:, :most]) if most else []
        own, lengths = cotangents.own.cpu(), cotangents.gram.diagonal(dim1=1, dim2=2).cpu()
        return {
            b: Pulled(
                paths=path,
                own=own[g, : len(path.shares)],
                lengths=lengths[g, : len(path.shares)],
                best=directions.best[g],
                energies=directions.energies[g],
                left_out=float(directions.left_out[g]),
                directions=combined,
                place=g,
                count=int(counts[g]),
            )
            for g, (b, path) in enumerate(zip(rows, paths, strict=True))
        }

    def _cotangents(
        self,
        rows: Sequence[int],
        encoded: Encoded,
        hypotheses: Sequence[Sequence[Sequence[int]]],
    ) -> Cotangents:
        recognizer = self._engine.recognizer
        model = recognizer.model
        if not loss_is_ctc(model):
            return HiddenCotangents(recognizer, self._engine.above_norms, encoded, hypotheses)
        logits = [z.detach()[list(rows), : encoded.frames] for z in self._outputs]
        branch_weights = ctc_weights(model, len(logits) - 1)
        weight = model.ctc.ctc_lo.weight
        return CTCCotangents(
            encoded.layers,
            weight,
            logits,
            encoded.lengths,
            branch_weights,
            [recognizer.ctc_targets(found) for found in hypotheses],
            model.blank_id,
        )

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
