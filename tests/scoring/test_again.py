"""The same command again: what changed since is scored again, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import make_speech

from espnet_egl.acquisition.egl import EGL
from espnet_egl.data.kaldi import read_table
from espnet_egl.data.pool import Pool
from espnet_egl.errors import DataError, ManifestError
from espnet_egl.gradients.engine import GradientEngine
from espnet_egl.hypotheses.ctc_sampling import CTCSampleSource
from espnet_egl.scoring.again import Again, find_again
from espnet_egl.scoring.earlier import Earlier
from espnet_egl.scoring.records import Summary, nothing_again
from espnet_egl.scoring.scorer import Scorer
from espnet_egl.scoring.shard import score_pool
from espnet_egl.store.files import is_finished, parse_json, write_lines
from espnet_egl.store.journal import JOURNAL, Journal, read_entries
from espnet_egl.store.tables import read_rows


def pool_of(scp: Path, **options: Any) -> Pool:
    return Pool([(str(scp), "speech", "sound")], list(read_table(scp)), 8000, **options)


def entry_of(pool: Pool, uid: str) -> dict[str, Any]:
    item = pool.read(uid)
    skipped = {} if hasattr(item, "speech") else {"skipped": [item.reason, item.detail]}  # type: ignore[union-attr]
    return {"uid": uid, "file": item.file, **skipped}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A whole clip, one that is cut off, and a command."""
    soundfile.write(tmp_path / "whole.wav", make_speech(0.5), 8000)
    data = (tmp_path / "whole.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(data[: len(data) // 2])
    lines = [f"cut {tmp_path}/cut.wav", f"missing {tmp_path}/missing.wav"]
    lines += [f"pipe cat {tmp_path}/missing.wav |", f"whole {tmp_path}/whole.wav"]
    (tmp_path / "wav.scp").write_text("".join(f"{line}\n" for line in lines))
    return tmp_path


def test_what_changed_or_was_mended_is_found(files: Path) -> None:
    pool = pool_of(files / "wav.scp")
    entries = [entry_of(pool, uid) for uid in pool.keys]
    reasons = [e["skipped"][0] for e in entries if "skipped" in e]
    assert reasons == ["truncated_audio", "unreadable_audio", "failed_pipe"]
    assert not find_again(entries, pool)
    whole = (files / "whole.wav").read_bytes()
    for name in ("cut.wav", "missing.wav"):
        (files / name).write_bytes(whole)
    os.utime(files / "whole.wav", ns=(0, 0))
    found = find_again(entries, pool)
    # Of the missing file no state was known; of the command none ever is.
    assert (found.changed, found.mended) == (["cut", "missing", "whole"], ["pipe"])
    assert found.describe() == (
        "3 clips scored again, whose files changed, 1 that could not be read before, e.g. 'cut'"
    )


def test_a_score_outlives_its_file_and_journals_of_before_are_taken(files: Path) -> None:
    pool = pool_of(files / "wav.scp")
    entry = entry_of(pool, "whole")
    (files / "whole.wav").unlink()
    assert not find_again([entry, {"uid": "whole", "row": []}], pool)


def test_the_state_is_that_of_the_file_behind_an_entry(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", make_speech(0.1), 8000)
    path = tmp_path / "a.wav"
    (tmp_path / "b.ark").write_bytes(path.read_bytes())
    (tmp_path / "wav.scp").write_text(f"a {path}\nark {tmp_path}/b.ark:0\ncols {path} {path}\nno\n")
    (tmp_path / "segments").write_text("s a 0 0.1\n")
    pool = pool_of(tmp_path / "wav.scp")
    status = path.stat()
    state = f"{status.st_size} bytes, {status.st_mtime_ns} ns"
    assert pool.file_state("a") == state
    assert pool.file_state("ark").startswith(f"{status.st_size} bytes, ")
    assert (pool.file_state("no"), pool.file_state("cols")) == ("", "")
    pool.type = "multi_columns_sound"
    assert pool.file_state("cols") == f"{state}, {state}"
    data = [(str(tmp_path / "wav.scp"), "speech", "sound")]
    cut = Pool(data, ["s"], 8000, segments=tmp_path / "segments")
    assert cut.file_state("s") == f"{state}, 0.0-0.1 s, channel None"


def test_what_earlier_runs_of_a_folder_scored_is_taken_over(files: Path) -> None:
    pool = pool_of(files / "wav.scp")
    shards = [files / "before" / f"output.{job}" for job in (1, 2)]
    for shard, uids in zip(shards, (["whole", "gone"], ["pipe", "cut"]), strict=True):
        shard.mkdir(parents=True)
        write_lines(shard / "manifest.json", ['{"model": "m", "data_sha256": "old"}'])
        journal = Journal(shard / JOURNAL)
        for uid in uids:
            journal.append({**entry_of(pool, uid if uid != "gone" else "missing"), "uid": uid})
        journal.close()
    out = files / "out"
    earlier = Earlier(unfinished=shards)
    for _ in range(2):
        earlier.take_over(out, pool.keys)
        # Not what is no more, nor a command's, of which no state tells that it is the same.
        assert [e["uid"] for e in read_entries(out / JOURNAL)] == ["whole", "cut"]
    # Where there is nothing to take, nothing is left.
    empty = files / "empty"
    empty.mkdir()
    Journal(empty / JOURNAL).close()
    Earlier(unfinished=[empty]).take_over(files / "nothing", pool.keys)
    assert not (files / "nothing").exists()
    # Of the lists alone the settings may differ.
    new = {"model": "m", "data_sha256": "new", "key_file_sha256": "new"}
    earlier.check(new, "advice")
    assert (earlier.setting("model"), Earlier().setting("model")) == ("m", None)
    for named in (earlier, Earlier(like=shards)):
        with pytest.raises(ManifestError, match=r"(?s)output.1 .*model: 'm' there, 'n' now.advice"):
            named.check({**new, "model": "n"}, "advice")


def test_what_is_taken_back_counts_no_more(tmp_path: Path) -> None:
    path = tmp_path / JOURNAL
    journal = Journal(path)
    for uid in "abc":
        journal.append({"uid": uid, "row": ["1"]})
    journal.take_back(["a", "c"])
    assert journal.done == {"b"}
    journal.append({"uid": "c", "row": ["2"]})
    journal.close()
    again = Journal(path)
    assert again.done == {"b", "c"}
    assert [(e["uid"], e["row"]) for e in again.entries()] == [("b", ["1"]), ("c", ["2"])]
    again.take_back(["c"])
    again.append({"uid": "c", "row": ["3"]})
    again.close()
    assert [e["row"] for e in read_entries(path)] == [["1"], ["3"]]
    # Two jobs that do not agree are still told from one that was asked again.
    with path.open("a") as f:
        f.write(path.read_text().splitlines(keepends=True)[0])
        f.write(path.read_text().splitlines(keepends=True)[-1].replace("3", "4"))
    Journal(path).close()
    Journal(tmp_path / "other").close()
    lines = path.read_text().splitlines(keepends=True)
    (tmp_path / "other").write_text(lines[4] + lines[6])
    with pytest.raises(DataError, match="two jobs wrote here"):
        Journal(tmp_path / "other")


def test_how_many_were_done_again_is_said_once(tmp_path: Path) -> None:
    Summary(scored=3, again=2).write(tmp_path)
    total = Summary(scored=3)
    total.add_times([tmp_path])
    assert "3 utterances scored" in total.describe()
    assert "2 of them again, whose files changed or can be read now" in total.describe()
    nothing_again(tmp_path)
    total = Summary(scored=3)
    total.add_times([tmp_path])
    assert total.again == 0
    assert parse_json((tmp_path / "run.json").read_text())["scored"] == 3


@pytest.mark.slow
def test_a_shard_scores_again_what_changed_and_ends_as_if_it_had_been_so(
    load: Any, pool_dir: Path, tmp_path: Path
) -> None:
    recognizer = load("ctc_conformer")
    scp = pool_dir / "wav.scp"
    paths = read_table(scp)
    first, second, *_ = sorted(paths)
    whole = Path(paths[first]).read_bytes()
    Path(paths[first]).write_bytes(whole[: len(whole) // 2])

    def score(output_dir: Path) -> Summary:
        output_dir.mkdir(exist_ok=True)
        scorer = Scorer(
            recognizer, CTCSampleSource(size=20), {"egl": EGL()}, GradientEngine(recognizer)
        )
        return score_pool(pool_of(scp), scorer, output_dir, num_workers=0)

    def rows(output_dir: Path) -> list[dict[str, str]]:
        found = read_rows(output_dir / "scores.tsv") + read_rows(output_dir / "skipped.tsv")
        return sorted(found, key=lambda row: row["utterance"])

    out = tmp_path / "out"
    assert (score(out).scored, score(out).again) == (5, 0)
    before = rows(out)
    Path(paths[first]).write_bytes(whole)
    soundfile.write(paths[second], make_speech(0.8, seed=77), 8000)
    journal = (out / JOURNAL).read_bytes()
    summary = score(out)
    assert (summary.scored, summary.again, summary.skipped) == (6, 2, {})
    ended = {p.name: p.read_bytes() for p in out.iterdir() if p.name != "run.json"}
    # As if the pool had always been so, up to how batches are rounded.
    score(tmp_path / "fresh")
    now, fresh = rows(out), rows(tmp_path / "fresh")
    for one, other in zip(now, fresh, strict=True):
        assert one["audio_hash"] == other["audio_hash"]
        np.testing.assert_allclose(float(one["score_egl"]), float(other["score_egl"]), rtol=1e-3)
    assert [row for row in before if row["utterance"] not in (first, second)] == [
        row for row in now if row["utterance"] not in (first, second)
    ]
    # Killed wherever it was: the same bytes, and it is not taken for finished.
    added = ended[JOURNAL][len(journal) :]
    for cut in (10, added.index(b"\n") + 1, len(added) - 5):
        (out / JOURNAL).write_bytes(journal + added[:cut])
        (out / "SHA256SUMS").unlink()
        score(out)
        assert is_finished(out)
        assert {p.name: p.read_bytes() for p in out.iterdir() if p.name != "run.json"} == ended


def test_nothing_is_nothing() -> None:
    assert not Again()
    assert Again(mended=["a"]).uids == ["a"]
