"""Models of ESPnet's tasks ``s2t`` and ``s2t_ctc``: OWSM, OWSM-CTC and their kin.

Such a model hears a window of fixed length, 30 s as a rule, and is told the language and the task.
OWSM-CTC is told by its encoder, and emits both before the transcript; OWSM by the tokens that its
decoder begins with, while its CTC branch emits the transcript alone. docs/families.md has more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch

from espnet_egl.errors import ConfigError, UnsupportedModelError, UtteranceError
from espnet_egl.model.encoded import Encoded
from espnet_egl.model.likelihoods import pad
from espnet_egl.model.prompts import Prompts, bracketed, check_symbol, without_symbols, words_of
from espnet_egl.model.recognizer import Recognizer

Batch = tuple[torch.Tensor, torch.Tensor]


def is_of_the_task(train: Mapping[str, Any]) -> bool:
    """Whether a training's config.yaml is of one of these tasks."""
    return str(train.get("preprocessor") or "").startswith("s2t")


def is_ctc_only(train: Mapping[str, Any]) -> bool:
    """Whether it is of the task s2t_ctc."""
    return train.get("model") == "espnet_ctc"


def adapt(speech2text: Any) -> None:
    """Give the tasks' ``Speech2Text`` and its model the attributes of the task ``asr``.

    No parameter gets another name: what is set here is no registered module.
    """
    model = speech2text.s2t_model
    speech2text.asr_model, speech2text.asr_train_args = model, speech2text.s2t_train_args
    speech2text.beam_search_transducer = None
    model.use_transducer_decoder = False
    if not hasattr(model, "decoder"):
        vars(model)["decoder"] = None
        model.ctc_weight = 1.0


class PromptedRecognizer(Recognizer):
    """What OWSM and OWSM-CTC have in common.

    Args:
        speech2text: ESPnet's ``Speech2Text`` with its weights loaded, :func:`adapt` ed.
        prompts: Of the pool's clips.

    Raises:
        ConfigError: The model has not the language or the task.
        UnsupportedModelError: The task is another than to transcribe.
    """

    def __init__(self, speech2text: Any, prompts: Prompts):
        super().__init__(speech2text)
        self.prompts = prompts
        self._known: dict[str, int] = speech2text.converter.token2id
        conf = dict(self.train_args.preprocessor_conf or {})
        self._no_language = conf.get("nolang_symbol", "<nolang>")
        self._no_time = conf.get("notime_symbol", "<notimestamps>")
        prompts.check(self._known)
        symbols = [s for s in prompts.symbols if s != self._no_time]
        if len(symbols) > 2:
            raise ConfigError(
                f"--prompt {''.join(prompts.symbols)}: the model takes a language and a task"
            )
        default = [bracketed(speech2text.lang_sym), bracketed(speech2text.task_sym)]
        self._language, self._task = [*symbols, *default[len(symbols) :]]
        for symbol in (self._language, self._task):
            check_symbol("--prompt, or lang_sym and task_sym of the decoding", symbol, self._known)
        if self._task.startswith("<st_"):
            raise UnsupportedModelError(
                f"the task {self._task} is not supported: of a translation nobody has the "
                "transcript, which the model's CTC is trained on. Give the task <asr> by --prompt"
            )
        self.not_available = self.model.na
        # In samples; of features that are no waveform, nothing is known.
        rate = int(conf.get("fs", 16000))
        self.window = int(float(conf.get("speech_length", 30)) * rate)

    @property
    def prompt(self) -> str:
        """Of the clips at hand, for messages."""
        return f"{self._language}{self._task}"

    def _id(self, symbol: str) -> int:
        return self._known[symbol]

    def prompt_of(self, uid: str) -> Any:
        try:
            return self.prompts.language(uid, self._known)
        except UtteranceError as e:
            return e.reason

    @contextmanager
    def prompted(self, uids: Sequence[str]) -> Iterator[None]:
        before = self._language
        (language,) = {self.prompts.language(uid, self._known) for uid in uids}
        try:
            self._language = language or before
            yield
        finally:
            self._language = before

    # ---- the window ----

    def preprocess(self) -> Any:
        """ESPnet's preprocessing without its padding, which :meth:`_alone` does.

        Here a clip stays what it is, also to be told from others, and nothing is cut off.
        """
        preprocessor = self._preprocessor

        def process(uid: str, data: dict[str, Any]) -> dict[str, Any]:
            self._check_length(data["speech"])
            return preprocessor._speech_process(data)

        return process if preprocessor is not None else None

    @cached_property
    def _preprocessor(self) -> Any:
        # Both tasks' functions make either preprocessor.
        from espnet2.tasks.s2t_ctc import S2TTask

        return S2TTask.build_preprocess_fn(self.train_args, False)

    def _check_length(self, speech: Any) -> None:
        if speech.ndim == 1 and len(speech) > self.window:
            raise UtteranceError(
                "too_long",
                f"{len(speech) / self.rate:.1f} s, and the model hears {self.window / self.rate:g} "
                f"s at most: cut recordings into clips of that length (al_segment)",
            )

    def samples(self, speech: np.ndarray | torch.Tensor) -> int:
        return self.window if speech.ndim == 1 else len(speech)

    def _alone(self, speech: np.ndarray | torch.Tensor) -> Batch:
        if len(speech) == 0:
            raise UtteranceError("too_short", "no samples")
        self._check_length(speech)
        speech = torch.as_tensor(speech)
        if speech.ndim == 1:
            speech = torch.nn.functional.pad(speech, (0, self.window - len(speech)))
        return super()._alone(speech)

    def clock(self, encoded: Encoded, seconds: float) -> tuple[float, int]:
        told = self._frames_before_audio()
        return self.window / self.rate / (encoded.frames - told), told

    def _frames_before_audio(self) -> int:
        return 0

    # ---- texts ----

    def to_text(self, tokens: Sequence[int]) -> str:
        words = without_symbols(self.speech2text.converter.ids2tokens(list(tokens)))
        tokenizer = self.speech2text.tokenizer
        return " ".join(words) if tokenizer is None else tokenizer.tokens2text(words)

    def to_tokens(self, text: str) -> list[int]:
        """A transcript -> token ids, as the training's ``text.ctc`` is cut.

        Language, task and times around it, as a recipe's ``text`` has them, are left out.
        """
        preprocessor = self._preprocessor
        if preprocessor is None or preprocessor.tokenizer is None:
            raise UnsupportedModelError("the model was trained without ESPnet's preprocessor")
        words = words_of(text, self._known)
        tokens = preprocessor.tokenizer.text2tokens(preprocessor.text_cleaner(words))
        if not words or not tokens:
            raise UtteranceError("empty_transcript", f"nothing of '{text}' is left")
        return list(preprocessor.token_id_converter.tokens2ids(tokens))


class OWSMCTC(PromptedRecognizer):
    """OWSM-CTC: ``ESPnetS2TCTCModel``.

    CTC emits the language, the task, and the transcript. With a language that is known, P(y | x)
    is the transcript's given that the first two are emitted as they should be; without one
    (``<nolang>``), language and task belong to what is not known, and to the hypotheses.
    """

    @property
    def ctc_prompt(self) -> tuple[int, ...]:  # type: ignore[override]
        if self._language == self._no_language:
            return ()
        return self._id(self._language), self._id(self._task)

    def _prompts(self, count: int) -> dict[str, torch.Tensor]:
        """What the encoder is told, as ESPnet's arguments: no text before, language, task."""

        def tokens(*ids: int) -> Batch:
            rows = torch.tensor([ids] * count, device=self.device)
            return rows, torch.full((count,), len(ids), device=self.device)

        previous = tokens(self.model.na)
        prefix = tokens(self._id(self._language), self._id(self._task))
        return {
            "text_prev": previous[0],
            "text_prev_lengths": previous[1],
            "prefix": prefix[0],
            "prefix_lengths": prefix[1],
        }

    def _model_encode(self, batch: torch.Tensor, lengths: torch.Tensor) -> Any:
        return self.model.encode(batch, lengths, **self._prompts(len(batch)))

    def _model_loss(
        self, batch: torch.Tensor, lengths: torch.Tensor, hypotheses: Sequence[Sequence[int]]
    ) -> Any:
        targets = self.ctc_targets(hypotheses)
        text, text_lengths = pad(targets, self.device, fill=self.model.ignore_id)
        loss, _, _ = self.model(
            speech=batch,
            speech_lengths=lengths,
            text=text,
            text_lengths=text_lengths,
            # To transcribe, both kinds of intermediate CTC have the same target.
            text_ctc=text,
            text_ctc_lengths=text_lengths,
            **self._prompts(len(batch)),
        )
        return loss

    def _frames_before_audio(self) -> int:
        return 2

    def search(self, encoded: Encoded) -> list[list[int]]:
        """ESPnet's search, less the prompt that every hypothesis begins with."""
        found = [[t for t in y if t not in self.special] for y in super().search(encoded)]
        return [self._without_prompt(y) for y in found] if self.ctc_prompt else found

    def _without_prompt(self, tokens: list[int]) -> list[int]:
        if tuple(tokens[:2]) == self.ctc_prompt:
            return tokens[2:]
        # Another language, or no task: what was said is a hypothesis all the same.
        names = self.speech2text.converter.ids2tokens(tokens)
        symbols = next((i for i, t in enumerate(names) if without_symbols([t])), len(names))
        return tokens[symbols:]

    def to_tokens(self, text: str) -> list[int]:
        found = super().to_tokens(text)
        if self.ctc_prompt:
            return found
        said = Prompts.symbols_of(text)[:2]
        if len(said) < 2 or not all(symbol in self._known for symbol in said):
            raise UtteranceError(
                "no_language", f"'{text}': the language is not known (--prompt, --utt2lang)"
            )
        return [*map(self._id, said), *found]


class OWSM(PromptedRecognizer):
    """OWSM: ``ESPnetS2TModel``, whose decoder begins with language, task and ``<notimestamps>``.

    P(y | x) is the transcript's after these; the loss has them among its targets, as in training.
    """

    @property
    def decoder_prompt(self) -> tuple[int, ...]:  # type: ignore[override]
        if self.model.decoder is None:
            return ()
        return self._id(self._language), self._id(self._task), self._id(self._no_time)

    def _model_loss(
        self, batch: torch.Tensor, lengths: torch.Tensor, hypotheses: Sequence[Sequence[int]]
    ) -> Any:
        fill, count = self.model.ignore_id, len(hypotheses)
        prompted = [(*self.decoder_prompt, *y) for y in hypotheses]
        text, text_lengths = pad(prompted, self.device, fill)
        transcript, transcript_lengths = pad(hypotheses, self.device, fill)
        loss, _, _ = self.model(
            speech=batch,
            speech_lengths=lengths,
            text=text,
            text_lengths=text_lengths,
            text_prev=torch.full((count, 1), self.model.na, device=self.device),
            text_prev_lengths=torch.ones(count, dtype=torch.long, device=self.device),
            text_ctc=transcript,
            text_ctc_lengths=transcript_lengths,
        )
        return loss

    def search(self, encoded: Encoded) -> list[list[int]]:
        """ESPnet's search from the prompt, which is taken off again."""
        start = [self.model.sos, *self.decoder_prompt]
        self.speech2text.beam_search.set_hyp_primer(start)
        return [y[len(start) :] for y in super().search(encoded)]
