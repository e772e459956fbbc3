"""Expected gradient length of whole batches at about the price of training on them.

Axes: B utterances, K hypotheses, T encoder frames, R directions.

By the linearity of the backward pass (:mod:`.losses`), an utterance needs

    sum_k w_k || J^T g_k ||^2 = || J^T A ||_F^2,   A = columns sqrt(w_k) g_k

which no rotation of the columns changes. The eigenvectors of the Gram matrix A^T A turn
them into orthogonal directions u_r of decreasing energy lambda_r,

    sum_r lambda_r || J^T u_r ||^2

and as hypotheses of one utterance differ in few places, a few directions hold all but a
sliver of the energy. Each costs one backward pass, which all utterances of a batch share
(:mod:`.taps`). What is left out is taken in proportion to its energy. The modes differ in
how much that is: ``exact`` leaves out no more than ENERGY_LEFT_OUT, ``estimate`` takes a
fixed number of directions, turned so that the first hold as much as can be (:func:`turn`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from espnet_egl.errors import ConfigError, UnsupportedModelError, UtteranceError
from espnet_egl.gradients.batch import EncodedBatch
from espnet_egl.gradients.directions import ENERGY_LEFT_OUT, enough
from espnet_egl.gradients.losses import (
    HiddenCotangents,
    loss_is_ctc,
    separable,
)
from espnet_egl.gradients.parameters import select_parameters
from espnet_egl.gradients.projection import Projection
from espnet_egl.gradients.taps import AutogradNorms, Recording, TappedNorms
from espnet_egl.model import compat
from espnet_egl.model.modes import scoring_mode
from espnet_egl.model.recognizer import Recognizer

logger = logging.getLogger(__name__)

# Share of the weight of all but the best hypothesis that is left out altogether.
WEIGHT_LEFT_OUT = {"exact": 1e-5, "estimate": 1e-3}

# Above the encoder: not shared by the hypotheses of a model with a decoder.
ABOVE = ("decoder.", "ctc.", "joint_network.", "ctc_lin.", "lm_lin.")


class GradientEngine:
    """Computes expected gradient lengths of batches.

    Args:
        recognizer: The model.
        params: Over which parameters, see :func:`select_parameters`.
        mode: ``exact`` or ``estimate``.
        directions: How many directions ``estimate`` takes.
        paths: How many hypotheses of an utterance it sends through a decoder.
        embedding: Whether gradients are projected, too, see :mod:`.projection`.
        seed: Of the projection.

    Raises:
        ConfigError: An option is wrong, or there is nothing to project.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        params: str = "all",
        mode: str = "estimate",
        directions: int = 3,
        paths: int = 16,
        embedding: bool = False,
        seed: int = 0,
    ):
        if mode not in WEIGHT_LEFT_OUT:
            known = ", ".join(WEIGHT_LEFT_OUT)
            raise ConfigError(f"--egl_mode must be one of {known}, not {mode}")
        if directions < 1:
            raise ConfigError(f"--egl_directions must be at least 1, not {directions}")
        if paths < 3:
            raise ConfigError(f"--egl_paths must be at least 3, not {paths}")
        self.recognizer = recognizer
        self.parameters = select_parameters(recognizer.model, params)
        self.limit = directions if mode == "estimate" else None
        self.weight_left_out = WEIGHT_LEFT_OUT[mode]
        is_estimate_above = mode == "estimate" and not loss_is_ctc(recognizer.model)
        self.paths = paths if is_estimate_above else None
        self.shared, self.above = self._split()
        self.projection = self._project(seed) if embedding else None
        if separable(recognizer.model):
            self._norms = self._watch(self.shared, "encoder")
            self.above_norms = self._watch(self.above, "decoder")
        else:
            logger.warning(
                "One hypothesis at a time, which is slow: the loss has no part they share"
            )
            self._norms = self.above_norms = AutogradNorms(self.parameters, self.projection)
        # Not left to :meth:`verify`: short clips would not show it.
        self._padding_is_harmless = not any(map(compat.reads_padding, recognizer.model.modules()))
        if not self._padding_is_harmless:
            logger.warning("One utterance at a time: padding changes what this encoder gives")

    def _split(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The selected parameters that all hypotheses share, and those above them."""
        if loss_is_ctc(self.recognizer.model):
            return self.parameters, {}
        above = {n: p for n, p in self.parameters.items() if n.startswith(ABOVE)}
        return {n: p for n, p in self.parameters.items() if n not in above}, above

    def _project(self, seed: int) -> Projection:
        model = self.recognizer.model
        projection = Projection(model, self.shared, seed)
        if not separable(model) or not projection:
            raise ConfigError(
                "gradient embeddings need linear layers that all hypotheses share: this model, or "
                "what --egl_params chose of it, has none"
            )
        return projection

    def _watch(self, parameters: dict[str, Any], part: str) -> TappedNorms | AutogradNorms:
        projection = self.projection if part == "encoder" else None
        if trainable := [n for n in parameters if n.startswith("frontend.")]:
            logger.warning(
                f"The front end is trained ({trainable[0]}, ...): one utterance at a time"
            )
            return AutogradNorms(parameters, projection)
        try:
            return TappedNorms(self.recognizer.model, parameters, projection)
        except UnsupportedModelError as e:
            logger.warning(f"Gradient lengths of the {part} one at a time, which is slow: {e}")
            return AutogradNorms(parameters, projection)

    @property
    def batches(self) -> bool:
        """Whether utterances can share a backward pass."""
        return isinstance(self._norms, TappedNorms) and self._padding_is_harmless

    def verify(self, speech: Sequence[Any]) -> None:
        """Compare the fast way with plain autograd on the model at hand.

        Where they differ, the fast way is given up and the log says so: a layer of another
        package may do what no rule foresaw.

        Args:
            speech: One utterance or more, the longest first.

        Raises:
            UtteranceError: One has gradients that are not finite, and tells nothing.
        """
        tapped = self.above and isinstance(self.above_norms, TappedNorms)
        if tapped and not self._decoder_agrees(speech[0]):
            logger.warning("Gradient lengths of the decoder one at a time: hooks miss some of it")
            self.above_norms = AutogradNorms(self.above)
        together = speech if self.batches else speech[:1]
        fast = bool(self.shared) and isinstance(self._norms, TappedNorms)
        if fast and not self._agrees(together):
            self._padding_is_harmless = False
            if self._agrees(speech[:1]):
                logger.warning("One utterance at a time: padding changes what this encoder gives")
            else:
                logger.warning("One utterance at a time: hooks miss some of this encoder")
                self._norms = AutogradNorms(self.shared, self.projection)

    def _agrees(self, speech: Sequence[Any]) -> bool:
        try:
            with self.encode(speech) as batch:
                together, wanted = batch.norms_of_noise()
        except UnsupportedModelError as e:
            logger.warning(str(e))
            return False
        fast, self._norms = self._norms, AutogradNorms(self.shared)
        try:
            for b, alone in enumerate(speech):
                with self.encode([alone]) as batch:
                    norm, _ = batch.norms_of_noise([w[b : b + 1] for w in wanted])
                _check_finite(norm)
                if not torch.allclose(norm, together[b : b + 1], rtol=1e-3, atol=0.0):
                    return False
        finally:
            self._norms = fast
        return True

    def _decoder_agrees(self, speech: Any) -> bool:
        left_out = (self.recognizer.model.blank_id, self.recognizer.not_available)
        first = [t for t in range(4) if t not in left_out]
        with self.encode([speech]) as batch:
            (alone,) = batch.utterances
            fast, plain = (
                HiddenCotangents(self.recognizer, norms, alone, [[first[:1], first[:2]]]).own
                for norms in (self.above_norms, AutogradNorms(self.above))
            )
        _check_finite(plain)
        return torch.allclose(fast, plain, rtol=1e-3, atol=0.0)

    def counts(self, energies: torch.Tensor) -> torch.Tensor:
        """How many directions (G,) of the given energies (G, R) are pulled back."""
        # What a decoder's prompt adds is the same in every hypothesis, and dwarfs what differs.
        prompted = bool(self.recognizer.decoder_prompt)
        wanted = enough(energies, ENERGY_LEFT_OUT / 10 if prompted else ENERGY_LEFT_OUT)
        if not self.shared:
            return torch.zeros_like(wanted)
        return wanted if self.limit is None else wanted.clamp_max(self.limit)

    @contextmanager
    def encode(self, speech: Sequence[Any]) -> Iterator[EncodedBatch]:
        """Encode utterances for :meth:`EncodedBatch.expected_gradient_lengths`.

        Args:
            speech: Waveforms (samples,) or features (frames, D), the longest first; just one
                if not :attr:`batches`.

        Raises:
            UtteranceError: One is too short.
        """
        recognizer = self.recognizer
        with ExitStack() as stack:
            stack.enter_context(scoring_mode(recognizer.model))
            stack.enter_context(torch.autocast(recognizer.device.type, enabled=False))
            recording: Recording
            if isinstance(self._norms, TappedNorms):
                with torch.no_grad():
                    features = [recognizer.features(s) for s in speech]
                stack.enter_context(torch.set_grad_enabled(bool(self.shared)))
                recording = stack.enter_context(self._norms.recording(len(speech)))
                encoded = recognizer.encode_features(features)
            else:
                (alone,) = speech
                stack.enter_context(torch.enable_grad())
                recording = stack.enter_context(self._norms.recording(1))
                encoded = recognizer.encode(alone)
            yield EncodedBatch(self, speech, recording, encoded)


def _check_finite(norms: torch.Tensor) -> None:
    if not bool(norms.isfinite().all()):
        raise UtteranceError("not_finite_score", "a gradient is not finite")
