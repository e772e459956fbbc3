"""What a report tells of how its scores were made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from espnet_egl.errors import DataError
from espnet_egl.report.provenance import scoring_manifest


def write(score_dir: Path, number: int, **settings: str) -> None:
    shard = score_dir / "logdir" / f"output.{number}"
    shard.mkdir(parents=True)
    (shard / "manifest.json").write_text(json.dumps(settings))


def test_a_pool_that_grew_is_told_and_another_model_refused(tmp_path: Path) -> None:
    write(tmp_path, 1, seed="0", data_sha256="a", segments_sha256="b", key_file_sha256="c")
    write(tmp_path, 2, seed="0", data_sha256="d", segments_sha256="e", key_file_sha256="f")
    assert scoring_manifest(tmp_path) == {"seed": "0", "data_sha256": "d", "segments_sha256": "e"}
    write(tmp_path, 3, seed="1", data_sha256="d", segments_sha256="e", key_file_sha256="g")
    with pytest.raises(DataError, match="made with other settings than the other shards"):
        scoring_manifest(tmp_path)
