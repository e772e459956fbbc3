"""The one seam between this package and ESPnet's model: encode, search, likelihoods, loss.

Axes: B utterances, K hypotheses, T encoder frames, L tokens, D features, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import humanfriendly
import numpy as np
import torch

from espnet_egl import compat
from espnet_egl.errors import ConfigError, UnsupportedModelError, UtteranceError

POSTERIORS = ("auto", "ctc", "attention", "joint", "transducer")


@dataclass(frozen=True)
class Encoded:
    """One utterance after the encoder.

    Attributes:
        output: What ``ESPnetASRModel.encode`` returned: (1, T, D), or a pair of it and the
            outputs of intermediate layers.
        lengths: (1,) frames.
    """

    output: Any
    lengths: torch.Tensor

    @property
    def hidden(self) -> torch.Tensor:
        """The last layer's output (1, T, D)."""
        return self.output[0] if isinstance(self.output, tuple) else self.output

    @property
    def frames(self) -> int:
        """T."""
        return int(self.lengths[0])


class Recognizer:
    """An ESPnet recogniser whose checkpoint was checked against its configuration.

    Args:
        speech2text: ESPnet's ``Speech2Text`` with its weights loaded.

    Raises:
        UnsupportedModelError: The model is of a kind that cannot be scored.
    """

    def __init__(self, speech2text: Any):
        self.speech2text = speech2text
        self.model = speech2text.asr_model
        self.train_args = speech2text.asr_train_args
        self.device = torch.device(speech2text.device)
        self.dtype: torch.dtype = getattr(torch, speech2text.dtype)
        if getattr(self.model, "use_linear_decoder", False):
            raise UnsupportedModelError("a classification model (LinearDecoder) has no transcripts")
        if speech2text.beam_search is None and speech2text.beam_search_transducer is None:
            raise UnsupportedModelError(
                "decoders from Hugging Face are not supported: their search is not ESPnet's"
            )
        freeze(self.model, getattr(self.train_args, "freeze_param", None) or [])

    @property
    def rate(self) -> int:
        """Sampling rate of the audio the model takes, in Hz."""
        conf = getattr(self.train_args, "frontend_conf", None) or {}
        return int(humanfriendly.parse_size(str(conf.get("fs", 16000))))

    def preprocess(self) -> Any:
        """ESPnet's preprocessing of one utterance for inference, or None."""
        from espnet2.tasks.asr import ASRTask

        return ASRTask.build_preprocess_fn(self.train_args, False)

    def encode(self, speech: np.ndarray | torch.Tensor) -> Encoded:
        """Front end and encoder; gradients flow where the caller lets them.

        Args:
            speech: Waveform (samples,) or features (frames, D).

        Raises:
            UtteranceError: Too short for the model's front end or subsampling.
        """
        batch = torch.as_tensor(speech).to(self.device, self.dtype).unsqueeze(0)
        lengths = torch.tensor([batch.size(1)], device=self.device)
        try:
            output, output_lengths = self.model.encode(batch, lengths)
        except compat.TooShortUttError as e:
            raise UtteranceError("too_short", str(e.args[0])) from e
        except RuntimeError as e:
            # The front end's padding and ESPnet's convolutions say it in their own ways.
            if batch.size(1) < self._longest_window() * 8:
                raise UtteranceError("too_short", f"{batch.size(1)} samples: {e}") from e
            raise
        if int(output_lengths[0]) < 1:
            raise UtteranceError("too_short", f"{batch.size(1)} samples leave no encoder frame")
        return Encoded(output, output_lengths)

    def _longest_window(self) -> int:
        conf = getattr(self.train_args, "frontend_conf", None) or {}
        return int(conf.get("n_fft", 512))

    def search(self, encoded: Encoded) -> list[list[int]]:
        """ESPnet's beam search: token ids of every hypothesis, as the search leaves them."""
        hidden = encoded.hidden[0, : encoded.frames].detach()
        with torch.no_grad():
            if self.speech2text.beam_search_transducer is not None:
                found = self.speech2text.beam_search_transducer(hidden)
            else:
                found = self.speech2text.beam_search(
                    x=hidden,
                    maxlenratio=self.speech2text.maxlenratio,
                    minlenratio=self.speech2text.minlenratio,
                )
        return [torch.as_tensor(h.yseq).tolist() for h in found[: self.speech2text.nbest]]

    def to_text(self, tokens: Sequence[int]) -> str:
        """Token ids -> the transcript as a person reads it."""
        words = self.speech2text.converter.ids2tokens(list(tokens))
        tokenizer = self.speech2text.tokenizer
        return " ".join(words) if tokenizer is None else tokenizer.tokens2text(words)

    # ---- exact likelihoods ----

    def log_likelihoods(
        self, encoded: Encoded, hypotheses: Sequence[Sequence[int]], posterior: str = "auto"
    ) -> torch.Tensor:
        """log P(y | x) of every hypothesis, exactly, without gradients.

        Args:
            encoded: The utterance.
            hypotheses: K token sequences.
            posterior: Whose probability: ``ctc``, ``attention``, ``joint`` (their geometric
                mean with the model's ctc_weight: a distribution short of its
                normaliser, so its mass is below 1), ``transducer``, or ``auto``:
                transducer if it is one, attention if there is a decoder, else CTC.

        Returns:
            (K,) natural logarithms, float64; -inf where no CTC alignment exists.

        Raises:
            ConfigError: The model has no such branch.
        """
        if posterior == "auto":
            posterior = self.default_posterior()
        with torch.no_grad(), scoring_mode(self.model):
            if posterior == "ctc":
                return self._ctc(encoded, hypotheses)
            if posterior == "attention":
                return self._attention(encoded, hypotheses)
            if posterior == "transducer":
                return self._transducer(encoded, hypotheses)
            if posterior == "joint":
                weight = self.model.ctc_weight
                return weight * self._ctc(encoded, hypotheses) + (1 - weight) * self._attention(
                    encoded, hypotheses
                )
        raise ConfigError(f"--posterior must be one of {', '.join(POSTERIORS)}, not {posterior}")

    def default_posterior(self) -> str:
        """What ``auto`` stands for with this model."""
        if self.model.use_transducer_decoder:
            return "transducer"
        return "ctc" if self.model.decoder is None else "attention"

    def _ctc(self, encoded: Encoded, hypotheses: Sequence[Sequence[int]]) -> torch.Tensor:
        if self.model.ctc is None:
            raise ConfigError("--posterior ctc: this model has no CTC branch")
        log_probs = self.model.ctc.log_softmax(encoded.hidden).double().transpose(0, 1)  # (T, 1, V)
        targets, lengths = pad(hypotheses, self.device, fill=0)
        count = len(hypotheses)
        return -torch.nn.functional.ctc_loss(
            log_probs.expand(-1, count, -1).contiguous(),
            targets,
            encoded.lengths.expand(count),
            lengths,
            blank=self.model.blank_id,
            reduction="none",
            zero_infinity=False,
        )

    def _attention(self, encoded: Encoded, hypotheses: Sequence[Sequence[int]]) -> torch.Tensor:
        if self.model.decoder is None or self.model.use_transducer_decoder:
            raise ConfigError("--posterior attention: this model has no attention decoder")
        targets, lengths = pad(hypotheses, self.device, fill=self.model.ignore_id)
        count = len(hypotheses)
        return -self.model.batchify_nll(
            encoded.hidden.expand(count, -1, -1), encoded.lengths.expand(count), targets, lengths
        ).double()

    def _transducer(self, encoded: Encoded, hypotheses: Sequence[Sequence[int]]) -> torch.Tensor:
        if not self.model.use_transducer_decoder:
            raise ConfigError("--posterior transducer: this model is no transducer")
        from espnet2.asr_transducer.utils import get_transducer_task_io

        self.model.decoder.set_device(self.device)
        log_probs = []
        for tokens in hypotheses:  # one by one: the joint network's output is (T, L, V) large
            labels, _ = pad([tokens], self.device, fill=self.model.ignore_id)
            inputs, targets, frames, lengths = get_transducer_task_io(
                labels,
                encoded.lengths,
                ignore_id=self.model.ignore_id,
                blank_id=self.model.blank_id,
            )
            decoded = self.model.decoder(inputs)
            logits = self.model.joint_network(encoded.hidden.unsqueeze(2), decoded.unsqueeze(1))
            log_probs.append(
                -compat.rnnt_loss(logits, targets, frames, lengths, self.model.blank_id)
            )
        return torch.cat(log_probs).double()

    # ---- the training loss ----

    def training_loss(self, speech: np.ndarray | torch.Tensor, tokens: Sequence[int]) -> Any:
        """ESPnet's own training loss of one utterance and transcript, a scalar with a graph.

        It is the loss the trainer would descend: CTC, attention with the model's label
        smoothing, intermediate CTC and transducer in the model's weights; sums over the
        tokens, nothing divided by their number unless the model's configuration says so.
        Call it in :func:`scoring_mode`, or dropout and SpecAugment take part.
        """
        batch = torch.as_tensor(speech).to(self.device, self.dtype).unsqueeze(0)
        lengths = torch.tensor([batch.size(1)], device=self.device)
        text, text_lengths = pad([tokens], self.device, fill=self.model.ignore_id)
        loss, _, _ = self.model(
            speech=batch, speech_lengths=lengths, text=text, text_lengths=text_lengths
        )
        return loss

    def training_loss_encoded(self, encoded: Encoded, tokens: Sequence[int]) -> Any:
        """:meth:`training_loss` of an utterance that went through the encoder already.

        ESPnet's ``forward`` computes it; only its call of ``encode`` is answered with
        ``encoded``, so that every branch and weight is still ESPnet's.
        """
        text, text_lengths = pad([tokens], self.device, fill=self.model.ignore_id)
        placeholder = encoded.hidden.new_zeros(1, 1)
        with _replaced(self.model, "encode", lambda *_: (encoded.output, encoded.lengths)):
            loss, _, _ = self.model(
                speech=placeholder,
                speech_lengths=torch.ones(1, dtype=torch.long, device=self.device),
                text=text,
                text_lengths=text_lengths,
            )
        return loss

    def has_ctc_loss(self) -> bool:
        """Whether CTC is part of the training loss."""
        return self.model.ctc is not None


def pad(
    sequences: Sequence[Sequence[int]], device: torch.device, fill: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token sequences -> (K, L) padded with ``fill``, and (K,) lengths."""
    lengths = torch.tensor([len(s) for s in sequences], dtype=torch.long, device=device)
    longest = max((len(s) for s in sequences), default=0)
    padded = torch.full((len(sequences), longest), fill, dtype=torch.long, device=device)
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = torch.as_tensor(list(sequence), dtype=torch.long)
    return padded, lengths


@contextmanager
def scoring_mode(model: Any) -> Iterator[None]:
    """The model as a fixed function of its input; left as it was, also after an exception.

    Evaluation mode switches off dropout, SpecAugment and BatchNorm's updates. Two traps
    remain in ESPnet: its CTC branch keeps its dropout in evaluation mode, and computes
    error rates there that nobody asked for. cuDNN's RNNs refuse a backward pass in
    evaluation mode, so they are computed without cuDNN.
    """
    modes = {module: module.training for module in model.modules()}
    with ExitStack() as stack:
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        for name in ("error_calculator", "error_calculator_trans"):
            if getattr(model, name, None) is not None:
                stack.enter_context(_replaced(model, name, None))
        if getattr(model, "ctc", None) is not None:
            stack.enter_context(_replaced(model.ctc, "dropout_rate", 0.0))
        try:
            model.eval()
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute of this one object, and undo it whatever happens."""
    missing = object()
    previous = vars(owner).get(name, missing)
    vars(owner)[name] = value
    try:
        yield
    finally:
        if previous is missing:
            del vars(owner)[name]
        else:
            vars(owner)[name] = previous


def freeze(model: torch.nn.Module, prefixes: Sequence[str]) -> None:
    """Freeze what training froze (``--freeze_param``); ESPnet forgets it in inference."""
    for name, parameter in model.named_parameters():
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes):
            parameter.requires_grad = False
