"""The one seam between this package and ESPnet's model: encode, search, likelihoods, loss.

Axes: B utterances, K hypotheses, T encoder frames, L tokens, D features, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from typing import Any

import humanfriendly
import numpy as np
import torch
from humanfriendly.text import pluralize

from espnet_egl.errors import ConfigError, UnsupportedModelError, UtteranceError
from espnet_egl.model import compat
from espnet_egl.model.encoded import Encoded
from espnet_egl.model.likelihoods import AUTO, BRANCHES, POSTERIORS, pad
from espnet_egl.model.modes import DROPOUT, freeze, replaced, scoring_mode
from espnet_egl.model.padding import blind_to_padding

# Of features: with fewer, what fails in the encoder is put down to the length.
FEW_FRAMES = 32


class Recognizer:
    """An ESPnet recogniser whose checkpoint was checked against its configuration.

    Args:
        speech2text: ESPnet's ``Speech2Text`` with its weights loaded.

    Attributes:
        ctc_prompt: Tokens that CTC emits before every transcript of the clips at hand.
        decoder_prompt: Tokens between sos and every transcript, likewise.
        not_available: The token by which a training's data say that there is no transcript.

    Raises:
        UnsupportedModelError: The model is of a kind that cannot be scored.
    """

    ctc_prompt: tuple[int, ...] = ()
    decoder_prompt: tuple[int, ...] = ()
    not_available: int | None = None

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
        compat.unmerge_adapters(self.model)
        freeze(self.model, getattr(self.train_args, "freeze_param", None) or [])

    @property
    def special(self) -> frozenset[int]:
        """Tokens that a search leaves and no transcript has."""
        return frozenset({self.model.blank_id, self.model.sos, self.model.eos})

    @property
    def rate(self) -> int:
        """Sampling rate of the audio the model takes, in Hz."""
        conf = getattr(self.train_args, "frontend_conf", None) or {}
        return int(humanfriendly.parse_size(str(conf.get("fs", 16000))))

    def preprocess(self) -> Any:
        """ESPnet's preprocessing of one utterance for inference, or None."""
        from espnet2.tasks.asr import ASRTask

        return ASRTask.build_preprocess_fn(self.train_args, False)

    def features(self, speech: np.ndarray | torch.Tensor) -> torch.Tensor:
        """What the front end makes of one utterance: (F, D); gradients flow where let.

        Args:
            speech: Waveform (samples,) or features (frames, D).

        Raises:
            UtteranceError: Too short for the front end.
        """
        batch, lengths = self._alone(speech)
        with self._too_short(batch):
            features, feature_lengths = self.model._extract_feats(batch, lengths)
        return features[0, : int(feature_lengths[0])]

    def encode(self, speech: np.ndarray | torch.Tensor) -> Encoded:
        """Front end and encoder of one utterance; gradients flow where the caller lets them.

        Args:
            speech: Waveform (samples,) or features (frames, D).

        Raises:
            UtteranceError: Too short for the model's front end or subsampling.
        """
        return self._encode(*self._alone(speech))

    def _alone(self, speech: np.ndarray | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One utterance as a batch, and its length."""
        batch = torch.as_tensor(speech).to(self.device, self.dtype).unsqueeze(0)
        return batch, torch.tensor([batch.size(1)], device=self.device)

    def encode_features(self, features: Sequence[torch.Tensor]) -> Encoded:
        """The encoder over utterances of different lengths at once.

        Every utterance comes out as if it were alone, see :mod:`.padding`.

        Args:
            features: (F, D) of each, the longest first (recurrent encoders want it so).

        Raises:
            UtteranceError: The shortest is too short; encode it alone to know.
        """
        batch = torch.nn.utils.rnn.pad_sequence(list(features), batch_first=True)
        lengths = torch.tensor([len(f) for f in features], device=self.device)
        with (
            replaced(self.model, "_extract_feats", lambda *_: (batch, lengths)),
            blind_to_padding(self.model, lengths),
        ):
            return self._encode(batch, lengths)

    def _encode(self, batch: torch.Tensor, lengths: torch.Tensor) -> Encoded:
        with self._too_short(batch):
            output, output_lengths = self._model_encode(batch, lengths)
        if int(output_lengths.min()) < 1:
            raise UtteranceError(
                "too_short", f"no frame is left of {pluralize(int(lengths.min()), 'sample')}"
            )
        return Encoded(output, torch.as_tensor(output_lengths, device=self.device))

    def _model_encode(self, batch: torch.Tensor, lengths: torch.Tensor) -> Any:
        return self.model.encode(batch, lengths)

    @contextmanager
    def _too_short(self, batch: torch.Tensor) -> Iterator[None]:
        try:
            yield
        except compat.TooShortUttError as e:
            raise UtteranceError("too_short", str(e.args[0])) from e
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as e:
            if any(words in str(e) for words in ("allocate memory", "CUDA")):
                raise
            # The front end's padding and ESPnet's convolutions say it in their own ways.
            are_samples = batch.dim() == 2
            if batch.size(1) < (self._longest_window() * 8 if are_samples else FEW_FRAMES):
                unit = "samples" if are_samples else "frames"
                raise UtteranceError("too_short", f"{batch.size(1)} {unit}: {e}") from e
            raise

    def _longest_window(self) -> int:
        conf = getattr(self.train_args, "frontend_conf", None) or {}
        return int(conf.get("n_fft", 512))

    def search(self, encoded: Encoded) -> list[list[int]]:
        """ESPnet's beam search: token ids of every hypothesis, as the search leaves them.

        Raises:
            UtteranceError: More tokens than frames were asked for, and ESPnet's CTC fell over it.
        """
        hidden = encoded.hidden[0, : encoded.frames].detach()
        with torch.no_grad():
            if self.speech2text.beam_search_transducer is not None:
                found = self.speech2text.beam_search_transducer(hidden)
            else:
                found = self._search_tokens(hidden)
        # The search in blocks gives every hypothesis twice, a transducer's some.
        distinct = dict.fromkeys(tuple(torch.as_tensor(h.yseq).tolist()) for h in found)
        return [list(tokens) for tokens in distinct][: self.speech2text.nbest]

    def _search_tokens(self, hidden: torch.Tensor) -> Any:
        ratio = self.speech2text.maxlenratio
        try:
            return self.speech2text.beam_search(
                x=hidden, maxlenratio=ratio, minlenratio=self.speech2text.minlenratio
            )
        except IndexError as e:
            # ESPnet 202511 scores prefixes beyond the last frame.
            longest = -ratio if ratio < 0 else ratio * len(hidden)
            if longest <= len(hidden):
                raise
            raise UtteranceError(
                "too_short",
                f"{pluralize(len(hidden), 'frame')}, for up to {longest:g} by maxlenratio {ratio}",
            ) from e

    def to_text(self, tokens: Sequence[int]) -> str:
        """Token ids -> the transcript as a person reads it."""
        words = self.speech2text.converter.ids2tokens(list(tokens))
        tokenizer = self.speech2text.tokenizer
        return " ".join(words) if tokenizer is None else tokenizer.tokens2text(words)

    # ---- what the model is told beside the audio ----

    def prompt_of(self, uid: str) -> Any:
        """What tells apart clips that cannot share a batch."""
        return None

    def prompted(self, uids: Sequence[str]) -> AbstractContextManager[None]:
        """Score the clips ``uids``, which have the same prompt, in this block.

        Raises:
            UtteranceError: One has none that the model knows.
        """
        return nullcontext()

    def ctc_targets(self, hypotheses: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
        """What CTC is trained to emit for transcripts."""
        return [(*self.ctc_prompt, *y) for y in hypotheses]

    def samples(self, speech: np.ndarray | torch.Tensor) -> int:
        """How many samples of an utterance, or frames of features, the model takes in."""
        return len(speech)

    def clock(self, encoded: Encoded, seconds: float) -> tuple[float, int]:
        """Seconds of an encoder frame, and how many frames stand before the audio's first."""
        return seconds / encoded.frames, 0

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
        branch = BRANCHES[self.resolve_posterior(posterior)]
        with torch.no_grad(), scoring_mode(self.model):
            return branch.log_likelihoods(self, encoded, hypotheses)

    def resolve_posterior(self, posterior: str) -> str:
        """The branch itself, also for ``auto``.

        Raises:
            ConfigError: The model has no such branch.
        """
        self.check_posterior(posterior)
        if posterior != "auto":
            return posterior
        return next(name for name in AUTO if BRANCHES[name].is_in(self.model))

    def check_posterior(self, posterior: str) -> None:
        """Whether the model has the branch that :meth:`log_likelihoods` would ask.

        Raises:
            ConfigError: It has not.
        """
        if posterior not in POSTERIORS:
            raise ConfigError(
                f"--posterior must be one of {', '.join(POSTERIORS)}, not {posterior}"
            )
        if posterior != "auto" and not BRANCHES[posterior].is_in(self.model):
            raise ConfigError(f"--posterior {posterior}: this model has no such branch")

    # ---- the training loss ----

    def training_loss(self, speech: np.ndarray | torch.Tensor, tokens: Sequence[int]) -> Any:
        """ESPnet's own training loss of one utterance and transcript, a scalar with a graph.

        It is the loss the trainer would descend: CTC, attention with the model's label
        smoothing, intermediate CTC and transducer in the model's weights; sums over the
        tokens, nothing divided by their number unless the model's configuration says so.
        Call it in :func:`scoring_mode`, or dropout and SpecAugment take part.
        """
        return self._model_loss(*self._alone(speech), [tokens])

    def _model_loss(
        self, batch: torch.Tensor, lengths: torch.Tensor, hypotheses: Sequence[Sequence[int]]
    ) -> Any:
        """The mean over the batch, as ESPnet's losses are."""
        text, text_lengths = pad(hypotheses, self.device, fill=self.model.ignore_id)
        loss, _, _ = self.model(
            speech=batch, speech_lengths=lengths, text=text, text_lengths=text_lengths
        )
        return loss

    def training_loss_encoded(
        self, encoded: Encoded, hypotheses: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """:meth:`training_loss` after the encoder, summed over transcripts.

        ESPnet's ``forward`` computes it; only its call of ``encode`` is answered with
        ``encoded``, so that every branch and weight is still ESPnet's.

        Args:
            encoded: B utterances, or B copies of one.
            hypotheses: B token sequences.
        """
        count = len(hypotheses)
        placeholder = encoded.hidden.new_zeros(count, 1)
        lengths = torch.ones(count, dtype=torch.long, device=self.device)
        with replaced(self.model, "encode", lambda *_: (encoded.output, encoded.lengths)):
            return self._model_loss(placeholder, lengths, hypotheses) * count

    def has_ctc_loss(self) -> bool:
        """Whether CTC is part of the training loss."""
        return self.model.ctc is not None

    def has_dropout(self) -> bool:
        """Whether :func:`scoring_mode` with dropout draws anything in the encoder or CTC."""
        rates = [
            value
            for part in (self.model.encoder, self.model.ctc)
            if part is not None
            for module in part.modules()
            for name, value in vars(module).items()
            if name in compat.DROPOUT_IN_EVALUATION or (name == "p" and isinstance(module, DROPOUT))
        ]
        return any(isinstance(rate, float) and rate > 0 for rate in rates)

    def to_tokens(self, text: str) -> list[int]:
        """A transcript -> token ids, cleaned and cut as in training.

        Raises:
            UnsupportedModelError: The model was trained on token ids without a preprocessor.
            UtteranceError: Nothing of it is left.
        """
        if self._preprocess is None:
            raise UnsupportedModelError("the model was trained without ESPnet's preprocessor")
        tokens = self._preprocess("", {"text": text})["text"].tolist()
        if not tokens:
            raise UtteranceError("empty_transcript", f"nothing of '{text}' is left")
        return tokens

    @cached_property
    def _preprocess(self) -> Any:
        return self.preprocess()
