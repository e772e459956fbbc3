"""A pool of good and bad audio is scored: every clip is, or is listed with its reason."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from bad_audio import CASES, SECONDS, Case
from conftest import MODELS, write_model
from tolerances import CONFIDENCE, ROUNDING

from espnet_egl.bin import al_merge, al_prepare, al_score
from espnet_egl.data import audio, pipes
from espnet_egl.store.tables import read_rows

Rows = dict[str, dict[str, str]]


def score(files: Any, data: Path, output: Path, nj: int, *more: str) -> tuple[Rows, Rows]:
    """Stage 20 -> utterance -> row of scores.tsv, and of skipped.tsv."""
    keys = data / ("segments" if (data / "segments").exists() else "wav.scp")
    logdir = output / "logdir"
    al_prepare.main(["--key_file", str(keys), "--nj", str(nj), "--output_dir", str(logdir)])
    for job in range(1, nj + 1):
        al_score.main(
            [
                *("--data_path_and_name_and_type", f"{data}/wav.scp,speech,sound"),
                *(
                    "--key_file",
                    f"{logdir}/keys.{job}.scp",
                    "--output_dir",
                    f"{logdir}/output.{job}",
                ),
                *("--asr_train_config", str(files.config)),
                *("--asr_model_file", str(files.checkpoint)),
                *("--inference_args", "--beam_size 2 --maxlenratio -3", "--nbest", "2"),
                *more,
            ]
        )
    al_merge.main(["--logdir", str(logdir), "--nj", str(nj), "--output_dir", str(output)])
    return tuple(  # type: ignore[return-value]
        {row["utterance"]: row for row in read_rows(output / name)}
        for name in ("scores.tsv", "skipped.tsv")
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model whose biases are not all zero, as no trained one's are: it hears silence, too."""
    found = write_model(tmp_path_factory.mktemp("model"), **MODELS["ctc_conformer"])
    states = torch.load(found.checkpoint, weights_only=True)
    torch.manual_seed(0)
    for name, value in states.items():
        if name.endswith("bias"):
            states[name] = value + 0.1 * torch.randn_like(value)
    torch.save(states, found.checkpoint)
    return found


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every case in one data directory."""
    data, files = tmp_path_factory.mktemp("pool"), tmp_path_factory.mktemp("audio")
    rows = [f"{case.id} {case.make(files)}\n" for case in CASES]
    (data / "wav.scp").write_text("".join(rows))
    return data


@pytest.fixture(scope="module")
def scored(pool: Path, files: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Rows, Rows]:
    """The whole pool at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipes, "PIPE_BYTES", 1 << 22)
        output = tmp_path_factory.mktemp("score")
        limits = ("--pipe_timeout", "3", "--num_workers", "4")
        return score(files, pool, output, 2, *limits)


@pytest.fixture(scope="module")
def alone(files: Any, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """The good clips, scored one by one."""
    found: Rows = {}
    folder = tmp_path_factory.mktemp("alone")
    plain = next(case for case in CASES if case.name == "plain").make(folder)
    for name in ("plain", "rate_16000", "silent"):
        case = next(case for case in CASES if case.name == name)
        source = plain if name == "plain" else case.make(folder)
        data = folder / name
        data.mkdir()
        (data / "wav.scp").write_text(f"{case.id} {source}\n")
        rows, _ = score(files, data, data / "score", 1, "--num_workers", "0")
        found |= rows
    return found


def test_the_table_is_large_and_names_every_case_once() -> None:
    assert len(CASES) == len({case.id for case in CASES}) == len({case.name for case in CASES})
    assert len(CASES) > 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_clip_is_scored_or_listed_with_its_reason(
    scored: tuple[Rows, Rows], alone: Rows, case: Case
) -> None:
    if case.name == "unreadable" and os.geteuid() == 0:
        pytest.skip("root reads everything")
    rows, skipped = scored
    if case.expected not in ("same", "scored"):
        assert case.id not in rows
        assert skipped[case.id]["reason"] == case.expected
        assert case.detail in skipped[case.id]["detail"]
        return
    assert case.id not in skipped
    assert float(rows[case.id]["seconds"]) == pytest.approx(SECONDS, abs=0.05)
    if case.expected == "same":
        same(rows[case.id], alone["plain"])


@pytest.mark.parametrize("uid", ["plain", "rate_16000", "silent"])
def test_good_clips_have_the_scores_they_have_alone(
    scored: tuple[Rows, Rows], alone: Rows, uid: str
) -> None:
    same(scored[0][uid], alone[uid])


def same(found: dict[str, str], expected: dict[str, str]) -> None:
    for column in ("seconds", "frames", "hypotheses", "best_hypothesis", "audio_hash"):
        assert found[column] == expected[column], column
    for column in ("mass", "score_egl"):
        assert float(found[column]) == pytest.approx(float(expected[column]), rel=ROUNDING), column
    for column in ("confidence", "score_confidence"):
        value = float(expected[column])
        assert float(found[column]) == pytest.approx(value, abs=CONFIDENCE), column


def test_no_command_is_left_running_and_none_is_run_that_must_not(
    pool: Path, files: Any, tmp_path: Path
) -> None:
    """The same pool with --allow_pipes false, every command replaced by one that leaves a trace."""
    rows = [line.split(" ", 1) for line in (pool / "wav.scp").read_text().splitlines()]
    pipes = [uid for uid, value in rows if value.endswith("|")]
    data = tmp_path / "data"
    data.mkdir()
    lines = [f"{uid} touch {tmp_path}/ran |\n" for uid in pipes]
    (data / "wav.scp").write_text("".join(lines))
    more = ("--num_workers", "0", "--allow_pipes", "false")
    found, skipped = score(files, data, tmp_path / "score", 1, *more)
    assert not found
    assert {row["reason"] for row in skipped.values()} == {"pipe_not_allowed"}
    assert len(skipped) == len(pipes) >= 10
    assert not (tmp_path / "ran").exists()


def test_what_a_command_started_ends_with_it(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(audio.UtteranceError, match="pipe_timeout"):
        audio.read_audio(
            f"(sleep 600 & echo $! > {tmp_path}/pid; wait) & sleep 600 |", 8000, pipe_timeout=1
        )
    assert time.monotonic() - started < 30
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


# ---- segments ----

SEGMENTS = {
    "whole": ("r 0.0 0.6", "same"),
    "overlaps": ("r 0.1 0.5", "scored"),
    "overlaps_too": ("r 0.2 0.6", "scored"),
    "overshoots_a_little": ("r 0.0 0.9", "same"),
    "beyond": ("r 5 6", "bad_segment"),
    "ends_beyond": ("r 0.1 50", "bad_segment"),
    "unknown_recording": ("gone 0 1", "missing_recording"),
    "of_a_missing_file": ("missing 0 1", "unreadable_audio"),
    "of_a_cut_file": ("cut 0.0 0.6", "truncated_audio"),
    "of_what_is_left": ("cut 0.0 0.2", "scored"),
    "of_ten_hours": ("long 18000 18000.6", "scored"),
    "too_long": ("long 0 7200", "too_long"),
    "tiny": ("r 0.1 0.1001", "too_short"),
    "between_two_samples": ("r 0.1 0.100001", "empty_audio"),
}


def test_segments(files: Any, alone: Rows, tmp_path: Path) -> None:
    makers = {case.name: case.make for case in CASES}
    names = {"r": "plain", "cut": "cut_wav", "long": "ten_hours", "missing": "missing"}
    rows = [f"{name} {makers[case](tmp_path)}\n" for name, case in names.items()]
    (tmp_path / "wav.scp").write_text("".join(rows))
    (tmp_path / "segments").write_text("".join(f"{u} {s}\n" for u, (s, _) in SEGMENTS.items()))
    more = ("--num_workers", "0", "--segments", f"{tmp_path}/segments")
    rows, skipped = score(files, tmp_path, tmp_path / "score", 1, *more)
    reasons = {uid: row["reason"] for uid, row in skipped.items()}
    assert reasons == {u: e for u, (_, e) in SEGMENTS.items() if e not in ("same", "scored")}
    assert rows.keys() == SEGMENTS.keys() - reasons.keys()
    for uid, (_, expected) in SEGMENTS.items():
        if expected == "same":
            same(rows[uid], alone["plain"])
