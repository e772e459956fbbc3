"""Utterances after the encoder.

Axes: B utterances, T encoder frames, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Encoded:
    """Utterances after the encoder.

    Attributes:
        output: What ``ESPnetASRModel.encode`` returned: (B, T, D), or a pair of it and the
            outputs of intermediate layers.
        lengths: (B,) frames.
    """

    output: Any
    lengths: torch.Tensor

    @property
    def hidden(self) -> torch.Tensor:
        """The last layer's output (B, T, D)."""
        return self.output[0] if isinstance(self.output, tuple) else self.output

    @property
    def intermediate(self) -> list[tuple[int, torch.Tensor]]:
        """(layer, its output (B, T, D)) of the intermediate layers with a loss."""
        return list(self.output[1]) if isinstance(self.output, tuple) else []

    @property
    def layers(self) -> list[torch.Tensor]:
        """The outputs of all layers with a loss, (B, T, D) each, the last layer's first."""
        return [self.hidden, *(hidden for _, hidden in self.intermediate)]

    @property
    def frames(self) -> int:
        """T of the longest utterance."""
        return int(self.lengths.max())

    def utterance(self, index: int) -> Encoded:
        """One of them alone, without padding and without its graph."""
        return self.of([index])

    def of(self, rows: Sequence[int]) -> Encoded:
        """Some of them, without their graph, and as long as the longest of them."""
        lengths = self.lengths[list(rows)]

        def cut(hidden: torch.Tensor) -> torch.Tensor:
            return hidden.detach()[list(rows), : int(lengths.max())]

        output: Any = cut(self.hidden)
        if isinstance(self.output, tuple):
            output = (output, [(layer, cut(hidden)) for layer, hidden in self.intermediate])
        return Encoded(output, lengths)
