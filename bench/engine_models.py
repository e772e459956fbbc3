"""The models that the gradient engine is measured on, and the speech they get.

Those of recipes/fsdd are trained (by its own stages, where they are missing); those of real
size have the configurations of ESPnet's recipes and random weights, with outputs as peaked as
a trained model's: they tell costs, not rankings.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
FSDD = ROOT / "recipes" / "fsdd" / "asr1"

# Of ESPnet's recipe librispeech_100, as are the decoders below.
CONFORMER = {
    "output_size": 256,
    "attention_heads": 4,
    "linear_units": 1024,
    "num_blocks": 12,
    "input_layer": "conv2d",
    "macaron_style": True,
    "rel_pos_type": "latest",
    "pos_enc_layer_type": "rel_pos",
    "selfattention_layer_type": "rel_selfattn",
    "activation_type": "swish",
    "use_cnn_module": True,
    "cnn_module_kernel": 31,
}
HYBRID_LOSS = {"ctc_weight": 0.3, "lsm_weight": 0.1, "length_normalized_loss": False}
LARGE = {
    "encoder": "conformer",
    "encoder_conf": CONFORMER,
    "model_conf": {"ctc_weight": 1.0},
}
HYBRID = {
    "encoder": "conformer",
    "encoder_conf": CONFORMER,
    "decoder": "transformer",
    "decoder_conf": {"attention_heads": 4, "linear_units": 2048, "num_blocks": 6},
    "model_conf": HYBRID_LOSS,
}
TRANSDUCER = {
    "encoder": "conformer",
    "encoder_conf": {**CONFORMER, "num_blocks": 15},
    "decoder": "transducer",
    "decoder_conf": {"rnn_type": "lstm", "num_layers": 1, "hidden_size": 256},
    "joint_net_conf": {"joint_space_size": 320},
    "model_conf": {"ctc_weight": 0.3, "report_cer": False, "report_wer": False},
}
# Stateless predictors are the task asr_transducer's.
STATELESS = {
    "encoder_conf": {
        "main_conf": {"pos_wise_act_type": "swish", "conv_mod_act_type": "swish"},
        "body_conf": [
            {
                "block_type": "conformer",
                "hidden_size": 256,
                "linear_size": 1024,
                "heads": 4,
                "conv_mod_kernel_size": 31,
                "num_blocks": 15,
            }
        ],
    },
    "decoder": "stateless",
    "decoder_conf": {"embed_size": 256},
    "joint_network_conf": {"joint_space_size": 320},
    "model_conf": {"auxiliary_ctc_weight": 0.3, "report_cer": False, "report_wer": False},
}
# Of ESPnet's recipe librispeech.
E_BRANCHFORMER = {
    "encoder": "e_branchformer",
    "encoder_conf": {
        "output_size": 512,
        "attention_heads": 8,
        "attention_layer_type": "rel_selfattn",
        "pos_enc_layer_type": "rel_pos",
        "rel_pos_type": "latest",
        "cgmlp_linear_units": 3072,
        "cgmlp_conv_kernel": 31,
        "use_linear_after_conv": False,
        "gate_activation": "identity",
        "num_blocks": 17,
        "input_layer": "conv2d",
        "linear_units": 1024,
        "positionwise_layer_type": "linear",
        "macaron_ffn": True,
        "use_ffn": True,
        "merge_conv_kernel": 31,
    },
    "decoder": "transformer",
    "decoder_conf": {"attention_heads": 8, "linear_units": 2048, "num_blocks": 6},
    "model_conf": HYBRID_LOSS,
}

# As many tokens as 10 s of speech have: with random weights a search would end nowhere.
ENDS = "--maxlenratio -40"


@dataclass(frozen=True)
class Model:
    """What is measured, and how much of it takes minutes.

    Attributes:
        search: Options of ESPnet's search.
        utterances: Of the pool.
        reference: Of these, how many by the definition.
        rounds: How often all of them are gone through.
        batch_bins: Samples of a batch, of training and of the engine.
        training: Options of recipes/fsdd/asr1/run.sh, of a trained model.
        exp: Its directory there.
        conf: Of a model with random weights, ESPnet's training options.
        decoding: What of the search no command line takes.
    """

    search: str
    utterances: int
    reference: int
    rounds: int
    batch_bins: int
    training: tuple[str, ...] = ()
    exp: str = ""
    conf: dict[str, Any] = field(default_factory=dict)
    decoding: dict[str, Any] = field(default_factory=dict)

    @property
    def trained(self) -> bool:
        """Whether its rankings mean anything."""
        return bool(self.exp)


def _of_fsdd(name: str, search: str, *training: str) -> Model:
    training = ("--asr_config", f"conf/train_asr_{name}.yaml", *training)
    exp = f"exp/asr_train_asr_{name}_raw_en_char"
    return Model(search, 200, 200, 5, 300_000, training, exp)


def _of_real_size(
    search: str, conf: dict[str, Any], utterances: int = 16, **decoding: Any
) -> Model:
    return Model(search, utterances, 1, 1, 500_000, conf=conf, decoding=decoding)


_STATELESS = ("--asr_task", "asr_transducer")
_TRANSDUCER_SEARCH = ("--inference_config", "conf/decode_asr_transducer.yaml")
MODELS = {
    # As wide as ESPnet's search can be: 19 characters.
    "fsdd": _of_fsdd("ctc_conformer", "--beam_size 18 --ctc_weight 1.0"),
    "fsdd_hybrid": _of_fsdd(
        "hybrid",
        "--beam_size 18 --ctc_weight 0.3",
        *("--inference_config", "conf/decode_asr_hybrid.yaml"),
    ),
    "fsdd_transducer": _of_fsdd("transducer", "--beam_size 18", *_TRANSDUCER_SEARCH),
    "fsdd_transducer_stateless": _of_fsdd(
        "transducer_stateless", "--beam_size 18", *_STATELESS, *_TRANSDUCER_SEARCH
    ),
    "large": _of_real_size(f"--beam_size 10 --ctc_weight 1.0 {ENDS}", LARGE, 32),
    "hybrid": _of_real_size(f"--beam_size 10 --ctc_weight 0.3 {ENDS}", HYBRID),
    # Time-synchronous: with random weights the default search ends no frame.
    "transducer": _of_real_size(
        "--beam_size 5", TRANSDUCER, transducer_conf={"search_type": "tsd"}
    ),
    "transducer_stateless": _of_real_size(
        "--beam_size 5", STATELESS, beam_search_config={"search_type": "tsd"}
    ),
    "e_branchformer": _of_real_size(f"--beam_size 10 --ctc_weight 0.3 {ENDS}", E_BRANCHFORMER),
}

# To see that everything runs: the same layers, few and narrow.
_TINY = {
    "output_size": 16,
    "attention_heads": 2,
    "linear_units": 24,
    "num_blocks": 2,
    "cgmlp_linear_units": 24,
    "hidden_size": 16,
    "linear_size": 24,
    "heads": 2,
    "embed_size": 16,
    "joint_space_size": 16,
}


def shrink(conf: Any) -> Any:
    """The same configuration with widths and depths of a few."""
    if isinstance(conf, list):
        return [shrink(part) for part in conf]
    if isinstance(conf, dict):
        return {key: _TINY.get(key, shrink(value)) for key, value in conf.items()}
    return conf


def vocabulary(size: int) -> list[str]:
    """Words that no tokenizer splits."""
    return ["<blank>", "<unk>", *(f"▁t{i}" for i in range(size - 3)), "<sos/eos>"]


def task_of(config: dict[str, Any]) -> Any:
    """ESPnet's task that makes such a model and trains it."""
    from espnet2.tasks.asr import ASRTask
    from espnet2.tasks.asr_transducer import ASRTransducerTask

    from espnet_egl.model.transducer_task import is_of_the_task

    return ASRTransducerTask if is_of_the_task(config) else ASRTask


def prepare(args: argparse.Namespace) -> None:
    """The model's files, and a pool with its ``wav.scp`` in the work directory.

    Args:
        args: ``model``, ``fsdd``, ``utterances``, ``tiny`` and ``work_dir``.
    """
    model = MODELS[args.model]
    args.work_dir.mkdir(parents=True, exist_ok=True)
    if model.trained:
        if not checkpoint(args).exists():
            options = ["--fsdd", args.fsdd] if args.fsdd else []
            subprocess.run([FSDD / "run.sh", *options, *model.training], check=True)
        from espnet_egl.data.kaldi import read_table

        found = read_table(FSDD / "data" / "pool" / "wav.scp")
        paths = {uid: FSDD / path for uid, path in _spread(found, args.utterances).items()}
    else:
        paths = make_speech(args.work_dir / "audio", args.utterances, 0.1 if args.tiny else 1.0)
        if not checkpoint(args).exists():
            make_model(args, max(paths.values()))
    from espnet_egl.data.kaldi import write_table

    write_table(args.work_dir / "wav.scp", {uid: str(path) for uid, path in paths.items()})


def _spread(found: dict[str, str], count: int) -> dict[str, str]:
    """``count`` of them, from all over."""
    places = np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int)
    keys = list(found)
    return {keys[place]: found[keys[place]] for place in dict.fromkeys(places.tolist())}


def checkpoint(args: argparse.Namespace) -> Path:
    """The model's weights; ``config.yaml`` is beside them."""
    model = MODELS[args.model]
    if model.trained:
        return FSDD / model.exp / "valid.loss.best.pth"
    return args.work_dir / "model" / "model.pth"


def make_speech(directory: Path, count: int, scale: float = 1.0) -> dict[str, Path]:
    """5 to 15 s of noise with changing tones; lengths are what costs time.

    Args:
        directory: Where the files go.
        count: How many.
        scale: Of the durations.

    Returns:
        Utterance id -> file.
    """
    import soundfile

    directory.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    paths = {}
    for i in range(count):
        seconds = scale * (5 + 10 * i / max(1, count - 1))
        clock = np.arange(int(seconds * 16000)) / 16000
        tone = np.sin(2 * np.pi * (200 + 50 * (i % 100) + 40 * clock) * clock)
        wave = 0.3 * tone + 0.1 * generator.standard_normal(len(clock))
        paths[f"utt{i:04d}"] = directory / f"utt{i:04d}.wav"
        soundfile.write(paths[f"utt{i:04d}"], wave.clip(-1, 1), 16000)
    return paths


def make_model(args: argparse.Namespace, speech: Path) -> None:
    """Random weights, peaked outputs: written as ESPnet's training does."""
    import yaml

    from espnet_egl.model.compat import provide_rnnt_loss

    provide_rnnt_loss()
    conf = MODELS[args.model].conf
    task = task_of(conf)
    options = task.get_parser().parse_args(["--output_dir", "unused"])
    vars(options).update(
        token_list=vocabulary(50 if args.tiny else 5000),
        token_type="word",
        frontend_conf={"n_fft": 512, "win_length": 400, "hop_length": 160},
        normalize="utterance_mvn",
        optim="adam",
        **(shrink(conf) if args.tiny else conf),
    )
    torch.manual_seed(0)
    network = task.build_model(options).eval()
    sharpen(network, speech)
    path = checkpoint(args)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name("config.yaml").write_text(yaml.safe_dump(vars(options)), encoding="utf-8")
    torch.save(network.state_dict(), path)


@torch.no_grad()
def sharpen(network: Any, speech: Path) -> None:
    """Peaked posteriors, 85 % of the frames blank, as a trained model has them."""
    import soundfile

    wave, _ = soundfile.read(speech, dtype="float32")
    hidden, _ = network.encode(torch.from_numpy(wave)[None], torch.tensor([len(wave)]))
    # The task asr_transducer has another name for it.
    ctc = network.ctc_lin if hasattr(network, "ctc_lin") else network.ctc.ctc_lo
    peak(ctc, lambda: ctc(hidden))
    if getattr(network, "joint_network", None) is not None:
        network.decoder.set_device(hidden.device)
        before = network.decoder(torch.zeros(1, 1, dtype=torch.long))
        joint = network.joint_network
        peak(joint.lin_out, lambda: joint(hidden[:, :, None], before[:, None]))


def peak(layer: torch.nn.Linear, outputs: Callable[[], torch.Tensor]) -> None:
    """Ten times the weights, and blank the largest of ``outputs()`` at 85 % of the frames."""
    layer.weight *= 10
    largest = outputs()[..., 1:].flatten(0, -2).max(-1).values
    layer.bias[0] = float(largest.quantile(0.85))


def load(args: argparse.Namespace, nbest: int = 1) -> Any:
    """The recogniser, on ``args.device``."""
    import yaml

    from espnet_egl.model.loading import load_recognizer

    model, path = MODELS[args.model], checkpoint(args)
    search = model.search.replace(ENDS, "--maxlenratio -4") if args.tiny else model.search
    decoding = args.work_dir / "decode.yaml"
    decoding.write_text(yaml.safe_dump(model.decoding), encoding="utf-8")
    return load_recognizer(
        path.with_name("config.yaml"), path, decoding, search, nbest=nbest, device=args.device
    )


def pool_of(
    args: argparse.Namespace,
    rate: int,
    keys: Sequence[str] | None = None,
    kept: Mapping[str, Any] | None = None,
) -> Any:
    """The pool, or ``keys`` of it.

    Args:
        args: ``work_dir``.
        rate: The model's sampling rate.
        keys: Utterance ids.
        kept: Utterances in memory, by id; the others are read.
    """
    from espnet_egl.data.kaldi import read_table
    from espnet_egl.data.pool import Pool

    class Kept(Pool):
        def read(self, uid: str) -> Any:
            return kept[uid] if kept and uid in kept else super().read(uid)

    scp = args.work_dir / "wav.scp"
    chosen = list(read_table(scp)) if keys is None else keys
    return Kept([(str(scp), "speech", "sound")], chosen, rate)
