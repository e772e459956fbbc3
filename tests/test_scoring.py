"""One bad utterance is listed; a broken set-up stops the job and loses nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from espnet_egl import scoring
from espnet_egl.acquisition import AbsAcquisition, Evidence
from espnet_egl.data.kaldi import read_table
from espnet_egl.data.pool import Pool
from espnet_egl.errors import DataError
from espnet_egl.hypotheses.beam import BeamSearchSource
from espnet_egl.scoring import Journal, Scorer, score_pool


class Failing(AbsAcquisition):
    """Gives 1, infinity, or an exception, by utterance."""

    def __init__(self, broken: set[str], infinite: str = ""):
        self.broken = broken
        self.infinite = infinite

    def score(self, evidence: Evidence) -> float:
        uid = evidence.utterance.uid
        if uid in self.broken:
            raise IndexError("a bug")
        return float("inf") if uid == self.infinite else 1.0


def score(recognizer: Any, pool_dir: Path, output_dir: Path, method: Failing) -> Any:
    output_dir.mkdir(exist_ok=True)
    scp = pool_dir / "wav.scp"
    pool = Pool([(str(scp), "speech", "sound")], list(read_table(scp)), 8000)
    scorer = Scorer(recognizer, BeamSearchSource(), {"failing": method})
    return score_pool(pool, scorer, output_dir, num_workers=0)


def test_unexpected_errors_and_infinite_scores_are_listed(
    load: Any, pool_dir: Path, tmp_path: Path
) -> None:
    uids = list(read_table(pool_dir / "wav.scp"))
    method = Failing({uids[1], uids[5]}, infinite=uids[3])
    summary = score(load("ctc_conformer"), pool_dir, tmp_path / "out", method)
    assert summary.scored == 3
    assert summary.skipped == {"unexpected_error": 2, "not_finite_score": 1}
    skipped = (tmp_path / "out" / "skipped.tsv").read_text()
    assert f"{uids[1]}\tunexpected_error\tIndexError: a bug" in skipped
    assert f"{uids[3]}\tnot_finite_score\tfailing gave inf" in skipped


def test_a_broken_set_up_stops_and_resumes_where_it_was(
    load: Any, pool_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "FAILURES_IN_A_ROW", 3)
    uids = list(read_table(pool_dir / "wav.scp"))
    recognizer = load("ctc_conformer")
    with pytest.raises(DataError, match=r"3 utterances in a row failed.*IndexError: a bug"):
        score(recognizer, pool_dir, tmp_path / "out", Failing(set(uids[2:])))
    assert Journal(tmp_path / "out" / "journal.jsonl").done == set(uids[:2])
    summary = score(recognizer, pool_dir, tmp_path / "out", Failing(set()))
    assert summary.scored == 6
    score(recognizer, pool_dir, tmp_path / "whole", Failing(set()))
    for name in ("journal.jsonl", "scores.tsv", "skipped.tsv", "nbest.tsv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
