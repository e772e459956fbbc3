"""What a round asks of the commands; ESPnet3 is not needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from espnet_egl.bin import al_export, al_import, al_prepare, al_score, al_select
from espnet_egl.errors import ConfigError, UnsupportedModelError
from espnet_egl.espnet3.commands import DATASET, Round, parse


@pytest.fixture
def config(pool_dir: Path, tmp_path: Path) -> dict[str, Any]:
    """Of the role al, as small as it can be."""
    al_dir = str(tmp_path / "al")
    parallel = {"env": "local", "n_workers": 2}
    return {"al_dir": al_dir, "round": 1, "data_dir": str(pool_dir), "parallel": parallel}


MODEL = {"asr_train_config": "exp/x/config.yaml", "asr_model_file": "exp/x/a.ckpt"}
TRAINING = {
    "exp_dir": "./exp/x",
    "stats_dir": "./exp/stats",
    "trainer": {"logger": [{"save_dir": "./exp/x/tensorboard"}], "other": "./exp/xyz"},
    "shape_files": ["./exp/stats/train/feats_shape"],
    "dataset": {"train": [{"data_src_args": {"split": "train"}}]},
}


def test_sections_are_options_of_the_commands(config: dict[str, Any]) -> None:
    config |= {"al_score": {**MODEL, "nbest": 7}, "al_select": {"budget": "3utt"}}
    round_ = Round(config)
    args = parse(al_score, [*round_.score(), "--key_file", "k", "--output_dir", "o"])
    assert (args.nbest, args.asr_model_file) == (7, "exp/x/a.ckpt")
    assert args.utt2dur == f"{config['data_dir']}/utt2dur"
    assert args.inference_config is None
    args = parse(al_select, round_.select())
    assert (args.budget, args.output_dir) == ("3utt", f"{config['al_dir']}/r1/select")
    assert args.ledger is None
    shared = Round({**config, "al_score": MODEL, "ledger": "/teams/ledger.tsv"})
    for command, words in (
        (al_select, shared.select()),
        (al_export, shared.export()),
        (al_import, shared.import_()),
    ):
        assert parse(command, words).ledger == "/teams/ledger.tsv"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"al_scor": {}}, "unknown key 'al_scor'"),
        ({"round": 0}, "round is a number from 1 on, not 0"),
        ({"round": "two"}, "not 'two'"),
        ({"al_score": {**MODEL, "n_best": 7}}, "unknown option 'n_best' in section al_score"),
        ({"al_score": {**MODEL, "nbest": "many"}}, "nbest: invalid int value: 'many'"),
        ({"parallel": None}, "parallel.n_workers is a number from 1 on, not None"),
        ({"data_dir": "nowhere"}, "nowhere/wav.scp is missing"),
        ({"segment": "sometimes"}, "segment is auto, true or false, not 'sometimes'"),
        ({"al_score": {}}, "nothing names the model"),
    ],
)
def test_what_is_wrong_is_refused(
    config: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    def score() -> None:
        round_ = Round({**config, "al_score": MODEL, **change})
        round_.segment()
        round_.prepare()
        parse(al_score, [*round_.score(), "--key_file", "k", "--output_dir", "o"])

    with pytest.raises(ConfigError, match=message):
        score()


def test_model_and_search_are_the_inference_configs(config: dict[str, Any]) -> None:
    target = {"_target_": "espnet2.bin.asr_inference.Speech2Text", "_convert_": "all"}
    inference = {"model": {**target, **MODEL, "beam_size": 4, "ctc_weight": 0.3, "lm_file": None}}
    round_ = Round(config, inference=inference)
    args = parse(al_score, [*round_.score(), "--key_file", "k", "--output_dir", "o"])
    assert args.asr_train_config == MODEL["asr_train_config"]
    search = yaml.safe_load(Path(args.inference_config).read_text())
    assert search == {"beam_size": 4, "ctc_weight": 0.3}
    # The config of active learning wins.
    own = {"al_score": {"asr_model_file": "exp/x/b.ckpt", "inference_config": "d.yaml"}}
    args = parse(
        al_score,
        [*Round(config | own, None, inference).score(), "--key_file", "k", "--output_dir", "o"],
    )
    assert (args.asr_model_file, args.inference_config) == ("exp/x/b.ckpt", "d.yaml")


def test_the_task_asr_transducer_is_decoded_with_its_own_options(config: dict[str, Any]) -> None:
    model = {k: MODEL[k] for k in ("asr_train_config", "asr_model_file")}
    model |= {"_target_": "espnet2.bin.asr_transducer_inference.Speech2Text", "beam_size": 4}
    words = Round(config, inference={"model": {**model, "return_decoded_hyp": True}}).score()
    search = yaml.safe_load(Path(words[words.index("--inference_config") + 1]).read_text())
    assert search == {"beam_size": 4}


def test_a_model_that_cannot_be_scored_with_is_refused(config: dict[str, Any]) -> None:
    model = {"_target_": "espnet2.bin.s2t_inference.Speech2Text", **MODEL}
    with pytest.raises(UnsupportedModelError, match="s2t_inference"):
        Round(config, inference={"model": model}).score()


def test_earlier_rounds_are_left_out_and_labels_of_all_rounds_joined(
    config: dict[str, Any],
) -> None:
    round_ = Round({**config, "round": 2, "al_prepare": {"exclude_dir": ["data/train"]}})
    args = parse(al_prepare, round_.prepare())
    assert (args.al_dir, args.round) == (config["al_dir"], 2)
    assert args.exclude_dir == ["data/train"]
    words = round_.train_data()
    labelled = [words[i + 1] for i, word in enumerate(words) if word == "--labelled_dir"]
    assert labelled == [f"{config['al_dir']}/r{n}/labelled" for n in (1, 2)]


def test_training_config_has_the_labels_and_directories_of_its_own(
    config: dict[str, Any],
) -> None:
    first = Round(config, TRAINING).train_config(["speech", "text"])
    al_dir = config["al_dir"]
    assert (first["exp_dir"], first["stats_dir"]) == (f"{al_dir}/r1/asr", f"{al_dir}/r1/stats")
    assert first["trainer"]["logger"] == [{"save_dir": f"{al_dir}/r1/asr/tensorboard"}]
    assert first["trainer"]["other"] == "./exp/xyz"
    assert first["shape_files"] == [f"{al_dir}/r1/stats/train/feats_shape"]
    # Given the first round's config, the second has each label once.
    second = Round({**config, "round": 2}, first).train_config(["speech", "text"])
    seed, labelled = second["dataset"]["train"]
    assert seed == TRAINING["dataset"]["train"][0]
    assert labelled == {
        "data_src": DATASET,
        "data_src_args": {"data_dir": f"{al_dir}/r2/train", "keys": ["speech", "text"]},
    }


def test_a_curve_needs_what_was_decoded_and_measured(config: dict[str, Any]) -> None:
    al_dir = Path(config["al_dir"])
    inference = {
        "inference_dir": str(al_dir / "r1/asr/inference"),
        "exp_dir": str(al_dir / "r1/asr"),
        "dataset": {"test": [{"name": "test"}]},
    }
    round_ = Round(config, inference=inference)
    with pytest.raises(ConfigError, match="run the stages infer and measure first"):
        round_.curve()
    decoded = al_dir / "r1/asr/inference/test"
    (decoded / "dataset").mkdir(parents=True)
    for path in (decoded / "text.scp", decoded / "dataset/text.scp"):
        path.write_text("0 a\n")
    words = round_.curve()
    assert f"test,{decoded}/dataset/text.scp,{decoded}/text.scp" in words
    assert words[words.index("--round") + 1] == "1"
    # Another model than a round's is the seed model.
    assert "--round" not in Round(config, inference=inference | {"exp_dir": "exp/x"}).curve()
