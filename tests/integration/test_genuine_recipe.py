"""Stages 1-26 of a genuine egs2/mini_an4, for every kind of model its debug configs make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from genuine import CHAR, checkout, recipe, run, train  # noqa: F401 - fixtures

from espnet_egl.tables import read_rows, read_scores

pytestmark = pytest.mark.integration
MODELS = {
    "rnn": CHAR,
    "transformer_bpe_lm": (
        *("--asr_config", "conf/train_asr_transformer_debug.yaml"),
        *("--token_type", "bpe", "--nbpe", "30", "--use_lm", "true"),
    ),
    "transducer": (
        *("--asr_config", "conf/train_asr_transducer_debug.yaml", *CHAR),
        *("--inference_asr_model", "latest.pth"),
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
    # ESPnet's own scoring of the same decoding, by sclite, agrees with the curve.
    results = sorted((home / "r1" / "asr").glob("*/test/score_wer/result.txt"))
    if results:
        words = next(line for line in results[0].read_text().splitlines() if "Sum/Avg" in line)
        assert words.split("|")[3].split()[4] == f"{float(rows[1]['wer']):.1f}"


def test_a_streaming_model_is_refused(recipe: Path, train: Callable[..., tuple[str, ...]]) -> None:
    command = train("--asr_config", "conf/train_asr_streaming_debug.yaml", *CHAR)
    with pytest.raises(AssertionError, match="streaming"):
        run(recipe, *command, "--al_tag", "streaming", "--stage", "20", "--stop_stage", "20")
