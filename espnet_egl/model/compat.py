"""Every difference between ESPnet releases, and nowhere else.

Supported: 202506 and 202511 (Python 3.11), and 202611 (Python 3.12 and later).
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import types
from typing import Any

import torch
from espnet2.asr_transducer import utils as asr_transducer

from espnet_egl.errors import ConfigError

ESPNET_VERSION = importlib.metadata.version("espnet")
OLDEST = 202506


def check_version(version: str) -> None:
    """Refuse a release of ESPnet that this was not written for, before it fails in a harder way.

    Args:
        version: E.g. ``202511`` or ``202610.post2``.

    Raises:
        ConfigError: It is older.
    """
    year_month = version.split(".")[0]
    if not year_month.isdigit() or int(year_month) < OLDEST:
        raise ConfigError(
            f"ESPnet {version} is installed; {OLDEST} and later are supported "
            "(on Python 3.11: 202506 and 202511; on 3.12 and 3.13: 202611)"
        )


check_version(ESPNET_VERSION)


def _legacy(module: str) -> Any:
    """A module of ``espnet``, which 202611 moved to ``espnet2.legacy``."""
    try:
        return importlib.import_module(f"espnet2.legacy.{module}")
    except ModuleNotFoundError:
        return importlib.import_module(f"espnet.{module}")


# The task asr_transducer has its own.
TooShortUttError: tuple[type[Exception], ...] = (
    _legacy("nets.pytorch_backend.transformer.subsampling").TooShortUttError,
    asr_transducer.TooShortUttError,
)

# Rates at which ESPnet drops or samples whatever the mode: CTC.dropout_rate, RNNP.dropout,
# RNNDecoder.sampling_probability, ESPnetASRTransducerModel.ctc_dropout_rate. Modules that heed
# the mode have them too, unread.
DROPOUT_IN_EVALUATION = frozenset({"dropout_rate", "dropout", "ctc_dropout_rate"})
RANDOM_IN_EVALUATION = DROPOUT_IN_EVALUATION | {"sampling_probability"}


def _attention(*names: str) -> tuple[type[torch.nn.Module], ...]:
    """Classes of ESPnet's attention; imported when wanted, for the import prints a line."""
    module = _legacy("nets.pytorch_backend.transformer.attention")
    return tuple(getattr(module, name) for name in names)


def _transducers(module: str, name: str) -> type[torch.nn.Module]:
    """A class of the task asr_transducer."""
    return getattr(importlib.import_module(f"espnet2.asr_transducer.{module}"), name)


_RELATIVE = ("RelPositionMultiHeadedAttention", "LegacyRelPositionMultiHeadedAttention")


def expandable_parameters(module: torch.nn.Module) -> dict[str, int]:
    """Parameters that may be given to every utterance of a batch as its own.

    They are added to, or multiplied with, what every utterance has: name -> how many
    dimensions stand between the batch and the parameter's own.
    """
    if isinstance(module, _attention(*_RELATIVE)):
        return {"pos_bias_u": 1, "pos_bias_v": 1}
    if isinstance(module, _transducers("encoder.modules.attention", _RELATIVE[0])):
        return {"pos_bias_u": 1, "pos_bias_v": 1}
    if isinstance(module, _transducers("normalization", "BasicNorm")):
        return {"eps": 2}
    if isinstance(module, _transducers("normalization", "ScaleNorm")):
        return {"scale": 2}
    if isinstance(module, _transducers("normalization", "RMSNorm")):
        return {"scale": 1}
    embedding = _legacy("nets.pytorch_backend.transformer.embedding")
    return {"alpha": 2} if isinstance(module, embedding.ScaledPositionalEncoding) else {}


def shares_positions(module: torch.nn.Module) -> bool:
    """Whether its fourth argument is one table of positions (1, T, D) for the whole batch."""
    return isinstance(module, _attention(*_RELATIVE))


def makes_positions(module: torch.nn.Module) -> bool:
    """Whether its output is one table of positions (1, T, D) for the whole batch.

    Of the encoders of the task asr_transducer; further blocks than attention read it there.
    """
    name = "encoder.modules.positional_encoding"
    return isinstance(module, _transducers(name, "RelPositionalEncoding"))


# They cut the padded batch into blocks: all of it is one stream to them.
_STREAMING = tuple(
    f"espnet2.asr.encoder.contextual_block_{name}_encoder" for name in ("conformer", "transformer")
)


def reads_padding(module: torch.nn.Module) -> bool:
    """Whether padding is known to change what comes out, for a reason no mask can mend.

    Of streaming encoders, Whisper's, and the task asr_transducer's convolutions between blocks
    of the encoder that subsample: they take every second position from the padded batch's end.
    """
    if type(module).__module__ in _STREAMING:
        return True
    if type(module).__module__ == "espnet2.asr.encoder.whisper_encoder":
        return not module.do_pad_trim  # nothing is masked
    convolution = _transducers("encoder.blocks.conv1d", "Conv1d")
    return isinstance(module, convolution) and bool(vars(module)["stride"] > 1)


def s2t_inference(ctc_only: bool) -> tuple[Any, type[Any]]:
    """What knows the options of decoding with OWSM or OWSM-CTC, and the class that decodes.

    Since 202611 one class does both, and that of OWSM-CTC alone is deprecated.
    """
    general = importlib.import_module("espnet2.bin.s2t_inference")
    if not ctc_only:
        return general, general.Speech2Text
    module = importlib.import_module("espnet2.bin.s2t_inference_ctc")
    return module, (general if hasattr(general, "CTC_ONLY_MODEL") else module).Speech2Text


def lora_linear() -> list[type[torch.nn.Module]]:
    """loralib's linear layer, which ESPnet's adapters use, if it is installed."""
    try:
        return [importlib.import_module("loralib").Linear]
    except ModuleNotFoundError:
        return []


def unmerge_adapters(model: torch.nn.Module) -> None:
    """Take loralib's layers apart again, which ESPnet merges with their base when it loads.

    Merged, nothing depends on the adapter's own parameters.
    """
    for layer in model.modules():
        if getattr(layer, "merged", False) and hasattr(layer, "lora_A"):
            layer.train()
            layer.training = False


def is_adapter(parameter: str) -> bool:
    """Whether a parameter, by its name, belongs to an adapter of ESPnet."""
    return "lora_" in parameter or "adapter" in parameter


class _TorchaudioRNNTLoss(torch.nn.Module):
    """warprnnt_pytorch's RNNTLoss computed by torchaudio: mean of -log P over the batch."""

    def __init__(self, blank: int = 0, fastemit_lambda: float = 0.0, reduction: str = "mean"):
        super().__init__()
        if fastemit_lambda:
            raise NotImplementedError("FastEmit needs the package warprnnt_pytorch")
        self.blank = blank
        self.reduction = reduction

    def forward(
        self,
        acts: torch.Tensor,
        labels: torch.Tensor,
        act_lens: torch.Tensor,
        label_lens: torch.Tensor,
    ) -> torch.Tensor:
        return rnnt_loss(acts, labels, act_lens, label_lens, self.blank, self.reduction)


def rnnt_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    logit_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
    blank: int,
    reduction: str = "none",
) -> torch.Tensor:
    """-log P(target | audio) of a transducer.

    Args:
        logits: (B, T, L + 1, V), not normalised.
        targets: (B, L).
        logit_lengths: (B,) frames.
        target_lengths: (B,) tokens.
        blank: Id of the blank.
        reduction: ``none``, ``sum`` or ``mean`` over the batch.
    """
    import torchaudio

    return torchaudio.functional.rnnt_loss(
        logits.float(),
        targets.int(),
        logit_lengths.int(),
        target_lengths.int(),
        blank=blank,
        reduction=reduction,
    )


def provide_rnnt_loss() -> None:
    """Let transducers load where warprnnt_pytorch, a compiled extra of ESPnet, is missing.

    ESPnet's model imports ``warprnnt_pytorch.RNNTLoss`` when it is built. Where that
    package is not installed, a module of that name backed by torchaudio takes its place.
    """
    try:
        importlib.import_module("warprnnt_pytorch")
    except ModuleNotFoundError:
        module = types.ModuleType("warprnnt_pytorch")
        vars(module)["RNNTLoss"] = _TorchaudioRNNTLoss
        sys.modules["warprnnt_pytorch"] = module
