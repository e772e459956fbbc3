"""One bad utterance is listed; a broken set-up stops the job and loses nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import MODELS, make_speech
from tolerances import ROUNDING

from espnet_egl.acquisition import AbsAcquisition, Evidence, acquisition_methods
from espnet_egl.acquisition.egl import EGL
from espnet_egl.data.kaldi import read_table
from espnet_egl.data.pool import Pool
from espnet_egl.errors import ConfigError, DataError, UtteranceError
from espnet_egl.gradients.engine import GradientEngine
from espnet_egl.hypotheses.beam import BeamSearchSource
from espnet_egl.scoring import shard as shard_module
from espnet_egl.scoring.scorer import Scorer
from espnet_egl.scoring.shard import score_pool
from espnet_egl.store.journal import Journal
from espnet_egl.types import Utterance


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
    monkeypatch.setattr(shard_module, "FAILURES_IN_A_ROW", 3)
    uids = list(read_table(pool_dir / "wav.scp"))
    recognizer = load("ctc_conformer")
    with pytest.raises(DataError, match=r"3 utterances in a row failed.*IndexError: a bug"):
        score(recognizer, pool_dir, tmp_path / "out", Failing(set(uids[2:])))
    assert Journal(tmp_path / "out" / "journal.jsonl").done == set(uids[:2])
    summary = score(recognizer, pool_dir, tmp_path / "out", Failing(set()))
    assert summary.scored == 6
    score(recognizer, pool_dir, tmp_path / "whole", Failing(set()))
    for name in ("journal.jsonl", "scores.tsv", "skipped.tsv", "nbest.tsv", "words.ctm"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


# ---- batches ----


def utterances(count: int) -> list[Utterance]:
    lengths = [0.5 + 0.13 * ((7 * i) % count) for i in range(count)]
    return [Utterance(f"u{i}", make_speech(s, seed=i), s) for i, s in enumerate(lengths)]


def scorer_of(recognizer: Any, batch_bins: int = 20000, mode: str = "exact") -> Scorer:
    engine = GradientEngine(recognizer, mode=mode)
    return Scorer(recognizer, BeamSearchSource(), {"egl": EGL()}, engine, batch_bins)


def by_uid(results: Any) -> dict[str, Any]:
    return {r.uid: r for r in results}


def test_batches_hold_similar_lengths_within_the_bound(load: Any) -> None:
    scorer = scorer_of(load("ctc_conformer"))
    batches = scorer.batches(utterances(12))
    assert 1 < len(batches) < 12
    assert sorted(u.uid for b in batches for u in b) == sorted(u.uid for u in utterances(12))
    for batch in batches:
        lengths = [len(u.speech) for u in batch]
        assert lengths == sorted(lengths, reverse=True)
        assert lengths[0] * len(batch) <= 20000
    # One that is longer than the bound has a batch of its own.
    assert [len(b) for b in scorer_of(load("ctc_conformer"), 100).batches(utterances(3))] == [1] * 3


def test_the_longest_clip_checks_an_encoder_of_blocks(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short one is a single block, and never takes the way of several."""
    scorer = scorer_of(load("ctc_contextual_block"))
    assert scorer.engine is not None
    assert not scorer.engine.batches
    seen: list[int] = []
    monkeypatch.setattr(GradientEngine, "verify", lambda _, speech: seen.extend(map(len, speech)))
    clips = utterances(5)
    assert scorer.verify(clips)
    assert seen == [max(len(u.speech) for u in clips)]


def test_a_device_that_fails_is_not_a_clip_that_is_too_short(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = load("ctc_conformer")

    def broken(message: str) -> Any:
        def encode(*_: Any) -> Any:
            raise RuntimeError(message)

        return encode

    for message, error in (
        ("Kernel size can't be greater than actual input size", UtteranceError),
        ("CUDA error: device-side assert triggered", RuntimeError),
        ("DefaultCPUAllocator: can't allocate memory", RuntimeError),
    ):
        monkeypatch.setattr(recognizer.model, "encode", broken(message))
        with pytest.raises(error):
            recognizer.encode(make_speech(0.1))


@pytest.mark.parametrize("name", ["ctc_ebranchformer", "hybrid_conformer"])
def test_scores_do_not_depend_on_the_batch(load: Any, name: str) -> None:
    found = []
    for bins in (1, 10**9):
        scorer = scorer_of(load(name), bins)
        batches = scorer.batches(utterances(6))
        assert len(batches) == (6 if bins == 1 else 1)
        found.append(by_uid(r for batch in batches for r in scorer.score(batch)))
    for uid, alone in found[0].items():
        together = found[1][uid]
        assert together.nbest.hypotheses[0].tokens == alone.nbest.hypotheses[0].tokens
        assert together.scores["egl"] == pytest.approx(alone.scores["egl"], rel=ROUNDING)


def test_a_batch_that_does_not_fit_into_memory_is_split(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer, batch, sizes = scorer_of(load("ctc_conformer"), 10**9), utterances(5), []
    expected = by_uid(scorer.score(batch))
    encode = GradientEngine.encode

    def limited(self: GradientEngine, speech: Any) -> Any:
        sizes.append(len(speech))
        if len(speech) > 2 or len(speech[0]) == max(len(u.speech) for u in batch):
            raise torch.OutOfMemoryError("no memory left")
        return encode(self, speech)

    monkeypatch.setattr(GradientEngine, "encode", limited)
    (whole,) = scorer.batches(batch)
    found = by_uid(scorer.score(whole))
    assert max(sizes) == 5
    assert found.pop(whole[0].uid).reason == "out_of_memory"
    assert len(found) == 4
    for uid, result in found.items():
        assert result.scores["egl"] == pytest.approx(expected[uid].scores["egl"], rel=ROUNDING)


def test_one_bad_clip_costs_the_others_of_its_batch_nothing(load: Any) -> None:
    scorer = scorer_of(load("ctc_conformer"), 10**9)
    good = utterances(4)
    bad = Utterance("bad", make_speech(0.01), 0.01)
    (batch,) = scorer.batches([*good, bad])
    found = by_uid(scorer.score(batch))
    assert found["bad"].reason == "too_short"
    assert all(found[u.uid].scores["egl"] > 0 for u in good)


@pytest.mark.parametrize("name", MODELS)
def test_no_clip_is_too_short_to_be_told_so(load: Any, name: str) -> None:
    """Some leave fewer frames than the search's 8 tokens, which ESPnet 202511 falls over."""
    scorer = scorer_of(load(name), 10**9)
    clips = [
        Utterance(str(n), make_speech(1.0)[:n], n / 8000)
        for n in (4000, 1, 60, 130, 300, 500, 700, 900, 1100)
    ]
    found = by_uid(r for batch in scorer.batches(clips) for r in scorer.score(batch))
    assert found.pop("4000").scores["egl"] > 0
    for result in found.values():
        assert getattr(result, "reason", "too_short") == "too_short"


def test_errors_that_every_utterance_would_meet_are_raised(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise ConfigError("--nbest must fit")

    scorer = scorer_of(load("ctc_conformer"))
    monkeypatch.setattr(BeamSearchSource, "__call__", refuse)
    with pytest.raises(ConfigError, match="--nbest must fit"):
        scorer.score(utterances(3))


def test_a_killed_run_ends_with_the_bytes_of_one_that_was_not(
    load: Any, pool_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the journal was cut: windows and batches are those of the whole pool."""
    monkeypatch.setattr(shard_module, "WINDOW", 4)
    scp = pool_dir / "wav.scp"
    compared: list[list[int]] = []

    def verify(self: GradientEngine, speech: Any) -> None:
        compared.append([len(one) for one in speech])

    monkeypatch.setattr(GradientEngine, "verify", verify)

    def run(output_dir: Path) -> dict[str, bytes]:
        output_dir.mkdir(exist_ok=True)
        pool = Pool([(str(scp), "speech", "sound")], list(read_table(scp)), 8000)
        score_pool(pool, scorer_of(load("ctc_conformer")), output_dir, num_workers=0)
        # How long it took is not the same twice.
        return {p.name: p.read_bytes() for p in output_dir.iterdir() if p.name != "run.json"}

    whole = run(tmp_path / "whole")
    journal = whole["journal.jsonl"]
    assert journal.count(b"\n") == 6
    assert len(compared) == 1
    for cut in range(0, len(journal), 97):
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / "journal.jsonl").write_bytes(journal[:cut])
        assert run(tmp_path / "out") == whole
    # Which ways the engine goes hangs on the same clips.
    assert len(compared) > 5
    assert all(lengths == compared[0] for lengths in compared)


def test_two_runs_on_one_directory_are_told_apart(tmp_path: Path) -> None:
    first = Journal(tmp_path / "journal.jsonl")
    with pytest.raises(DataError, match="being written by another process"):
        Journal(tmp_path / "journal.jsonl")
    first.append({"uid": "a"})
    first.append({"uid": "a"})
    first.close()
    again = Journal(tmp_path / "journal.jsonl")
    assert [e["uid"] for e in again.entries()] == ["a"]
    again.close()


def test_methods_may_run_the_model_themselves_on_a_batch(load: Any) -> None:
    """The committee encodes anew: no hook of the gradient engine may see it."""
    recognizer = load("ctc_conformer")
    methods = {name: acquisition_methods.build(name, {}) for name in ("egl", "committee")}
    engine = GradientEngine(recognizer)
    scorer = Scorer(recognizer, BeamSearchSource(), methods, engine)
    together = scorer._score(sorted(utterances(3), key=lambda u: -len(u.speech)))
    for scored in together:
        (alone,) = scorer._score([u for u in utterances(3) if u.uid == scored.uid])
        assert scored.scores["committee"] == alone.scores["committee"]
        assert scored.scores["egl"] == pytest.approx(alone.scores["egl"], rel=ROUNDING)
