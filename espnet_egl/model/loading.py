"""Loading a recogniser from the files of a recipe, and refusing what does not fit."""

from __future__ import annotations

import argparse
import importlib
import inspect
import logging
import shlex
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import yaml

from espnet_egl.data.kaldi import read_lines
from espnet_egl.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    EGLError,
    UnsupportedModelError,
)
from espnet_egl.model import compat, s2t_task, transducer_task, whisper_parts
from espnet_egl.model.prompts import Prompts
from espnet_egl.model.recognizer import Recognizer
from espnet_egl.store.files import read_yaml

logger = logging.getLogger(__name__)


def load_recognizer(
    train_config: str | Path,
    model_file: str | Path,
    inference_config: str | Path | None = None,
    inference_args: str = "",
    nbest: int = 1,
    device: str = "cpu",
    dtype: str = "float32",
    strict: bool = True,
    prompts: Prompts | None = None,
) -> Recognizer:
    """Load a model and the search ESPnet would decode it with.

    Args:
        train_config: ``config.yaml`` that ESPnet's training left.
        model_file: The checkpoint, e.g. ``valid.loss.ave.pth``.
        inference_config: Options of ``espnet2.bin.asr_inference`` in a yaml file, or of
            ``asr_transducer_inference``, ``s2t_inference`` or ``s2t_inference_ctc`` for a model of
            these tasks.
        inference_args: More of these options as on a command line; they win.
        nbest: Length of the N-best lists.
        device: ``cpu``, ``cuda``, ``cuda:1``, ...
        dtype: ``float32`` or ``float64``.
        strict: Refuse a checkpoint whose keys are not exactly the model's.
        prompts: Language and task, for models that are told them.

    Raises:
        ConfigError: A file is missing, or ESPnet cannot make the model or the search.
        UnsupportedModelError: The model is of a kind that cannot be scored.
        CheckpointError: The checkpoint does not fit the configuration.
    """
    if not Path(model_file).is_file():
        raise ConfigError(f"{model_file}: no such file; {_instead_of(Path(model_file))}")
    for path in (train_config, inference_config):
        if path is not None and not Path(path).is_file():
            raise ConfigError(f"{path}: no such file")
    compat.provide_rnnt_loss()
    train = read_train_config(train_config)
    options = inference_options(train, inference_config, inference_args)
    config = "s2t_train_config" if s2t_task.is_of_the_task(train) else "asr_train_config"
    options |= {config: str(train_config), "device": device, "dtype": dtype, "nbest": nbest}
    lm_file = options.pop("lm_file", None)
    if lm_file is not None and options["lm_train_config"] is None:
        raise ConfigError(f"--lm_file {lm_file} needs --lm_train_config, its config.yaml")
    if options["lm_train_config"] is not None:
        _check_vocabulary(train_config, options["lm_train_config"])
    # Not all is in an adapter's checkpoint: there the weights are downloaded.
    random = whisper_parts.is_made_of(train) and strict
    with whisper_parts.without_download() if random else nullcontext():
        speech2text = _build(options, train, options[config])
    load_checkpoint(speech2text.asr_model, model_file, device, strict)
    if lm_file is not None and options["lm_weight"] != 0.0:
        language_model = _language_model(speech2text)
        load_checkpoint(language_model, lm_file, device, strict, prefix="lm.")
        # ESPnet leaves a transducer's in training mode, and with it its dropout on.
        language_model.eval()
    return _recognizer(speech2text, train, prompts or Prompts())


def _recognizer(speech2text: Any, train: Mapping[str, Any], prompts: Prompts) -> Recognizer:
    if s2t_task.is_of_the_task(train):
        kind = s2t_task.OWSMCTC if s2t_task.is_ctc_only(train) else s2t_task.OWSM
        return kind(speech2text, prompts)
    if prompts:
        raise ConfigError(
            "--prompt and --utt2lang are for models that take one, as OWSM does; Whisper's "
            "language and task are those of its training (whisper_language in preprocessor_conf)"
        )
    if whisper_parts.is_made_of(train):
        return whisper_parts.WhisperRecognizer(speech2text)
    return Recognizer(speech2text)


def _instead_of(model_file: Path) -> str:
    """What to give in place of a checkpoint that is not there."""
    there = sorted(path.name for path in model_file.parent.glob("*.pth"))
    if there:
        return f"give one of those beside it: {', '.join(there)}"
    return (
        "give the options that training had, which name its directory, or train the model first "
        "(stage 11)"
    )


def load_checkpoint(
    model: torch.nn.Module,
    path: str | Path,
    device: str = "cpu",
    strict: bool = True,
    prefix: str = "",
) -> None:
    """Load weights without unpickling anything but tensors, and check that they fit.

    ESPnet loads with ``strict=False``: a wrong checkpoint would go unnoticed.

    Args:
        model: Where they go.
        path: The checkpoint; also DeepSpeed's and Lightning's wrapping.
        device: Where tensors are loaded to.
        strict: Refuse missing and unexpected keys; otherwise only warn.
        prefix: Taken off the keys, e.g. ``lm.``.

    Raises:
        CheckpointError: It cannot be read, or does not fit.
    """
    names = {name for name, _ in model.named_parameters()}
    try:
        states = torch.load(path, map_location=device, weights_only=True)
        for wrapper in ("module", "state_dict", "model"):
            if isinstance(states.get(wrapper), dict):
                states = states[wrapper]
        states = {key.removeprefix(prefix): value for key, value in states.items()}
        broken = [key for key in names & states.keys() if not bool(states[key].isfinite().all())]
        result = model.load_state_dict(states, strict=False)
    except Exception as e:  # a damaged file raises nearly anything
        raise CheckpointError(f"{path}: cannot be loaded into this model: {e}") from e
    if broken:
        raise CheckpointError(
            f"{path}: {len(broken)} of its weights are not finite, e.g. {min(broken)}: the "
            "training diverged, or the file is damaged; take another checkpoint"
        )
    problems = [f"missing {k}" for k in result.missing_keys]
    problems += [f"unexpected {k}" for k in result.unexpected_keys]
    if problems:
        message = (
            f"{path} does not fit its configuration: keys that differ: {len(problems)}, e.g. "
            + ", ".join(problems[:4])
        )
        if strict:
            raise CheckpointError(
                f"{message}. Give the config.yaml that lies beside the checkpoint, or, if this "
                "is intended (an adapter's checkpoint), --strict_checkpoint false"
            )
        logger.warning(message)


def read_train_config(path: str | Path) -> dict[str, Any]:
    """What ESPnet's training of a recogniser left in ``config.yaml``.

    Raises:
        ConfigError: It is none.
    """
    train = read_yaml(path)
    if not isinstance(train, dict) or "token_list" not in train:
        raise ConfigError(f"{path} is not a config.yaml of ESPnet's ASR")
    for name in ("encoder_conf", "model_conf"):
        if not isinstance(train.get(name) or {}, dict):
            raise ConfigError(f"{path}: {name} must be options by their names, not {train[name]!r}")
    return train


def has_ctc(train: Mapping[str, Any]) -> bool:
    """Whether the model of a training has a CTC branch."""
    conf = train.get("model_conf") or {}
    if transducer_task.is_of_the_task(train):
        return float(conf.get("auxiliary_ctc_weight", 0.0)) > 0
    if s2t_task.is_ctc_only(train):
        return True
    return float(conf.get("ctc_weight", 0.5)) > 0


def _inference(train: Mapping[str, Any]) -> tuple[Any, type[Any]]:
    """The module of ESPnet whose options a model is decoded with, and the class that decodes."""
    if s2t_task.is_of_the_task(train):
        return compat.s2t_inference(s2t_task.is_ctc_only(train))
    of_transducers = transducer_task.is_of_the_task(train)
    module = importlib.import_module(
        transducer_task.INFERENCE if of_transducers else "espnet2.bin.asr_inference"
    )
    return module, module.Speech2Text


def inference_options(
    train: Mapping[str, Any], config: str | Path | None, args: str
) -> dict[str, Any]:
    """Options of ``Speech2Text`` from the own parser of ESPnet's inference.

    Args:
        train: The model's config.yaml, which tells which inference that is.
        config: Its ``--config``, a yaml file.
        args: More options as on a command line; they win.

    Raises:
        ConfigError: An option is unknown or has a wrong value.
    """
    inference, decoder = _inference(train)
    parser = inference.get_parser()
    if not (transducer_task.is_of_the_task(train) or s2t_task.is_of_the_task(train)):
        _add_streaming(parser)

    # argparse would end the process; the user's option stands behind two layers of scripts.
    def refuse(message: str) -> Any:
        raise ConfigError(
            f"options for decoding ({config or 'no --inference_config'}, {args!r}): {message}"
        )

    parser.error = refuse  # type: ignore[method-assign]
    if config and not isinstance(read_yaml(config), dict):
        raise ConfigError(f"{config}: must hold 'option: value' lines")
    try:
        words = [*(["--config", str(config)] if config else []), *shlex.split(args)]
        words += ["--output_dir", "unused", "--data_path_and_name_and_type", "unused,speech,sound"]
        given = vars(parser.parse_args(words))
    except (ValueError, TypeError, yaml.YAMLError) as e:
        refuse(str(e))
    known = inspect.signature(decoder.__init__).parameters
    return {key: value for key, value in given.items() if key in known}


def _add_streaming(parser: argparse.ArgumentParser) -> None:
    """Know the options of a recipe that decodes by ``asr_inference_streaming``.

    What they are about, audio that arrives in pieces, is no matter here.
    """
    from espnet2.bin import asr_inference_streaming

    taken = {action.dest for action in parser._actions}
    for action in asr_inference_streaming.get_parser()._actions:
        if action.dest not in taken:
            parser._add_action(action)


# Of ESPnet's decoding.
_WITHOUT_GRADIENTS = ("quantize_asr_model", "quantize_s2t_model", "quantize_lm", "enh_s2t_task")
# Other prompts of Whisper than its training's.
_OTHER_PROMPTS = ("lang_prompt_token", "nlp_prompt_token", "lid_prompt")
_REFUSED = (*_WITHOUT_GRADIENTS, *_OTHER_PROMPTS, "multi_asr", "partial_ar", "predict_time")


def _build(options: dict[str, Any], train: dict[str, Any], path: str) -> Any:
    """Make Speech2Text with random weights."""
    if transducer_task.is_of_the_task(train):
        transducer_task.check(train, path)
        options["streaming"] = False  # it would only get ready for audio in pieces
    made = {"asr_model_file": None, "s2t_model_file": None, "batch_size": 1}
    options |= {k: v for k, v in made.items() if k in options}
    for key in _REFUSED:
        if options.get(key):
            raise UnsupportedModelError(f"--{key} cannot be combined with gradient lengths")
    try:
        _, decoder = _inference(train)
        speech2text = decoder(**_fitted(options, train))
        for task in (transducer_task, s2t_task):
            if task.is_of_the_task(train):
                task.adapt(speech2text)
    except EGLError:
        raise
    except Exception as e:  # from assertions to type checks, whatever the options break
        where = " (OpenAI's weights belong into ~/.cache/whisper)"
        raise ConfigError(
            f"ESPnet cannot make the model or its search: {type(e).__name__}: {e}"
            f"{where if whisper_parts.is_made_of(train) else ''}"
        ) from e
    searched_in_blocks = type(speech2text.beam_search).__name__ == "BatchBeamSearchOnlineSim"
    if searched_in_blocks and options["maxlenratio"] < 0:
        # It would read "at most 6 tokens" as "at most 1", and fall over its end.
        raise ConfigError(
            f"--maxlenratio {options['maxlenratio']}: ESPnet's search in blocks knows no number of "
            "tokens. Give a share of the frames (0.0: ESPnet's default), or --streaming false"
        )
    return speech2text


def _fitted(options: dict[str, Any], train: dict[str, Any]) -> dict[str, Any]:
    """``options`` without what the model of ``train`` cannot meet."""
    options = dict(options)
    ctc_weight = float((train.get("model_conf") or {}).get("ctc_weight", 0.5))
    if ctc_weight in (0.0, 1.0) and options.get("ctc_weight", ctc_weight) != ctc_weight:
        logger.info(f"The model has one branch only: decoding with ctc_weight {ctc_weight}")
        options["ctc_weight"] = ctc_weight
    vocabulary = len(_token_list(train["token_list"]))
    if options["beam_size"] >= vocabulary:
        # ESPnet's search fails above the vocabulary's size and miscounts at it.
        logger.warning(f"beam_size {options['beam_size']} cut to {vocabulary - 1}, the vocabulary")
        options["beam_size"] = vocabulary - 1
    if train.get("decoder") == "transducer":
        options["transducer_conf"] = {
            **(options.get("transducer_conf") or {}),
            "nbest": options["nbest"],
        }
    return options


def _token_list(token_list: list[str] | str) -> list[str]:
    if isinstance(token_list, str):
        try:
            return [line.rstrip() for line in read_lines(token_list)]
        except DataError as e:
            raise ConfigError(str(e)) from e
    return list(token_list)


def _check_vocabulary(train_config: str | Path, lm_train_config: str | Path) -> None:
    """Refuse a language model whose token 7 is another than the recogniser's."""
    tokens = []
    for path in (train_config, lm_train_config):
        found = read_yaml(path)
        if not isinstance(found, dict) or not found.get("token_list"):
            raise ConfigError(
                f"{path}: holds no token_list: not a config.yaml of ESPnet's training"
            )
        tokens.append(_token_list(found["token_list"]))
    if tokens[0] != tokens[1]:
        raise ConfigError(
            f"{lm_train_config} has other tokens ({len(tokens[1])}) than {train_config} "
            f"({len(tokens[0])}), or has them in another order: a language model needs the "
            "recogniser's own"
        )


def _language_model(speech2text: Any) -> torch.nn.Module:
    if speech2text.beam_search_transducer is not None:
        return speech2text.beam_search_transducer.lm
    return speech2text.beam_search.nn_dict["lm"]
