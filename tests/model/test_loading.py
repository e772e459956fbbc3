"""Checkpoints and decoding options: what ESPnet would let pass silently is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import MODELS, TOKENS, is_transducer, make_speech, write_model

from espnet_egl.errors import CheckpointError, ConfigError, UnsupportedModelError, UtteranceError
from espnet_egl.model.loading import load_recognizer
from espnet_egl.model.modes import scoring_mode


def test_the_weights_are_the_checkpoints(model_files: Any) -> None:
    files = model_files("ctc_conformer")
    model = load_recognizer(files.config, files.checkpoint).model
    states = torch.load(files.checkpoint, weights_only=True)
    assert all(torch.equal(v, states[k]) for k, v in model.state_dict().items())
    assert not model.training


@pytest.mark.parametrize(
    "change",
    [
        lambda states: states.pop("ctc.ctc_lo.bias"),
        lambda states: states.update(more=torch.zeros(1)),
        lambda states: states.update({"ctc.ctc_lo.bias": torch.zeros(3)}),
    ],
    ids=["missing", "unexpected", "shape"],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    model_files: Any, tmp_path: Path, change: Any
) -> None:
    files = model_files("ctc_conformer")
    states = torch.load(files.checkpoint, weights_only=True)
    change(states)
    torch.save(states, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth"):
        load_recognizer(files.config, tmp_path / "other.pth")


def test_the_checkpoint_of_another_model_is_refused(model_files: Any) -> None:
    with pytest.raises(CheckpointError, match=r"does not fit|cannot be loaded"):
        load_recognizer(model_files("ctc_conformer").config, model_files("hybrid_rnn").checkpoint)


def test_a_mismatch_can_be_allowed(model_files: Any, tmp_path: Path, caplog: Any) -> None:
    files = model_files("ctc_conformer")
    states = torch.load(files.checkpoint, weights_only=True)
    states.pop("ctc.ctc_lo.bias")
    torch.save(states, tmp_path / "part.pth")
    load_recognizer(files.config, tmp_path / "part.pth", strict=False)
    assert "missing ctc.ctc_lo.bias" in caplog.text


class _Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("evil"),))


def test_a_checkpoint_runs_no_code(
    model_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": _Evil()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError):
        load_recognizer(model_files("ctc_conformer").config, tmp_path / "evil.pth")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04truncated"])
def test_a_damaged_checkpoint_is_refused(model_files: Any, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"bad\.pth"):
        load_recognizer(model_files("ctc_conformer").config, tmp_path / "bad.pth")


def test_missing_files_and_wrong_configs_are_named(model_files: Any, tmp_path: Path) -> None:
    files = model_files("ctc_conformer")
    with pytest.raises(ConfigError, match=r"none\.pth: no such file; give the options that train"):
        load_recognizer(files.config, tmp_path / "none.pth")
    (tmp_path / "valid.acc.ave.pth").touch()
    with pytest.raises(ConfigError, match=r"give one of those beside it: valid\.acc\.ave\.pth"):
        load_recognizer(files.config, tmp_path / "none.pth")
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file$"):
        load_recognizer(tmp_path / "none.yaml", files.checkpoint)
    (tmp_path / "config.yaml").write_text("encoder: conformer\n")
    with pytest.raises(ConfigError, match=r"not a config\.yaml of ESPnet"):
        load_recognizer(tmp_path / "config.yaml", files.checkpoint)


def test_decoding_options_are_espnets_own(model_files: Any, tmp_path: Path) -> None:
    files = model_files("hybrid_conformer")
    config = tmp_path / "decode.yaml"
    config.write_text(yaml.safe_dump({"beam_size": 4, "ctc_weight": 0.2, "penalty": 0.1}))
    recognizer = load_recognizer(
        files.config, files.checkpoint, config, "--beam_size 5 --maxlenratio 0.3", nbest=7
    )
    search = recognizer.speech2text.beam_search
    assert (search.beam_size, search.weights["ctc"], search.weights["length_bonus"]) == (
        5,
        0.2,
        0.1,
    )
    assert (recognizer.speech2text.nbest, recognizer.speech2text.maxlenratio) == (7, 0.3)


@pytest.mark.parametrize("args", ["--beam_sise 5", "--beam_size five", "--beam_size '5"])
def test_wrong_decoding_options_are_refused(model_files: Any, args: str) -> None:
    files = model_files("ctc_conformer")
    with pytest.raises(ConfigError, match="options for decoding"):
        load_recognizer(files.config, files.checkpoint, inference_args=args)


def test_an_empty_decoding_option_is_refused(model_files: Any, tmp_path: Path) -> None:
    files = model_files("ctc_conformer")
    (tmp_path / "decode.yaml").write_text("beam_size:\n")
    with pytest.raises(ConfigError, match="ESPnet cannot make the model or its search: TypeError"):
        load_recognizer(files.config, files.checkpoint, tmp_path / "decode.yaml")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"token_list": "none.txt"}, r"none\.txt: cannot be read"),
        ({"model_conf": {"ctc_weight": "half"}}, "could not convert string to float: 'half'"),
        ({"encoder_conf": {"output_size": "many"}}, 'TypeCheckError: argument "output_size"'),
        ({"encoder_conf": 5}, "encoder_conf must be options by their names"),
        ({"model_conf": [1]}, "model_conf must be options by their names"),
    ],
)
def test_a_broken_training_config_is_refused(
    model_files: Any, tmp_path: Path, broken: dict[str, Any], message: str
) -> None:
    files = model_files("ctc_conformer")
    config = {**yaml.safe_load(files.config.read_text()), **broken}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match=message):
        load_recognizer(tmp_path / "config.yaml", files.checkpoint)


def test_options_of_streaming_decoding(model_files: Any, tmp_path: Path) -> None:
    """The search is the same whether the audio comes in pieces or not; so is its config."""
    files = model_files("hybrid_contextual_block")
    config = tmp_path / "decode_streaming.yaml"
    config.write_text("beam_size: 4\nmaxlenratio: 0.0\nsim_chunk_length: 640\n")
    arguments = {"inference_config": config, "nbest": 3}
    plain = load_recognizer(files.config, files.checkpoint, **arguments)
    simulated = load_recognizer(
        files.config, files.checkpoint, inference_args="--streaming true", **arguments
    )
    assert type(simulated.speech2text.beam_search).__name__ == "BatchBeamSearchOnlineSim"
    for recognizer in (plain, simulated):
        with torch.no_grad(), scoring_mode(recognizer.model):
            encoded = recognizer.encode(make_speech(1.3))
        found = recognizer.search(encoded)
        assert len(found) == len(set(map(tuple, found))) == 3
    with pytest.raises(ConfigError, match="--maxlenratio -6"):
        load_recognizer(
            files.config, files.checkpoint, inference_args="--streaming true --maxlenratio -6"
        )


def test_quantized_models_are_refused(model_files: Any) -> None:
    files = model_files("ctc_conformer")
    with pytest.raises(UnsupportedModelError, match="quantize"):
        load_recognizer(files.config, files.checkpoint, inference_args="--quantize_asr_model true")


def test_what_training_froze_stays_frozen(tmp_path: Path) -> None:
    files = write_model(tmp_path, **MODELS["ctc_conformer"], freeze_param=["encoder.embed"])
    model = load_recognizer(files.config, files.checkpoint).model
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert frozen
    assert all(n.startswith("encoder.embed.") for n in frozen)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("samples", [0, 1, 60, 300, 500])
def test_speech_too_short_for_the_model_says_so(load: Any, name: str, samples: int) -> None:
    recognizer = load(name)
    if ("rnn" in name or "gru" in name or "lstm" in name) and samples >= 300:
        pytest.skip("recurrent encoders take it")
    with (
        torch.no_grad(),
        scoring_mode(recognizer.model),
        pytest.raises(UtteranceError, match="too_short"),
    ):
        recognizer.encode(np.zeros(samples, dtype=np.float32))


def write_lm(directory: Path) -> tuple[Path, Path]:
    """A tiny language model as ESPnet's training leaves it."""
    from espnet2.tasks.lm import LMTask

    args = LMTask.get_parser().parse_args(["--output_dir", "unused"])
    args.token_list, args.lm = TOKENS, "seq_rnn"
    args.lm_conf = {"unit": 8, "nlayers": 1, "dropout_rate": 0.5}
    torch.manual_seed(1)
    model = LMTask.build_model(args)
    directory.mkdir()
    (directory / "config.yaml").write_text(yaml.safe_dump(vars(args)))
    torch.save(model.state_dict(), directory / "lm.pth")
    return directory / "config.yaml", directory / "lm.pth"


@pytest.mark.parametrize("name", ["hybrid_conformer", "transducer", "transducer_task"])
def test_the_language_model_of_the_recipe_is_searched_with(
    model_files: Any, tmp_path: Path, name: str
) -> None:
    files, (lm_config, lm_file) = model_files(name), write_lm(tmp_path / "lm")
    options = f"--lm_train_config {lm_config} --lm_file {lm_file} --beam_size 4"
    recognizer = load_recognizer(files.config, files.checkpoint, inference_args=options, nbest=4)
    search = recognizer.speech2text.beam_search or recognizer.speech2text.beam_search_transducer
    lm = search.lm if is_transducer(name) else search.nn_dict["lm"]
    states = torch.load(lm_file, weights_only=True)
    assert all(torch.equal(v, states[f"lm.{k}"]) for k, v in lm.state_dict().items())
    assert not lm.training
    with torch.no_grad(), scoring_mode(recognizer.model):
        encoded = recognizer.encode(make_speech())
        found = [recognizer.search(encoded) for _ in range(4)]
    assert found[0]
    assert found == found[:1] * 4
    torch.save({"lm.other": torch.zeros(1)}, lm_file)
    with pytest.raises(CheckpointError, match=r"lm\.pth does not fit"):
        load_recognizer(files.config, files.checkpoint, inference_args=options)


def test_a_language_model_without_its_config_is_refused(model_files: Any) -> None:
    files = model_files("ctc_conformer")
    with pytest.raises(ConfigError, match=r"--lm_file lm\.pth needs --lm_train_config"):
        load_recognizer(files.config, files.checkpoint, inference_args="--lm_file lm.pth")
