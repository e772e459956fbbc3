"""Models of ESPnet's task ``asr_transducer``, given what the task ``asr`` has by other names."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from espnet_egl.errors import UnsupportedModelError

INFERENCE = "espnet2.bin.asr_transducer_inference"


def is_of_the_task(train: Mapping[str, Any]) -> bool:
    """Whether a training's config.yaml is of this task, which alone writes encoders as blocks."""
    conf = train.get("encoder_conf")
    return isinstance(conf, Mapping) and "body_conf" in conf


def check(train: Mapping[str, Any], name: str) -> None:
    """Refuse models whose loss cannot be computed as it was in training.

    Args:
        train: A config.yaml of the task.
        name: Its path, for the message.

    Raises:
        UnsupportedModelError: The loss is k2's pruned one, or the decoder is an RWKV.
    """
    if (train.get("model_conf") or {}).get("use_k2_pruned_loss"):
        raise UnsupportedModelError(
            f"{name}: a model trained with k2's pruned loss is not supported: what it prunes, and "
            "with it the gradient, hangs on the training's step. Train one with "
            "use_k2_pruned_loss: false in model_conf"
        )
    if train.get("decoder") == "rwkv":
        raise UnsupportedModelError(
            f"{name}: the decoder rwkv is not supported: it is a CUDA kernel that ESPnet compiles. "
            "Give a model with the decoder rnn, stateless or mega"
        )


def adapt(speech2text: Any) -> None:
    """Give the task's ``Speech2Text`` and its model the attributes of the task ``asr``.

    No parameter gets another name: what is set here is no registered module.
    """
    from espnet2.asr.ctc import CTC

    model = speech2text.asr_model
    speech2text.beam_search_transducer = speech2text.beam_search
    model.use_transducer_decoder = True
    model.blank_id = 0
    model.sos = model.eos = model.vocab_size - 1
    # In evaluation mode the model would search for error rates in every loss.
    model.report_cer = model.report_wer = False
    # The task makes it at the first loss: what is amiss shall be known before.
    loss = importlib.import_module("warprnnt_pytorch").RNNTLoss
    model.criterion_transducer = loss(reduction="mean", fastemit_lambda=model.fastemit_lambda)
    ctc = None
    if model.use_auxiliary_ctc:
        ctc = CTC(model.vocab_size, model.encoder.output_size)
        ctc.ctc_lo = model.ctc_lin
    vars(model)["ctc"] = ctc
