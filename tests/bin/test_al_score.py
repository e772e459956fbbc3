"""What al_score writes down before it scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from espnet_egl.bin import al_score
from espnet_egl.errors import ConfigError
from espnet_egl.hypotheses import sureness as confidence


def settings(directory: Path, *extra: str, config: str = "token_list: []\n") -> dict[str, Any]:
    for name in ("wav.scp", "model.pth"):
        (directory / name).write_text(name)
    (directory / "config.yaml").write_text(config)
    command = ["--data_path_and_name_and_type", f"{directory}/wav.scp,speech,sound"]
    command += ["--key_file", f"{directory}/wav.scp", "--output_dir", str(directory)]
    command += ["--asr_train_config", f"{directory}/config.yaml"]
    command += ["--asr_model_file", f"{directory}/model.pth"]
    return al_score.settings(al_score.get_parser().parse_args([*command, *extra]))


@pytest.mark.parametrize("name", ["lm_file", "lm_train_config", "ngram_file"])
@pytest.mark.parametrize("form", ["--{} {}", "--{}={}", "in the config"])
def test_a_language_model_that_changed_is_noticed(tmp_path: Path, name: str, form: str) -> None:
    """Wherever it was named."""
    model, config = tmp_path / "lm", tmp_path / "decode.yaml"
    config.write_text(f"{name}: {model}\n" if form == "in the config" else "beam_size: 5\n")
    args = "" if form == "in the config" else form.format(name, model)
    extra = ("--inference_config", str(config), f"--inference_args={args}")
    model.write_text("one")
    before = settings(tmp_path, *extra)
    assert settings(tmp_path, *extra) == before
    model.write_text("two")
    assert settings(tmp_path, *extra) != before


def test_a_model_of_the_task_asr_transducer_has_its_own_options(tmp_path: Path) -> None:
    config = "token_list: []\nencoder_conf: {body_conf: []}\n"
    (tmp_path / "lm").write_text("one")
    args = f"--inference_args=--lm_file {tmp_path}/lm --left_context 8"
    assert "lm_file_sha256" in settings(tmp_path, args, config=config)
    with pytest.raises(ConfigError, match="left_context"):
        settings(tmp_path, args)


def test_options_of_the_confidence_are_those_of_its_class() -> None:
    """The parser imports no torch, so it has names and defaults of its own."""
    actions = {action.dest: action for action in al_score.get_parser()._actions}
    for name, value in vars(confidence.ConfidenceMeasure()).items():
        assert actions[f"confidence_{name}"].default == value
    for name in ("measure", "norm", "aggregation", "level"):
        choices = getattr(confidence, f"{name.upper()}S")
        assert actions[f"confidence_{name}"].choices == choices
    assert set(al_score.CONFIDENCE_OPTIONS) == set(vars(confidence.ConfidenceMeasure()))
