"""OWSM and OWSM-CTC, real classes of ESPnet, tiny and with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from conftest import BRANCHFORMER, CONFORMER, FRONTEND, TRANSFORMER_DECODER, ModelFiles

LANGUAGES = ["<nolang>", "<eng>", "<jpn>"]
TIMES = [f"<{i * 0.5:.2f}>" for i in range(5)]
SYMBOLS = ["<na>", *LANGUAGES, "<asr>", "<st_eng>", "<notimestamps>", *TIMES]
# Seconds: of the window that the models hear.
WINDOW = 2

OWSM_CTC: dict[str, Any] = {
    "model": "espnet_ctc",
    "encoder": "e_branchformer_ctc",
    "encoder_conf": {
        **BRANCHFORMER,
        "num_blocks": 3,
        "input_layer": "conv2d8",
        "use_ffn": True,
        "macaron_ffn": True,
        "linear_units": 24,
        "interctc_layer_idx": [1, 2],
        "interctc_use_conditioning": True,
        "use_cross_attention": [True, False, True],
    },
    "promptencoder": "transformer",
    "promptencoder_conf": {
        "output_size": 12,
        "attention_heads": 2,
        "linear_units": 16,
        "num_blocks": 1,
    },
    # The trap: dropout that ESPnet's CTC does in evaluation mode, too.
    "ctc_conf": {"dropout_rate": 0.2},
    "model_conf": {"interctc_weight": 0.4, "ctc_asr_only": [True, False, False]},
    "preprocessor": "s2t_ctc",
}
OWSM: dict[str, Any] = {
    "model": "espnet",
    "encoder": "conformer",
    "encoder_conf": CONFORMER,
    "decoder": "transformer",
    "decoder_conf": TRANSFORMER_DECODER,
    "model_conf": {"ctc_weight": 0.3, "lsm_weight": 0.1},
    "preprocessor": "s2t",
}


def write_pieces(directory: Path) -> tuple[str, list[str]]:
    """A model of sentencepiece, and the tokens with it, as OWSM's recipes make them."""
    import sentencepiece

    directory.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a bad bead", "dad bade abed", "cab ebb", "decade aced"] * 5),
        model_prefix=str(directory / "bpe"),
        model_type="bpe",
        vocab_size=32,
        user_defined_symbols=SYMBOLS,
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(str(directory / "bpe.model"))
    own = [pieces.id_to_piece(i) for i in range(pieces.get_piece_size())]
    kept = [piece for piece in own if piece not in ("<unk>", "<s>", "</s>", *SYMBOLS)]
    tokens = ["<blank>", "<unk>", *SYMBOLS, *kept, "<sop>", "<sos>", "<eos>"]
    return str(directory / "bpe.model"), tokens


def train_args(directory: Path, **overrides: Any) -> Any:
    """Options of the task with ``overrides``."""
    bpemodel, tokens = write_pieces(directory)
    args = task_of(overrides).get_parser().parse_args(["--output_dir", "unused"])
    conf = {
        "token_list": tokens,
        "token_type": "bpe",
        "bpemodel": bpemodel,
        "frontend_conf": FRONTEND,
        "specaug": "specaug",
        "specaug_conf": {"apply_time_mask": True, "time_mask_width_range": [0, 5]},
        "normalize": "utterance_mvn",
        "init": "xavier_uniform",
        "preprocessor_conf": {
            "fs": FRONTEND["fs"],
            "speech_length": WINDOW,
            **(
                {}
                if overrides["preprocessor"] == "s2t_ctc"
                else {"first_time_symbol": TIMES[0], "last_time_symbol": TIMES[-1]}
            ),
        },
        **({} if "ctc_conf" in overrides else {"ctc_conf": {}}),
        **overrides,
    }
    # As the parser has it, so that decoding finds it in the config.
    conf["preprocessor_conf"].setdefault("notime_symbol", "<notimestamps>")
    if overrides["preprocessor"] == "s2t_ctc":
        del conf["preprocessor_conf"]["notime_symbol"]
    for key, value in conf.items():
        setattr(args, key, value)
    return args


def task_of(overrides: dict[str, Any]) -> Any:
    """ESPnet's task that makes such a model."""
    from espnet2.tasks import s2t, s2t_ctc

    return (s2t_ctc if overrides["preprocessor"] == "s2t_ctc" else s2t).S2TTask


def write_model(directory: Path, seed: int = 0, **overrides: Any) -> ModelFiles:
    """Build a model with random weights and write it as training does."""
    args = train_args(directory, **overrides)
    torch.manual_seed(seed)
    model = task_of(overrides).build_model(args)
    with torch.no_grad():
        if hasattr(model, "embed"):
            # Apart enough that what a clip is told makes a difference.
            torch.nn.init.normal_(model.embed.weight)
        # No trained model emits them within a transcript.
        unheard = [model.sos, model.sop]
        if model.ctc is not None:
            model.ctc.ctc_lo.bias[[*unheard, model.eos, model.na]] = -20.0
        if getattr(model, "decoder", None) is not None:
            model.decoder.output_layer.bias[[*unheard, model.blank_id]] = -20.0
    files = ModelFiles(directory / "config.yaml", directory / "valid.loss.best.pth")
    files.config.write_text(yaml.safe_dump(vars(args)), encoding="utf-8")
    torch.save(model.state_dict(), files.checkpoint)
    return files
