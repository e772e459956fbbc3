"""The hook in ESPnet's own training set-up, run as a user runs it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import MODELS, ModelFiles, write_model
from tolerances import ROUNDING

from espnet_egl.bin import asr_gradient_length
from espnet_egl.data.audio import read_audio
from espnet_egl.errors import UnsupportedModelError
from espnet_egl.gradients.parameters import select_parameters
from espnet_egl.gradients.reference import gradient_length
from espnet_egl.gradients.trainer import GradientLengthTask
from espnet_egl.model.loading import load_recognizer

# "dddd..." has more tokens than its clip has encoder frames.
TEXTS = ["a b", "c", "abc d", "e", "d" * 60, "b a"]


@pytest.fixture
def train_dir(pool_dir: Path) -> Path:
    """The pool with transcripts and the shapes that stage 10 leaves."""
    uids = [line.split()[0] for line in (pool_dir / "wav.scp").read_text().splitlines()]
    tables = {
        "text": [f"{u} {t}" for u, t in zip(uids, TEXTS, strict=True)],
        "speech_shape": [f"{u} {4000 + 800 * int(u[-1])}" for u in uids],
        "text_shape": [f"{u} {len(t)},9" for u, t in zip(uids, TEXTS, strict=True)],
    }
    for name, lines in tables.items():
        (pool_dir / name).write_text("".join(f"{line}\n" for line in lines))
    return pool_dir


def trained(directory: Path, train_dir: Path, **model: Any) -> ModelFiles:
    """A model whose config.yaml names its training data, as after stage 11."""
    return write_model(
        directory,
        **model,
        train_data_path_and_name_and_type=[
            [f"{train_dir}/wav.scp", "speech", "sound"],
            [f"{train_dir}/text", "text", "text"],
        ],
        valid_data_path_and_name_and_type=[
            [f"{train_dir}/wav.scp", "speech", "sound"],
            [f"{train_dir}/text", "text", "text"],
        ],
        train_shape_file=[f"{train_dir}/speech_shape", f"{train_dir}/text_shape"],
        valid_shape_file=[f"{train_dir}/speech_shape", f"{train_dir}/text_shape"],
        batch_type="sorted",
        batch_size=4,
        num_workers=0,
        ngpu=0,
        # None of this may touch the result: it is the utterance as it is that counts.
        speech_volume_normalize=None,
        max_epoch=7,
        use_tensorboard=True,
        output_dir=str(directory),
        version="202611",
        distributed=False,
    )


def run(files: ModelFiles, output_dir: Path, *extra: str) -> list[dict[str, str]]:
    model = ["--config", str(files.config), "--init_param", str(files.checkpoint)]
    asr_gradient_length.main([*model, "--output_dir", str(output_dir), *extra])
    return rows(output_dir / "gradient_length.tsv")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as f:
        return list(csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.mark.parametrize("name", ["ctc_conformer", "hybrid_conformer", "hybrid_rnn"])
def test_every_length_is_the_references(name: str, train_dir: Path, tmp_path: Path) -> None:
    """In padded batches of four, as alone by the definition."""
    files = trained(tmp_path / "exp", train_dir, **MODELS[name])
    config, states = files.config.read_text(), files.checkpoint.read_bytes()
    found = run(files, tmp_path / "lengths")
    recognizer = load_recognizer(files.config, files.checkpoint)
    parameters = select_parameters(recognizer.model)
    ids = recognizer.speech2text.converter.tokens2ids
    wavs = dict(line.split() for line in (train_dir / "wav.scp").read_text().splitlines())
    texts = dict(line.split(" ", 1) for line in (train_dir / "text").read_text().splitlines())
    expected = {
        uid: gradient_length(
            recognizer,
            read_audio(wavs[uid], 8000)[0],
            ids(["<space>" if c == " " else c for c in texts[uid]]),
            parameters,
        )
        for uid in wavs
    }
    impossible = next(u for u, t in texts.items() if len(t) == 60)
    # zero_infinity made an impossible alignment look perfect: it is listed, not ranked.
    assert (expected.pop(impossible) == 0) == (name == "ctc_conformer")
    (skipped,) = rows(tmp_path / "lengths" / "skipped.tsv")
    assert (skipped["utterance"], skipped["reason"]) == (impossible, "no_alignment")
    assert {r["utterance"]: float(r["gradient_length"]) for r in found} == pytest.approx(
        expected, rel=ROUNDING
    )
    lengths = [float(r["gradient_length"]) for r in found]
    assert lengths == sorted(lengths, reverse=True)
    assert files.config.read_text() == config
    assert files.checkpoint.read_bytes() == states


def test_frozen_parameters_and_patterns_are_respected(train_dir: Path, tmp_path: Path) -> None:
    model = MODELS["ctc_conformer"]
    files = trained(tmp_path / "exp", train_dir, **model, freeze_param=["encoder"])
    frozen = run(files, tmp_path / "frozen")
    files = trained(tmp_path / "exp2", train_dir, **model)
    head = run(files, tmp_path / "head", "--egl_params", "head")
    everything = run(files, tmp_path / "all")
    assert frozen == head
    assert head != everything


def test_models_of_the_task_asr_transducer_are_refused(model_files: Any) -> None:
    files = model_files("transducer_task")
    with pytest.raises(UnsupportedModelError, match="al_score --text"):
        GradientLengthTask.parse_args(["--config", str(files.config)])


def test_what_cannot_run_says_why(
    train_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = trained(tmp_path / "exp", train_dir, **MODELS["ctc_conformer"])
    command = ["--config", str(files.config)]
    for extra, message in (
        (["--output_dir", str(tmp_path / "o")], "--init_param must name one checkpoint"),
        (["--init_param", str(files.checkpoint)], "is the training's own"),
    ):
        with pytest.raises(SystemExit):
            asr_gradient_length.main([*command, *extra])
        assert message in capsys.readouterr().err
    states = torch.load(files.checkpoint, weights_only=True)
    states.pop("ctc.ctc_lo.bias")
    torch.save(states, tmp_path / "other.pth")
    with pytest.raises(SystemExit):
        asr_gradient_length.main(
            [*command, *("--init_param", f"{tmp_path}/other.pth", "--output_dir", f"{tmp_path}/o")]
        )
    assert "missing ctc.ctc_lo.bias" in capsys.readouterr().err


def test_the_config_stays_loadable(train_dir: Path, tmp_path: Path) -> None:
    """What the hook leaves as config.yaml says how it was run."""
    files = trained(tmp_path / "exp", train_dir, **MODELS["ctc_conformer"])
    run(files, tmp_path / "lengths", "--egl_params", "head")
    saved = yaml.safe_load((tmp_path / "lengths" / "config.yaml").read_text())
    assert saved["egl_params"] == "head"
    assert saved["egl_init_param"] == str(files.checkpoint)
