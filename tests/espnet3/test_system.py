"""The system's stages, its command line and its defaults."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
import yaml
from conftest import make_speech
from speaking import spoken

import espnet_egl.espnet3
from espnet_egl.data.kaldi import read_table
from espnet_egl.errors import ConfigError
from espnet_egl.loop.shared_ledger import SharedLedger
from espnet_egl.recipe import packaged
from espnet_egl.store.tables import read_rows


def test_without_espnet3_a_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espnet3.contract.stages", None)
    with pytest.raises(ConfigError, match=r"espnet\[train\]>=202611"):
        _ = espnet_egl.espnet3.ASRSystem


@pytest.fixture
def launching() -> Any:
    """The module, where ESPnet3 is installed with what it needs."""
    pytest.importorskip("espnet3.contract.stages")
    pytest.importorskip("dask.distributed")
    pytest.importorskip("lightning")
    from espnet_egl.espnet3 import launching

    return launching


def test_stages_follow_espnets_and_have_a_role_of_their_own(launching: Any) -> None:
    from espnet3.contract.stages import roles, stage_names, stage_spec
    from espnet3.systems.esp2_asr import system

    names = stage_names(launching.ASRSystem)
    assert names[: len(system.ASRSystem.stages)] == stage_names(system.ASRSystem)
    assert names[len(system.ASRSystem.stages) :] == list(launching.STAGES)
    assert set(roles(launching.ASRSystem)) == {*roles(system.ASRSystem), "al"}
    assert stage_spec(launching.ASRSystem, "al_score").log_dir == "al_dir"


def test_only_who_asks_for_them_runs_our_stages(launching: Any) -> None:
    parser = launching.build_parser(launching.ASRSystem)
    for words in ([], ["--stages", "all"]):
        stages = parser.parse_args(words).stages
        assert "train" in stages
        assert not [name for name in stages if name.startswith("al_")]
    args = parser.parse_args(["--stages", "al_score", "infer", "--al_config", "conf/al.yaml"])
    assert (args.stages, args.al_config) == (["al_score", "infer"], Path("conf/al.yaml"))
    with pytest.raises(SystemExit):
        parser.parse_args(["--stages", "al_scor"])


def test_defaults_are_every_recipes(launching: Any, tmp_path: Path) -> None:
    from espnet3.utils.config_utils import convert_to_dict, load_and_merge_config

    own = tmp_path / "conf" / "al_big.yaml"
    own.parent.mkdir()
    own.write_text("al_select: {budget: 3utt}\n")
    package = launching._defaults("egs3.TEMPLATE.esp2_asr")
    found = convert_to_dict(load_and_merge_config(own, "al.yaml", package))
    expected = yaml.safe_load(packaged("conf/al.yaml"))
    expected["al_select"]["budget"] = "3utt"
    assert {name: found[name] for name in expected} == expected
    assert (found["al_dir"], found["round"]) == ("./exp/al_big", 1)
    # And ESPnet's defaults of the other roles.
    own.write_text("{}\n")
    assert "provider" in load_and_merge_config(own, "inference.yaml", package, resolve=False)


def test_a_user_error_ends_without_a_traceback(
    launching: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    from omegaconf import OmegaConf

    config = {"al_dir": str(tmp_path / "al"), "round": 0}
    with pytest.raises(SystemExit, match="1"):
        launching.ASRSystem(al_config=OmegaConf.create(config)).al_select()
    assert "al_select: error: --al_config: round is a number" in caplog.text


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"al_select": {"budget": "5hours"}}, "5hours"),
        ({"al_select": {"metod": "egl"}}, "metod"),
        ({"al_score": {"methods": ["elg"]}}, "elg"),
    ],
)
def test_what_later_stages_are_told_is_checked_before_scoring(
    launching: Any,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    section: dict[str, Any],
    message: str,
) -> None:
    from omegaconf import OmegaConf

    config = {"al_dir": str(tmp_path / "al"), "round": 1, **section}
    with pytest.raises(SystemExit):
        launching.ASRSystem(al_config=OmegaConf.create(config)).al_score()
    # And not that nothing names the model, which comes next.
    assert f"'{message}'" in caplog.text + capsys.readouterr().err


def test_labelled_clips_are_a_dataset(launching: Any, tmp_path: Path) -> None:
    from espnet3.components.data.dataset_module import instantiate_dataset_reference

    from espnet_egl.espnet3.commands import DATASET
    from espnet_egl.espnet3.dataset import keys_like

    soundfile.write(tmp_path / "a.wav", make_speech(), 8000)
    (tmp_path / "wav.scp").write_text(f"a {tmp_path}/a.wav\n")
    (tmp_path / "text").write_text("a one two\n")
    data = {"data_dir": str(tmp_path), "keys": keys_like({"text": "x", "speech": None})}
    dataset = instantiate_dataset_reference({"data_src": DATASET, "data_src_args": data})
    assert len(dataset) == 1
    assert dataset[0].keys() == {"speech", "text"}
    assert (dataset[0]["text"], len(dataset[0]["speech"])) == ("one two", 4800)
    with pytest.raises(ConfigError, match="have 'prompt', which labelled clips have not"):
        keys_like({"text": "x", "prompt": "y"})


@pytest.mark.slow
def test_a_pool_that_grew_is_scored_and_shared_as_in_every_recipe(
    launching: Any, model_files: Any, pool_dir: Path, tmp_path: Path
) -> None:
    from omegaconf import OmegaConf

    files = model_files("ctc_conformer")
    model = {"asr_train_config": str(files.config), "asr_model_file": str(files.checkpoint)}
    config = {
        **{"al_dir": str(tmp_path / "al"), "round": 1, "data_dir": str(pool_dir)},
        "ledger": str(tmp_path / "ledger.tsv"),
        "parallel": {"env": "local", "n_workers": 1},
        "al_score": {**model, "hyp_source": "ctc_sample", "nbest": 8, "num_workers": 0},
        "al_select": {"budget": "2utt"},
    }
    system = launching.ASRSystem(al_config=OmegaConf.create(config))
    system.al_score()
    score_dir = tmp_path / "al" / "r1" / "score"
    before = {row["utterance"]: row for row in read_rows(score_dir / "scores.tsv")}
    soundfile.write(tmp_path / "new.wav", make_speech(0.4, seed=30), 8000)
    with (pool_dir / "wav.scp").open("a") as f:
        f.write(f"z-new {tmp_path / 'new.wav'}\n")
    system.al_score()
    now = {row["utterance"]: row for row in read_rows(score_dir / "scores.tsv")}
    assert list(now) == [*before, "z-new"]
    assert {uid: now[uid] for uid in before} == before
    assert [path.name for path in (score_dir / "logdir").glob("al_score.*.log")].count(
        "al_score.2.log"
    )
    system.al_select()
    system.al_export()
    asked = {line.uid for line in SharedLedger(tmp_path / "ledger.tsv").asked()}
    selected = read_rows(tmp_path / "al" / "r1" / "select" / "selection.tsv")
    assert asked == {row["utterance"] for row in selected}


@pytest.mark.slow
def test_long_recordings_are_cut_by_the_workers(
    launching: Any, model_files: Any, pool_dir: Path, tmp_path: Path
) -> None:
    from omegaconf import OmegaConf

    files = model_files("ctc_conformer")
    model = {"asr_train_config": str(files.config), "asr_model_file": str(files.checkpoint)}
    soundfile.write(tmp_path / "call.wav", spoken(1, 30), 8000)
    with (pool_dir / "wav.scp").open("a") as f:
        f.write(f"z-call {tmp_path / 'call.wav'}\n")
    (pool_dir / "utt2dur").unlink(missing_ok=True)
    config = {
        **{"al_dir": str(tmp_path / "al"), "round": 1, "data_dir": str(pool_dir)},
        "parallel": {"env": "local", "n_workers": 2},
        "al_score": {**model, "hyp_source": "ctc_sample", "nbest": 8, "max_seconds": 12},
        "al_select": {"budget": "2utt"},
    }
    system = launching.ASRSystem(al_config=OmegaConf.create(config))
    system.al_score()
    cut, score_dir = tmp_path / "al" / "pool_cut", tmp_path / "al" / "r1" / "score"
    assert list((cut / "logdir").rglob("al_segment.*.log"))
    segments = {uid: line.split() for uid, line in read_table(cut / "segments").items()}
    clips = {uid: float(s[2]) - float(s[1]) for uid, s in segments.items() if s[0] == "z-call"}
    assert len(clips) > 1
    silent = [float(row["seconds"]) for row in read_rows(cut / "silence.tsv")]
    seconds = sum(clips.values()) + sum(silent)
    assert seconds == pytest.approx(soundfile.info(tmp_path / "call.wav").duration, abs=0.01)
    rows = read_rows(score_dir / "scores.tsv")
    listed = read_rows(score_dir / "skipped.tsv")
    assert clips.keys() <= {row["utterance"] for row in [*rows, *listed]}
    assert not [row for row in listed if row["reason"] == "too_long"]
    # Of a system that begins anew with a later stage, too: what was scored is selected from.
    launching.ASRSystem(al_config=OmegaConf.create(config)).al_select()
    chosen = read_rows(tmp_path / "al" / "r1" / "select" / "selection.tsv")
    assert {row["utterance"] for row in chosen} <= segments.keys()
    # Not asked for any more: the recording is whole again, and too long.
    whole = {**config, "segment": False}
    launching.ASRSystem(al_config=OmegaConf.create(whole)).al_score()
    listed = read_rows(score_dir / "skipped.tsv")
    assert [r["reason"] for r in listed if r["utterance"] == "z-call"] == ["too_long"]
