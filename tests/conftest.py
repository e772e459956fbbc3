"""Real ESPnet models, tiny and with random weights, and small pools."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml

TOKENS = ["<blank>", "<unk>", "<space>", "a", "b", "c", "d", "e", "<sos/eos>"]

FRONTEND: dict[str, Any] = {"n_fft": 256, "hop_length": 128, "n_mels": 16, "fs": 8000}
CONFORMER: dict[str, Any] = {
    "output_size": 16,
    "attention_heads": 2,
    "linear_units": 24,
    "num_blocks": 2,
    "cnn_module_kernel": 7,
    "rel_pos_type": "latest",
    "pos_enc_layer_type": "rel_pos",
    "selfattention_layer_type": "rel_selfattn",
}
BRANCHFORMER: dict[str, Any] = {
    "output_size": 16,
    "attention_heads": 2,
    "attention_layer_type": "rel_selfattn",
    "pos_enc_layer_type": "rel_pos",
    "rel_pos_type": "latest",
    "cgmlp_linear_units": 24,
    "cgmlp_conv_kernel": 7,
    "num_blocks": 2,
}
BLOCKS: dict[str, Any] = {
    "output_size": 16,
    "attention_heads": 2,
    "linear_units": 24,
    "num_blocks": 2,
    "block_size": 6,
    "hop_size": 2,
    "look_ahead": 2,
}
TRANSDUCER_BLOCK = {
    "block_type": "conformer",
    "hidden_size": 16,
    "linear_size": 24,
    "heads": 2,
    "conv_mod_kernel_size": 7,
}
TRANSFORMER_DECODER = {"attention_heads": 2, "linear_units": 24, "num_blocks": 1}

# Every model is trained code of ESPnet; only sizes are small.
MODELS: dict[str, dict[str, Any]] = {
    "ctc_conformer": {
        "encoder": "conformer",
        "encoder_conf": CONFORMER,
        "model_conf": {"ctc_weight": 1.0},
    },
    "ctc_ebranchformer": {
        "encoder": "e_branchformer",
        "encoder_conf": BRANCHFORMER,
        "model_conf": {"ctc_weight": 1.0},
        # The trap: ESPnet's CTC applies this dropout in evaluation mode too.
        "ctc_conf": {"dropout_rate": 0.2},
    },
    "ctc_interctc": {
        "encoder": "conformer",
        "encoder_conf": {**CONFORMER, "interctc_layer_idx": [1], "interctc_use_conditioning": True},
        "model_conf": {"ctc_weight": 1.0, "interctc_weight": 0.3},
    },
    "ctc_branchformer": {
        "encoder": "branchformer",
        "encoder_conf": {**BRANCHFORMER, "merge_method": "learned_ave"},
        "model_conf": {"ctc_weight": 1.0},
    },
    "ctc_transformer": {
        "encoder": "transformer",
        "encoder_conf": {
            "output_size": 16,
            "attention_heads": 2,
            "linear_units": 24,
            "num_blocks": 2,
        },
        "model_conf": {"ctc_weight": 1.0},
    },
    "ctc_vgg_gru": {
        "encoder": "vgg_rnn",
        "encoder_conf": {"rnn_type": "gru", "hidden_size": 8, "output_size": 12, "num_layers": 2},
        "model_conf": {"ctc_weight": 1.0},
    },
    # The trap: with projections, ESPnet's recurrent encoder drops out in evaluation mode too.
    "ctc_lstmp": {
        "encoder": "rnn",
        "encoder_conf": {
            "rnn_type": "lstm",
            "hidden_size": 8,
            "output_size": 12,
            "num_layers": 2,
            "dropout": 0.3,
        },
        "model_conf": {"ctc_weight": 1.0},
    },
    "ctc_gru_one_way": {
        "encoder": "rnn",
        "encoder_conf": {
            "rnn_type": "gru",
            "bidirectional": False,
            "use_projection": False,
            "hidden_size": 8,
            "output_size": 12,
            "num_layers": 2,
        },
        "model_conf": {"ctc_weight": 1.0},
    },
    # ESPnet's old relative positions depend on the padded length.
    "ctc_conformer_legacy": {
        "encoder": "conformer",
        "encoder_conf": {k: v for k, v in CONFORMER.items() if k != "rel_pos_type"},
        "model_conf": {"ctc_weight": 1.0},
    },
    # Streaming: blocks of frames, of whose means the next ones know. 0.6 s are 9 frames.
    "ctc_contextual_block": {
        "encoder": "contextual_block_transformer",
        "encoder_conf": BLOCKS,
        "model_conf": {"ctc_weight": 1.0},
    },
    "hybrid_contextual_block": {
        "encoder": "contextual_block_conformer",
        "encoder_conf": {**BLOCKS, "cnn_module_kernel": 7},
        "decoder": "transformer",
        "decoder_conf": TRANSFORMER_DECODER,
        "model_conf": {"ctc_weight": 0.3},
    },
    "hybrid_conformer": {
        "encoder": "conformer",
        "encoder_conf": CONFORMER,
        "decoder": "transformer",
        "decoder_conf": TRANSFORMER_DECODER,
        "model_conf": {"ctc_weight": 0.3, "lsm_weight": 0.1},
    },
    "hybrid_rnn": {
        "encoder": "vgg_rnn",
        "encoder_conf": {"rnn_type": "lstm", "hidden_size": 12, "output_size": 12, "num_layers": 1},
        "decoder": "rnn",
        # The trap: scheduled sampling, in any mode.
        "decoder_conf": {"hidden_size": 12, "sampling_probability": 0.5},
        "model_conf": {"ctc_weight": 0.5},
    },
    "transducer": {
        "encoder": "conformer",
        "encoder_conf": CONFORMER,
        "decoder": "transducer",
        "decoder_conf": {"rnn_type": "lstm", "num_layers": 1, "hidden_size": 12},
        "joint_net_conf": {"joint_space_size": 12},
        "model_conf": {"ctc_weight": 0.3, "report_cer": False, "report_wer": False},
    },
    # Of the task asr_transducer.
    "transducer_task": {
        "encoder_conf": {"body_conf": [{**TRANSDUCER_BLOCK, "num_blocks": 2}]},
        "decoder": "rnn",
        "decoder_conf": {"embed_size": 12, "hidden_size": 12},
        "joint_network_conf": {"joint_space_size": 12},
        "model_conf": {"report_cer": True},
    },
    "transducer_task_auxiliary": {
        "encoder_conf": {
            "input_conf": {"vgg_like": True, "conv_size": 8},
            "body_conf": [
                {**TRANSDUCER_BLOCK, "block_type": "ebranchformer"},
                {**TRANSDUCER_BLOCK, "block_type": "branchformer"},
            ],
            "main_conf": {
                "norm_type": "basic_norm",
                "conv_mod_norm_type": "rms_norm",
                "simplified_att_score": True,
            },
        },
        "decoder": "stateless",
        "decoder_conf": {"embed_size": 12},
        "joint_network_conf": {"joint_space_size": 12},
        # The trap: the model's own dropout before CTC, in any mode.
        "model_conf": {
            "auxiliary_ctc_weight": 0.5,
            "auxiliary_ctc_dropout_rate": 0.3,
            "auxiliary_lm_loss_weight": 0.4,
        },
    },
}

# What their encoders make of an utterance depends on the padding after it.
PADDING_MATTERS = ("ctc_conformer_legacy", "ctc_contextual_block", "hybrid_contextual_block")


def is_transducer(name: str) -> bool:
    """Whether a model of MODELS is one, of either task."""
    return name.startswith("transducer")


# LDC's converter, which no distribution packages; libsndfile reads SPHERE as well.
SPH2PIPE = """#!/usr/bin/env python3
import io, sys, soundfile
wave, rate = soundfile.read(sys.argv[-1], dtype="int16")
out = io.BytesIO()
soundfile.write(out, wave, rate, format="WAV")
sys.stdout.buffer.write(out.getvalue())
"""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Many minutes of kills run when asked for: ``-m faults``."""
    if "faults" not in config.getoption("-m"):
        for item in items:
            if item.get_closest_marker("faults"):
                item.add_marker(pytest.mark.skip(reason="run by make faults"))


@dataclass(frozen=True)
class ModelFiles:
    """What ESPnet's training leaves."""

    config: Path
    checkpoint: Path


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where all tests must run, one that was skipped is one that failed."""
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("EGL_NO_SKIPS") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def task_of(overrides: dict[str, Any]) -> Any:
    """ESPnet's task that makes such a model."""
    from espnet2.tasks.asr import ASRTask
    from espnet2.tasks.asr_transducer import ASRTransducerTask

    return ASRTransducerTask if "body_conf" in overrides.get("encoder_conf", {}) else ASRTask


def train_args(**overrides: Any) -> Any:
    """ESPnet's training options with ``overrides``."""
    task = task_of(overrides)
    args = task.get_parser().parse_args(["--output_dir", "unused"])
    conf = {
        "token_list": TOKENS,
        "token_type": "char",
        "frontend_conf": FRONTEND,
        "specaug": "specaug",
        "specaug_conf": {"apply_time_mask": True, "time_mask_width_range": [0, 5]},
        "normalize": "utterance_mvn",
        # The task asr_transducer has neither.
        **({"init": "xavier_uniform", "ctc_conf": {}} if hasattr(args, "ctc_conf") else {}),
        **overrides,
    }
    for key, value in conf.items():
        setattr(args, key, value)
    return args


def write_model(directory: Path, seed: int = 0, **overrides: Any) -> ModelFiles:
    """Build a model with random weights and write it as training does."""
    from espnet_egl.model.compat import provide_rnnt_loss

    provide_rnnt_loss()
    args = train_args(**overrides)
    torch.manual_seed(seed)
    model = task_of(overrides).build_model(args)
    directory.mkdir(parents=True, exist_ok=True)
    files = ModelFiles(directory / "config.yaml", directory / "valid.loss.best.pth")
    files.config.write_text(yaml.safe_dump(vars(args)), encoding="utf-8")
    torch.save(model.state_dict(), files.checkpoint)
    return files


@pytest.fixture(scope="session")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ModelFiles]:
    """Name in MODELS -> its files."""
    root = tmp_path_factory.mktemp("models")

    @cache
    def get(name: str) -> ModelFiles:
        return write_model(root / name, **MODELS[name])

    return get


def search_args(name: str) -> str:
    """Of a short search with a model of MODELS."""
    return "--beam_size 6" + ("" if "body_conf" in str(MODELS[name]) else " --maxlenratio -8")


@pytest.fixture(scope="session")
def load(model_files: Callable[[str], ModelFiles]) -> Callable[..., Any]:
    """Name in MODELS -> a Recognizer."""
    from espnet_egl.model.loading import load_recognizer

    @cache
    def get(name: str, nbest: int = 10, dtype: str = "float32") -> Any:
        files = model_files(name)
        return load_recognizer(
            files.config,
            files.checkpoint,
            inference_args=search_args(name),
            nbest=nbest,
            dtype=dtype,
        )

    return get


@pytest.fixture
def load_fresh(model_files: Callable[[str], ModelFiles]) -> Callable[[str], Any]:
    """Name in MODELS -> a Recognizer of this test's own."""
    from espnet_egl.model.loading import load_recognizer

    def get(name: str) -> Any:
        files = model_files(name)
        return load_recognizer(
            files.config,
            files.checkpoint,
            inference_args=search_args(name),
            nbest=10,
        )

    return get


def make_speech(seconds: float = 0.6, seed: int = 0, rate: int = 8000) -> np.ndarray:
    """Noise with a changing tone, (samples,) float32."""
    generator = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * (300 + 200 * seed + 400 * time) * time)
    return (0.3 * tone + 0.05 * generator.standard_normal(len(time))).astype(np.float32)


@pytest.fixture
def speech() -> np.ndarray:
    """0.6 s at 8 kHz."""
    return make_speech()


def make_pool(home: Path) -> Path:
    """A Kaldi data directory of six utterances of two speakers, their audio beside it."""
    directory = home / "data" / "pool"
    directory.mkdir(parents=True)
    lines = []
    for i in range(6):
        uid = f"spk{i % 2}-utt{i}"
        path = home / f"{uid}.wav"
        soundfile.write(path, make_speech(0.5 + 0.1 * i, seed=i), 8000)
        lines.append((uid, str(path), f"spk{i % 2}", f"{0.5 + 0.1 * i:.3f}"))
    for name, column in (("wav.scp", 1), ("utt2spk", 2), ("utt2dur", 3)):
        rows = sorted(f"{line[0]} {line[column]}\n" for line in lines)
        (directory / name).write_text("".join(rows), encoding="utf-8")
    return directory


def make_transcribed(home: Path) -> Path:
    """Sixty clips of noise and tones, with transcripts of one to three letters."""
    directory = home / "transcribed"
    directory.mkdir()
    draw = np.random.default_rng(0)
    scp, text = [], []
    for i in range(60):
        path = directory / f"t{i:02d}.wav"
        wave = draw.normal(0, 0.02 + 0.1 * draw.random(), int(8000 * draw.uniform(0.5, 0.9)))
        soundfile.write(path, wave, 8000)
        scp.append(f"t{i:02d} {path}\n")
        text.append(f"t{i:02d} {' '.join(draw.choice(list('abcde'), draw.integers(1, 4)))}\n")
    (directory / "wav.scp").write_text("".join(scp))
    (directory / "text").write_text("".join(text))
    return directory


@pytest.fixture
def pool_dir(tmp_path: Path) -> Path:
    """See :func:`make_pool`."""
    return make_pool(tmp_path)


@pytest.fixture
def transcribed(pool_dir: Path, tmp_path: Path) -> Path:
    """See :func:`make_transcribed`."""
    return make_transcribed(tmp_path)
