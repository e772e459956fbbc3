"""A pool scored with OWSM and OWSM-CTC, from the command line."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import owsm
import pytest
from conftest import make_pool

from espnet_egl.bin import al_score
from espnet_egl.errors import ConfigError, ManifestError
from espnet_egl.store.tables import read_rows, read_scores


def score(files: Any, pool: Path, out: Path, *options: str) -> Path:
    command = ["--data_path_and_name_and_type", f"{pool}/wav.scp,speech,sound"]
    command += ["--key_file", f"{pool}/wav.scp", "--output_dir", str(out), "--num_workers", "0"]
    command += ["--asr_train_config", str(files.config), "--asr_model_file", str(files.checkpoint)]
    command += ["--inference_args=--beam_size 4 --maxlenratio -6", *options]
    al_score.score(al_score.get_parser().parse_args(command))
    return out


@pytest.mark.parametrize("name", ["OWSM_CTC", "OWSM"])
def test_a_pool_is_scored(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """With every clip's own language; the definition agrees at the end of the shard."""
    files = owsm.write_model(tmp_path / "model", **getattr(owsm, name))
    pool = make_pool(tmp_path)
    languages = enumerate(["eng", "jpn", "<eng>"])
    lines = [f"spk{i % 2}-utt{i} {language}\n" for i, language in languages]
    (pool / "utt2lang").write_text("".join(sorted([*lines, "spk1-utt3 xyz\n"])))
    methods = ["--methods", "egl", "confidence", "entropy", "pctc", "committee"]
    sample = ["--hyp_source", "ctc_sample", "--nbest", "20", "--posterior", "ctc"]
    with caplog.at_level(logging.INFO):
        out = score(
            files,
            pool,
            tmp_path / "out",
            *("--utt2lang", f"{pool}/utt2lang", "--egl_batch_bins", "48000"),
            *methods,
            *sample,
        )
    table = read_scores(out / "scores.tsv")
    assert sorted(table["utterance"]) == ["spk0-utt0", "spk0-utt2", "spk1-utt1"]
    assert (table[["score_egl", "score_entropy", "score_pctc"]] > 0).all(axis=None)
    assert "3 utterances scored again by the definition" in caplog.text
    skipped = {row["utterance"]: row["reason"] for row in read_rows(out / "skipped.tsv")}
    assert skipped == {
        "spk0-utt4": "no_language",
        "spk1-utt3": "unknown_language",
        "spk1-utt5": "no_language",
    }
    texts = [row["text"].replace("<unk>", "") for row in read_rows(out / "nbest.tsv")]
    assert not any("<" in text for text in texts)


def test_another_prompt_is_another_score(tmp_path: Path) -> None:
    files = owsm.write_model(tmp_path / "model", **owsm.OWSM_CTC)
    pool = make_pool(tmp_path)
    score(files, pool, tmp_path / "out", "--methods", "longest", "--prompt", "<eng>")
    with pytest.raises(ManifestError, match="prompt"):
        score(files, pool, tmp_path / "out", "--methods", "longest", "--prompt", "<jpn>")
    with pytest.raises(ConfigError, match="no symbol <xyz>"):
        score(files, pool, tmp_path / "other", "--methods", "longest", "--prompt", "<xyz>")
    assert not (tmp_path / "other").exists()
