from __future__ import annotations

from pathlib import Path

import pytest

from espnet_egl.data.shards import set_aside, split_keys
from espnet_egl.errors import DataError, ManifestError


def write(path: Path, rows: dict[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{k} {v}\n" for k, v in rows.items()))
    return path


def test_transcribed_utterances_are_set_aside_by_id_and_by_audio(tmp_path: Path) -> None:
    train = write(tmp_path / "train.scp", {"a": "1.wav", "x": "same.wav"})
    keys, aside = set_aside({"a": "2.wav", "b": "same.wav", "c": "3.wav"}, [train])
    assert keys == ["c"]
    assert [(uid, reason) for uid, reason, _ in aside] == [
        ("a", "already_transcribed"),
        ("b", "already_transcribed"),
    ]
    assert str(train) in aside[0][2]


@pytest.mark.parametrize(("nj", "expected"), [(1, 1), (3, 3), (100, 7)])
def test_every_utterance_is_in_one_shard(tmp_path: Path, nj: int, expected: int) -> None:
    pool = write(tmp_path / "wav.scp", {f"u{i}": f"{i}.wav" for i in range(7)})
    assert split_keys(pool, [], nj, tmp_path / "log") == expected
    lines = [
        line
        for job in range(1, expected + 1)
        for line in (tmp_path / f"log/keys.{job}.scp").read_text().splitlines()
    ]
    assert lines == pool.read_text().splitlines()
    assert not (tmp_path / f"log/keys.{expected + 1}.scp").exists()


def test_a_directory_keeps_its_split_and_its_pool(tmp_path: Path) -> None:
    pool = write(tmp_path / "wav.scp", {f"u{i}": f"{i}.wav" for i in range(7)})
    assert split_keys(pool, [], 3, tmp_path / "log") == 3
    assert split_keys(pool, [], 5, tmp_path / "log") == 3
    write(pool, {"other": "1.wav"})
    with pytest.raises(ManifestError, match="another pool"):
        split_keys(pool, [], 3, tmp_path / "log")


def test_nothing_to_score_is_an_error(tmp_path: Path) -> None:
    pool = write(tmp_path / "wav.scp", {})
    with pytest.raises(DataError, match="the pool is empty"):
        split_keys(pool, [], 1, tmp_path / "log")
    write(pool, {"a": "1.wav"})
    with pytest.raises(DataError, match="transcribed already"):
        split_keys(pool, [pool], 1, tmp_path / "log")
