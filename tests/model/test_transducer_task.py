"""Models of ESPnet's task asr_transducer: its own search, and what cannot be had is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import make_speech
from tolerances import ROUNDING

from espnet_egl.errors import ConfigError, UnsupportedModelError
from espnet_egl.model.loading import load_recognizer
from espnet_egl.model.modes import scoring_mode

NAMES = ["transducer_task", "transducer_task_auxiliary"]


@pytest.mark.parametrize("search", ["default", "tsd", "alsd", "maes"])
@pytest.mark.parametrize("name", NAMES)
def test_hypotheses_are_those_of_espnets_own_decoding(
    model_files: Any, tmp_path: Path, name: str, search: str
) -> None:
    from espnet2.bin.asr_transducer_inference import Speech2Text

    files, speech = model_files(name), make_speech()
    options = {"beam_size": 4, "beam_search_config": {"search_type": search, "score_norm": True}}
    (tmp_path / "decode.yaml").write_text(yaml.safe_dump(options))
    recognizer = load_recognizer(files.config, files.checkpoint, tmp_path / "decode.yaml", nbest=4)
    with torch.no_grad(), scoring_mode(recognizer.model):
        found = recognizer.search(recognizer.encode(speech))
    decode = Speech2Text(str(files.config), str(files.checkpoint), nbest=4, **options)
    # The default search may give one twice.
    distinct = dict.fromkeys(tuple(hypothesis.yseq) for hypothesis in decode(speech))
    assert found == [list(tokens) for tokens in distinct]
    assert any(len(tokens) > 1 for tokens in found)


@pytest.mark.parametrize("name", NAMES)
def test_no_parameter_gets_another_name(model_files: Any, load: Any, name: str) -> None:
    states = torch.load(model_files(name).checkpoint, weights_only=True)
    found = load(name).model.state_dict()
    assert found.keys() == states.keys()
    assert all(torch.equal(value, states[key]) for key, value in found.items())


def test_the_auxiliary_ctc_is_the_models_ctc(load: Any) -> None:
    recognizer = load("transducer_task_auxiliary")
    model = recognizer.model
    with torch.no_grad(), scoring_mode(model):
        encoded = recognizer.encode(make_speech())
        found = recognizer.log_likelihoods(encoded, [(3, 4), ()], "ctc").exp()
        # Its loss is summed over tokens, and its dropout is off.
        for tokens, probability in zip(((3, 4), ()), found, strict=True):
            target = torch.tensor([tokens], dtype=torch.int32)
            lengths = torch.tensor([len(tokens)], dtype=torch.int32)
            loss = model._calc_ctc_loss(encoded.hidden, target, encoded.lengths.int(), lengths)
            assert torch.exp(-loss) == pytest.approx(float(probability), rel=ROUNDING)
    assert load("transducer_task").model.ctc is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_conf": {"use_k2_pruned_loss": True}}, "use_k2_pruned_loss: false"),
        ({"decoder": "rwkv"}, "the decoder rwkv is not supported"),
    ],
)
def test_what_cannot_be_computed_is_refused(
    model_files: Any, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    files = model_files("transducer_task")
    config = {**yaml.safe_load(files.config.read_text()), **change}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UnsupportedModelError, match=message):
        load_recognizer(tmp_path / "config.yaml", files.checkpoint)


def test_options_of_the_task_asr_are_not_this_ones(model_files: Any) -> None:
    files = model_files("transducer_task")
    with pytest.raises(ConfigError, match=r"options for decoding.*ctc_weight"):
        load_recognizer(files.config, files.checkpoint, inference_args="--ctc_weight 0.3")
    # Audio in pieces is no matter here.
    load_recognizer(files.config, files.checkpoint, inference_args="--streaming true")
