"""A wrong score is found by the definition; a right one passes, for every kind of model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import make_speech

from espnet_egl.acquisition.egl import EGL
from espnet_egl.bin import al_merge
from espnet_egl.data.kaldi import read_table
from espnet_egl.data.pool import Pool
from espnet_egl.errors import DataError, ManifestError, StorageError
from espnet_egl.gradients.batch import EncodedBatch
from espnet_egl.gradients.engine import GradientEngine
from espnet_egl.hypotheses.beam import BeamSearchSource
from espnet_egl.hypotheses.ctc_sampling import CTCSampleSource
from espnet_egl.scoring import shard as shard_module
from espnet_egl.scoring.records import join_manifests
from espnet_egl.scoring.scorer import Scorer
from espnet_egl.scoring.shard import score_pool
from espnet_egl.scoring.verification import Verifier, sample, write_verified
from espnet_egl.store.files import write_checksums
from espnet_egl.store.journal import Journal
from espnet_egl.types import Utterance


def utterance(seed: int = 0) -> Utterance:
    return Utterance(f"u{seed}", make_speech(0.6, seed=seed), 0.6)


@pytest.mark.parametrize("mode", ["exact", "estimate"])
@pytest.mark.parametrize(
    "name", ["ctc_conformer", "hybrid_conformer", "transducer", "transducer_task"]
)
def test_right_scores_pass_and_wrong_ones_do_not(load: Any, name: str, mode: str) -> None:
    recognizer = load(name)
    method, source = EGL(normalize="sqrt_frames"), BeamSearchSource()
    engine = GradientEngine(recognizer, mode=mode, directions=2)
    scorer = Scorer(recognizer, source, {"egl": method}, engine)
    verifier = Verifier(recognizer, source, method, engine)
    (scored,) = scorer.score([utterance()])
    score = scored.scores["egl"]
    _, _, by_definition, difference, allowed = verifier.verify(utterance(), score)
    assert float(by_definition) > 0
    assert float(difference) <= float(allowed)
    *_, difference, allowed = verifier.verify(utterance(), 3 * score)
    assert float(difference) > 1
    if mode == "exact":
        assert float(allowed) < 0.02
        assert float(difference) > float(allowed)


def test_samples_of_a_shard_do_not_depend_on_its_order() -> None:
    uids = [f"u{i}" for i in range(50)]
    assert sample(uids, 3, 0) == sample(reversed(uids), 3, 0)
    assert len({tuple(sample(uids, 3, seed)) for seed in range(5)}) > 1
    assert sample(uids[:2], 3, 0) == sorted(sample(uids[:2], 3, 0), key=sample(uids, 50, 0).index)


@pytest.mark.parametrize("difference", ["0.002", "nan", "inf"])
def test_a_large_difference_is_refused_and_written_down(tmp_path: Path, difference: str) -> None:
    row = ["u1", "1.002", "1", difference, "0.001"]
    with pytest.raises(DataError, match=r"'u1' has the score 1.002, by the definition it is 1"):
        write_verified(tmp_path, [row])
    assert "\t".join(row) in (tmp_path / "verified.tsv").read_text()


def run(recognizer: Any, pool_dir: Path, output_dir: Path, verify: int = 2) -> Any:
    output_dir.mkdir(exist_ok=True)
    scp = pool_dir / "wav.scp"
    pool = Pool([(str(scp), "speech", "sound")], list(read_table(scp)), 8000)
    engine = GradientEngine(recognizer, mode="exact")
    scorer = Scorer(recognizer, CTCSampleSource(size=20), {"egl": EGL()}, engine, 1)
    return score_pool(pool, scorer, output_dir, num_workers=0, verify=verify)


def test_a_broken_engine_ends_the_shard_unfinished(
    load: Any, pool_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull_back = EncodedBatch._pull_back

    def wrong(self: EncodedBatch, *args: Any) -> Any:
        lengths, projected = pull_back(self, *args)
        return 1.05 * lengths, projected

    recognizer = load("ctc_conformer")
    with monkeypatch.context() as patch:
        patch.setattr(EncodedBatch, "_pull_back", wrong)
        with pytest.raises(DataError, match="Do not use these scores"):
            run(recognizer, pool_dir, tmp_path / "out")
    assert not (tmp_path / "out" / "scores.tsv").exists()
    run(recognizer, pool_dir, tmp_path / "good")
    record = json.loads((tmp_path / "good" / "run.json").read_text())
    assert record["scored"] == 6
    assert record["peak_memory_gib"] > 0.05
    assert len((tmp_path / "good" / "verified.tsv").read_text().splitlines()) == 3


# ---- the pool's disk ----


class Vanishing(EGL):
    """Takes the pool's audio away after some utterances, as a network disk that is lost."""

    def __init__(self, audio: Path, after: int):
        super().__init__()
        self.audio, self.left = audio, after

    def score(self, evidence: Any) -> float:
        self.left -= 1
        if self.left == 0:
            self.audio.rename(self.audio.with_name("gone"))
        return super().score(evidence)


@pytest.fixture
def audio(pool_dir: Path, tmp_path: Path) -> Path:
    """The pool's files in a directory of their own."""
    directory = tmp_path / "audio"
    directory.mkdir()
    table = pool_dir / "wav.scp"
    rows = [line.split() for line in table.read_text().splitlines()]
    for uid, path in rows:
        Path(path).rename(directory / f"{uid}.wav")
    table.write_text("".join(f"{uid} {directory / uid}.wav\n" for uid, _ in rows))
    return directory


def score(recognizer: Any, pool_dir: Path, output_dir: Path, method: EGL) -> Any:
    output_dir.mkdir(exist_ok=True)
    scp = pool_dir / "wav.scp"
    pool = Pool([(str(scp), "speech", "sound")], list(read_table(scp)), 8000)
    scorer = Scorer(
        recognizer, CTCSampleSource(size=20), {"egl": method}, GradientEngine(recognizer)
    )
    return score_pool(pool, scorer, output_dir, num_workers=0)


def tables(directory: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in directory.iterdir() if p.name != "run.json"}


def test_a_disk_that_is_lost_stops_the_job_and_costs_nothing(
    load: Any, pool_dir: Path, audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_module, "WINDOW", 2)
    recognizer = load("ctc_conformer")
    with pytest.raises(StorageError, match=r"which was read before, no more: is the disk"):
        score(recognizer, pool_dir, tmp_path / "out", Vanishing(audio, 2))
    journal = Journal(tmp_path / "out" / "journal.jsonl")
    journal.close()
    assert len(journal.done) == 2
    # Still gone: nothing is skipped for it.
    with pytest.raises(StorageError, match="is the disk with the pool there"):
        score(recognizer, pool_dir, tmp_path / "out", EGL())
    audio.with_name("gone").rename(audio)
    assert score(recognizer, pool_dir, tmp_path / "out", EGL()).scored == 6
    score(recognizer, pool_dir, tmp_path / "whole", EGL())
    assert tables(tmp_path / "out") == tables(tmp_path / "whole")


def test_files_that_are_really_missing_are_listed(
    load: Any, pool_dir: Path, audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_module, "WINDOW", 2)
    paths = sorted(audio.iterdir())
    for path in paths[2:4]:
        path.unlink()
    summary = score(load("ctc_conformer"), pool_dir, tmp_path / "out", EGL())
    assert (summary.scored, summary.skipped) == (4, {"unreadable_audio": 2})


def test_a_pool_of_which_nothing_can_be_read_is_no_pool(
    load: Any, pool_dir: Path, audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_module, "FAILURES_IN_A_ROW", 4)
    audio.rename(audio.with_name("gone"))
    with pytest.raises(StorageError, match=r"6 utterances cannot be read.*nothing else"):
        score(load("ctc_conformer"), pool_dir, tmp_path / "out", EGL())


# ---- joining ----


def shard(directory: Path, **settings: str) -> Path:
    directory.mkdir(parents=True)
    (directory / "manifest.json").write_text(json.dumps({"model": "m", **settings}))
    return directory


def test_shards_of_two_models_are_not_joined(tmp_path: Path) -> None:
    one = shard(tmp_path / "output.1", key_file_sha256="a")
    two = shard(tmp_path / "output.2", key_file_sha256="b")
    assert join_manifests([one, two]) == {"model": "m", "shards": ["a", "b"]}
    other = shard(tmp_path / "output.3", model="other")
    with pytest.raises(ManifestError, match=r"output.3 was made otherwise.*model is 'other'"):
        join_manifests([one, two, other])


def test_one_estimate_may_be_far_off_but_not_most(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    close, far = ["9", "10", "0.1", "0.3"], ["20", "10", "1", "0.3"]
    write_verified(tmp_path, [["a", *close], ["b", *far], ["c", *close]])
    assert "'b' has the score 20, by the definition it is 10" in caplog.text
    exact, nothing = ["20", "10", "1", "0.005"], ["nan", "10", "nan", "0.3"]
    for rows in ([close, far, far], [close, exact, close], [close, nothing, close]):
        with pytest.raises(DataError, match="Do not use these scores"):
            write_verified(tmp_path, [[uid, *row] for uid, row in zip("abc", rows, strict=True)])


@pytest.mark.parametrize(
    ("column", "value"),
    [("score_egl", "nan"), ("mass", "1.2"), ("confidence", "-0.1"), ("frames", "many")],
)
def test_impossible_numbers_are_refused(
    load: Any,
    pool_dir: Path,
    tmp_path: Path,
    column: str,
    value: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    logdir = tmp_path / "logdir"
    output = shard(logdir / "output.1")
    run(load("ctc_conformer"), pool_dir, output, verify=0)
    (logdir / "keys.1.scp").write_bytes((pool_dir / "wav.scp").read_bytes())
    (logdir / "skipped.tsv").write_text("utterance\treason\tdetail\n")
    write_checksums(logdir, ["keys.1.scp", "skipped.tsv"])
    merge = ["--logdir", str(logdir), "--nj", "1", "--output_dir", str(tmp_path / "score")]
    al_merge.main(merge)
    assert json.loads((tmp_path / "score" / "run.json").read_text())["scored"] == 6
    header, first, *rest = (output / "scores.tsv").read_text().splitlines()
    cells = first.split("\t")
    cells[header.split("\t").index(column)] = value
    (output / "scores.tsv").write_text("\n".join([header, "\t".join(cells), *rest]) + "\n")
    with pytest.raises(SystemExit):
        al_merge.main(merge)
    assert "scores.tsv is not what was written there" in capsys.readouterr().err
    write_checksums(output, ["scores.tsv"])
    with pytest.raises(SystemExit):
        al_merge.main(merge)
    assert f"the scores of '{cells[0]}' are not what scoring writes" in capsys.readouterr().err
