"""Acquisition methods: a score for every utterance, larger = label first.

One file a method, one line in the registry below. Modules of methods import nothing heavy,
so that ``--help`` answers at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from espnet_egl.registry import Registry
from espnet_egl.types import NBest, Utterance

if TYPE_CHECKING:
    import torch

    from espnet_egl.gradients.estimate import ExpectedGradientLength
    from espnet_egl.model.encoded import Encoded
    from espnet_egl.model.recognizer import Recognizer


@dataclass(frozen=True)
class Truth:
    """What only a transcribed utterance has.

    Attributes:
        text: The transcript, as the recogniser would write it.
        gradient_length: || grad_theta loss(x, transcript) ||^2, if any method needs it.
        embedding: (S,) the same gradient projected; likewise.
    """

    text: str
    gradient_length: float | None = None
    embedding: torch.Tensor | None = None


@dataclass(frozen=True)
class Evidence:
    """All that is known of one utterance when the methods are asked.

    Attributes:
        utterance: The clip.
        recognizer: The model.
        encoded: The encoder's output, without a graph.
        nbest: The hypotheses, most probable first; never empty.
        gradient: For the hypotheses' weights, if any method needs it.
        truth: The transcript, where one was given that could be trained on: never for a pool
            that is to be labelled.
        columns: Of the score table, as far as they are known: what methods with
            :attr:`AbsAcquisition.needs_columns` look at.
    """

    utterance: Utterance
    recognizer: Recognizer
    encoded: Encoded
    nbest: NBest
    gradient: ExpectedGradientLength | None = None
    truth: Truth | None = None
    columns: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def ctc_log_probs(self) -> torch.Tensor:
        """log P(v | x, t) of the CTC branch: (T, V), float64."""
        import torch

        with torch.no_grad():
            log_probs = self.recognizer.model.ctc.log_softmax(self.encoded.hidden)
        return log_probs[0, : self.encoded.frames].double()


class AbsAcquisition(ABC):
    """A rule that gives an utterance a score.

    Attributes:
        needs_gradients: Whether :attr:`Evidence.gradient` is wanted.
        needs_embedding: Whether the gradients' projections are.
        needs_factors: Whether those of the Fisher information are written beside these.
        needs_truth: Whether :attr:`Evidence.truth` is: an oracle, or for fitting.
        embeds_truth: Whether the projection that is written is that of the transcript's gradient:
            of a target, never of a pool.
        needs_columns: Whether :attr:`Evidence.columns` are: it is asked after the others.
        columns: Of the score table, that :meth:`details` fills.
    """

    needs_gradients = False
    needs_embedding = False
    needs_factors = False
    needs_truth = False
    embeds_truth = False
    needs_columns = False
    columns: tuple[str, ...] = ()

    def prepare(self, recognizer: Recognizer) -> None:  # noqa: B027  (optional)
        """Check the options against the model, once, before the first utterance."""

    @abstractmethod
    def score(self, evidence: Evidence) -> float:
        """The score of one utterance; larger = label first; finite."""

    def details(self, evidence: Evidence) -> tuple[float, ...]:
        """What the method tells beside its score: a finite value for each of ``columns``."""
        return ()


acquisition_methods = Registry(
    "acquisition method",
    "espnet_egl.acquisition",
    {
        "egl": "espnet_egl.acquisition.egl:EGL",
        "confidence": "espnet_egl.acquisition.confidence:Confidence",
        "random": "espnet_egl.acquisition.random:Random",
        "longest": "espnet_egl.acquisition.longest:Longest",
        "entropy": "espnet_egl.acquisition.entropy:Entropy",
        "pctc": "espnet_egl.acquisition.pctc:PCTC",
        "margin": "espnet_egl.acquisition.margin:Margin",
        "nbest_entropy": "espnet_egl.acquisition.nbest_entropy:NBestEntropy",
        "expected_wer": "espnet_egl.acquisition.expected_wer:ExpectedWER",
        "committee": "espnet_egl.acquisition.committee:Committee",
        "badge": "espnet_egl.acquisition.badge:BADGE",
        "fisher": "espnet_egl.acquisition.fisher:Fisher",
        "target": "espnet_egl.acquisition.target:Target",
        "predicted_gl": "espnet_egl.acquisition.predicted:PredictedGL",
        "predicted_wer": "espnet_egl.acquisition.predicted:PredictedWER",
        "true_gl": "espnet_egl.acquisition.oracle:TrueGL",
        "true_wer": "espnet_egl.acquisition.oracle:TrueWER",
        "true_gradient": "espnet_egl.acquisition.oracle:TrueGradient",
    },
)
