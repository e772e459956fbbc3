"""What al_score writes down before it scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
from conftest import make_speech

from espnet_egl.bin import al_score
from espnet_egl.data.arrivals import Plan, plan_shards
from espnet_egl.errors import ConfigError, ManifestError
from espnet_egl.hypotheses import sureness as confidence
from espnet_egl.scoring.earlier import claim_shard
from espnet_egl.store.files import read_manifest
from espnet_egl.store.tables import read_rows


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


def test_a_file_that_changed_under_its_name_is_scored_with_what_its_table_says_now(
    tmp_path: Path, model_files: Callable[[str], Any]
) -> None:
    """The list is the same; seconds of speech, or of audio, are others."""
    files, pool, logdir = model_files("ctc_conformer"), tmp_path / "pool", tmp_path / "logdir"
    pool.mkdir()
    uids = ("a", "b")
    for name, line in (("wav.scp", "{0} {1}/{0}.wav"), ("segments", "{0} {0} 0 0.6")):
        lines = [line.format(uid, tmp_path) for uid in uids]
        (pool / name).write_text("\n".join(lines) + "\n")

    def score(seed: int, speech: str) -> Plan:
        soundfile.write(tmp_path / "a.wav", make_speech(0.7, seed=seed), 8000)
        (pool / "utt2speech").write_text(f"a {speech}\nb 0.3\n")
        plan = plan_shards(pool / "segments", 1, logdir)
        command = ["--data_path_and_name_and_type", f"{pool}/wav.scp,speech,sound"]
        command += ["--segments", f"{pool}/segments", "--utt2speech", f"{pool}/utt2speech"]
        command += ["--key_file", f"{logdir}/keys.1.scp", "--output_dir", f"{logdir}/output.1"]
        command += ["--asr_train_config", str(files.config), "--vad", "true", "--num_workers", "0"]
        command += ["--asr_model_file", str(files.checkpoint), "--methods", "confidence"]
        al_score.main([*command, "--inference_args=--beam_size=2", *plan.score_words()])
        return plan

    soundfile.write(tmp_path / "b.wav", make_speech(0.7, seed=9), 8000)
    score(0, "0.1")
    before = {row["utterance"]: row for row in read_rows(logdir / "output.1" / "scores.tsv")}
    plan = score(1, "0.2")
    after = {row["utterance"]: row for row in read_rows(logdir / "output.1" / "scores.tsv")}
    assert (list(plan.jobs), plan.arrival.changed) == ([1], 1)
    assert float(after["a"]["speech_seconds"]) == 0.2
    assert after["a"]["audio_hash"] != before["a"]["audio_hash"]
    assert after["b"] == before["b"]


def test_a_shard_of_another_list_or_other_options_is_refused(tmp_path: Path) -> None:
    made = {"nbest": 5, "data_sha256": "a", "utt2dur_sha256": "a"}
    claim_shard(tmp_path, made, "")
    claim_shard(tmp_path, made | {"utt2dur_sha256": "b"}, "")
    assert read_manifest(tmp_path) == made | {"utt2dur_sha256": "b"}
    for other in ("nbest", "data_sha256"):
        with pytest.raises(ManifestError, match=other):
            claim_shard(tmp_path, made | {other: "b"}, "")
