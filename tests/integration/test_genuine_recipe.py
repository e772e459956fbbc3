"""Stages 1-26 of a genuine egs2/mini_an4, for every kind of model its debug configs make."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from genuine import BY_FILES, CHAR, checkout, recipe, run, train  # noqa: F401 - fixtures

from espnet_egl.data.kaldi import read_table
from espnet_egl.store.tables import read_rows, read_scores

pytestmark = pytest.mark.integration
MODELS = {
    "rnn": CHAR,
    "rnn_in_arks": (*CHAR, "--audio_format", "flac.ark", "--asr_tag", "in_arks"),
    "transformer_bpe_lm": (
        *("--asr_config", "conf/train_asr_transformer_debug.yaml"),
        *("--token_type", "bpe", "--nbpe", "30", "--use_lm", "true"),
    ),
    "transducer": (
        *("--asr_config", "conf/train_asr_transducer_debug.yaml", *CHAR),
        *("--inference_asr_model", "latest.pth"),
    ),
    "streaming": (
        *("--asr_config", "conf/train_asr_streaming_debug.yaml", *CHAR),
        # No statistics of features without extracting them, which its config asks for.
        *("--use_streaming", "true", "--feats_normalize", "utterance_mvn"),
    ),
    "rnnt": (
        *("--asr_config", "conf/train_transducer_asr_conformer_rnnt_debug.yaml", *CHAR),
        *("--asr_task", "asr_transducer", "--inference_asr_model", "latest.pth"),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_from_data_to_the_learning_curve(
    recipe: Path, train: Callable[..., tuple[str, ...]], name: str
) -> None:
    command = (*train(*MODELS[name]), "--al_tag", name, "--al_nbest", "5")
    truth = ("--al_truth", "data/pool_text", "--al_budget", "2utt")
    printed = run(recipe, *command, *truth, "--stage", "20", "--stop_stage", "26")
    home = recipe / "exp" / f"al_{name}"
    scores = read_scores(home / "r1" / "score" / "scores.tsv")
    skipped = read_rows(home / "r1" / "score" / "skipped.tsv")
    assert len(scores) + len(skipped) == 7
    assert (scores["score_egl"] > 0).all()
    assert "Transcribed: 2 clips" in printed
    rows = read_rows(home / "curve.tsv")
    assert [(row["method"], row["utterances"]) for row in rows] == [("", "0"), ("egl", "2")]
    # Seed set and labelled clips are read alike.
    entries = read_table(recipe / "dump" / "raw" / f"train_nodev_al_{name}_r1_asr" / "wav.scp")
    assert {".ark:" in entry for entry in entries.values()} == {"flac.ark" in MODELS[name]}
    # ESPnet's own scoring of the same decoding, by sclite, agrees with the curve.
    results = sorted((home / "r1" / "asr").glob("*/test/score_wer/result.txt"))
    if results:
        words = next(line for line in results[0].read_text().splitlines() if "Sum/Avg" in line)
        assert words.split("|")[3].split()[4] == f"{float(rows[1]['wer']):.1f}"


@pytest.mark.parametrize("name", BY_FILES)
def test_a_larger_recipes_variables_are_picked_up(checkout: Path, name: str) -> None:
    directory = checkout / "egs2" / name / "asr1"
    run(directory, sys.executable, "-m", "espnet_egl.bin.al_init", ".", "--apply")
    printed = run(directory, "./run.sh", "--stage", "20", "--al_dry_run", "true")
    said = {line[:16].rstrip(): line[16:] for line in printed.splitlines()}
    # As asr.sh names them by the recipe's own options, speed perturbation among them.
    config = {"an4": "train_asr_transformer", "librispeech_100": "train_asr"}[name]
    assert said["model"].startswith(f"exp/asr_{config}_raw_en_bpe")
    assert Path(said["model"]).parent.name.endswith("_sp")
    assert said["seed set"].startswith("dump/raw/train_")
    assert "_sp " in said["seed set"]
    assert said["decoding"].startswith("conf/decode_asr.yaml")
    assert said["jobs"].endswith("by run.pl")
    if name == "librispeech_100":
        assert said["audio"] == "raw, flac.ark, 16k"
        assert said["test sets"] == "test_clean test_other dev_clean dev_other"
