"""Models of ESPnet's task ``asr`` that are made of OpenAI's Whisper: encoder, decoder, tokens.

Whisper hears 30 s at most. Its encoder has no mask: its decoder attends to all that comes out,
also of padding. Its tokens begin with language, task and ``<|notimestamps|>``, which ESPnet's
training puts before every transcript, and its search starts from.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from humanfriendly.text import pluralize

from espnet_egl.errors import ConfigError, UnsupportedModelError, UtteranceError
from espnet_egl.model.encoded import Encoded
from espnet_egl.model.modes import replaced
from espnet_egl.model.recognizer import Recognizer

# Samples that Whisper takes in, at 16 kHz, and the seconds of a frame of its encoder.
WINDOW, FRAME = 480_000, 0.02

# (width, heads, layers of the encoder and of the decoder, mels, tokens) of OpenAI's models.
_ENGLISH, _MULTILINGUAL, _V3 = 51864, 51865, 51866
SIZES: dict[str, tuple[int, int, int, int, int, int]] = {
    "tiny": (384, 6, 4, 4, 80, _MULTILINGUAL),
    "base": (512, 8, 6, 6, 80, _MULTILINGUAL),
    "small": (768, 12, 12, 12, 80, _MULTILINGUAL),
    "medium": (1024, 16, 24, 24, 80, _MULTILINGUAL),
    "large": (1280, 20, 32, 32, 128, _V3),
    "large-v1": (1280, 20, 32, 32, 80, _MULTILINGUAL),
    "large-v2": (1280, 20, 32, 32, 80, _MULTILINGUAL),
    "large-v3": (1280, 20, 32, 32, 128, _V3),
    "large-v3-turbo": (1280, 20, 32, 4, 128, _V3),
    "turbo": (1280, 20, 32, 4, 128, _V3),
}
SIZES |= {
    f"{name}.en": (*SIZES[name][:5], _ENGLISH) for name in ("tiny", "base", "small", "medium")
}


def is_made_of(train: Mapping[str, Any]) -> bool:
    """Whether a training's config.yaml names any part of Whisper."""
    names = ("frontend", "encoder", "decoder", "token_type", "bpemodel")
    return any(str(train.get(name) or "").split("_")[0] == "whisper" for name in names)


@contextmanager
def without_download() -> Iterator[None]:
    """Let ESPnet make Whisper's parts with random weights: a checkpoint of ESPnet has them all.

    Otherwise it downloads OpenAI's, which the checkpoint's then take the place of.

    Raises:
        ConfigError: The package is missing.
    """
    try:
        whisper = importlib.import_module("whisper")
        model = importlib.import_module("whisper.model")
    except ImportError as e:
        raise ConfigError(
            f"the model is made of Whisper: install the package openai-whisper ({e})"
        ) from e

    def load_model(name: str, **_: Any) -> Any:
        if name not in SIZES:
            raise UnsupportedModelError(f"whisper_model: {name} is none of {', '.join(SIZES)}")
        width, heads, encoder, decoder, mels, tokens = SIZES[name]
        sizes = (mels, 1500, width, heads, encoder, tokens, 448, width, heads, decoder)
        return model.Whisper(model.ModelDimensions(*sizes))

    class Every(list[str]):
        """Whatever ESPnet asks for: ``load_model`` has a better message."""

        def __contains__(self, name: object) -> bool:
            return True

    with (
        replaced(whisper, "load_model", load_model),
        replaced(whisper, "available_models", lambda: Every(SIZES)),
    ):
        yield


class WhisperRecognizer(Recognizer):
    """A recogniser with parts of Whisper.

    Raises:
        UnsupportedModelError: Its CTC would see other frames than its decoder, or its training
            began with another token than its search.
    """

    def __init__(self, speech2text: Any):
        super().__init__(speech2text)
        self._is_encoder = "Whisper" in type(self.model.encoder).__name__
        self._pads = self._is_encoder and bool(self.model.encoder.do_pad_trim)
        if self._pads and self.model.ctc is not None:
            raise UnsupportedModelError(
                "Whisper's encoder with do_pad_trim: true and a CTC branch is not supported: CTC "
                "is trained on the clip's own frames, the decoder on all 30 s. Train with "
                "ctc_weight: 0.0, or do_pad_trim: false"
            )
        tokenizer = getattr(speech2text.converter, "tokenizer", None)
        if tokenizer is None:
            return  # tokens of ESPnet
        sot, *prompt = tokenizer.sot_sequence_including_notimestamps
        if self.model.decoder is not None and self.model.sos != sot:
            raise UnsupportedModelError(
                "Whisper's tokens without Whisper's start are not supported: in model_conf, "
                "sym_sos must be '<|startoftranscript|>' and sym_eos '<|endoftext|>'"
            )
        self.decoder_prompt = self.ctc_prompt = tuple(prompt)

    @property
    def special(self) -> frozenset[int]:
        if self.model.ctc is not None:
            return super().special
        # The number 0, ESPnet's blank, is Whisper's exclamation mark.
        return frozenset({self.model.sos, self.model.eos})

    @property
    def rate(self) -> int:
        return 16000 if self._is_encoder else super().rate

    def samples(self, speech: np.ndarray | torch.Tensor) -> int:
        return WINDOW if self._pads else len(speech)

    def clock(self, encoded: Encoded, seconds: float) -> tuple[float, int]:
        return (FRAME, 0) if self._is_encoder else super().clock(encoded, seconds)

    def _alone(self, speech: np.ndarray | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self._is_encoder and len(speech) > WINDOW:
            raise UtteranceError(
                "too_long",
                f"{len(speech) / 16000:.1f} s, and Whisper hears 30 s at most: cut recordings into "
                "clips of that length (al_segment)",
            )
        if self._is_encoder and len(speech) < 2 * FRAME * 16000:
            raise UtteranceError("too_short", pluralize(len(speech), "sample"))
        return super()._alone(speech)

    def _encode(self, batch: torch.Tensor, lengths: torch.Tensor) -> Encoded:
        encoded = super()._encode(batch, lengths)
        if not self._is_encoder or self.model.ctc is not None:
            return encoded
        # As ESPnet's decoder does, which asks for no lengths.
        return Encoded(encoded.output, torch.full_like(encoded.lengths, encoded.hidden.size(1)))

    def _model_loss(
        self, batch: torch.Tensor, lengths: torch.Tensor, hypotheses: Sequence[Sequence[int]]
    ) -> Any:
        return super()._model_loss(batch, lengths, self.prompted_targets(hypotheses))

    def prompted_targets(self, hypotheses: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
        """What ESPnet's training has for transcripts: the prompt among the tokens."""
        return [(*self.decoder_prompt, *y) for y in hypotheses]

    def search(self, encoded: Encoded) -> list[list[int]]:
        """ESPnet's search, less the prompt that it starts from."""
        found = super().search(encoded)
        start = 1 + len(self.decoder_prompt)
        return [y[start:] for y in found] if self.decoder_prompt else found

    def to_tokens(self, text: str) -> list[int]:
        tokens = super().to_tokens(text)[len(self.decoder_prompt) :]
        if not tokens:
            raise UtteranceError("empty_transcript", f"nothing of '{text}' is left")
        return tokens
