"""How a clip's gradient lies to that of the clips that the model is wanted for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from espnet_egl.acquisition import AbsAcquisition, Evidence
from espnet_egl.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from espnet_egl.model.recognizer import Recognizer


class Target(AbsAcquisition):
    """Inner product of the best hypothesis's projected gradient with the mean of a target set's.

    Above 0, a step that helps the clip helps the target, too: to first order, by this much.

    Args:
        embeddings: ``embeddings.npy`` of the target set, scored with the same model and seed.

    Raises:
        DataError: It is no array of numbers.
    """

    needs_gradients = True
    needs_embedding = True

    def __init__(self, embeddings: str | Path | None = None):
        self.embeddings = embeddings
        self._mean: torch.Tensor | None = None

    def prepare(self, recognizer: Recognizer) -> None:
        """Read the target's gradients.

        Raises:
            ConfigError: None are given, or there are none.
        """
        import torch

        from espnet_egl.store import embeddings

        if self.embeddings is None:
            raise ConfigError("the method target needs a target set: give it with --al_target_set")
        rows = embeddings.gradients_of(embeddings.read(self.embeddings))
        if not len(rows):
            raise ConfigError(f"{self.embeddings}: nothing of the target set was scored")
        self._mean = torch.from_numpy(rows.astype("float64").mean(0))

    def score(self, evidence: Evidence) -> float:
        assert evidence.gradient is not None
        assert self._mean is not None
        return float(evidence.gradient.embedding.double().cpu() @ self._mean)
