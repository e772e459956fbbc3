"""Which shards score a pool, and what of it is scored when it grew, shrank or changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_egl.data.arrivals import Plan, plan_shards
from espnet_egl.data.kaldi import read_table
from espnet_egl.data.split import check_split, read_split
from espnet_egl.data.states import states_of
from espnet_egl.errors import DataError, ManifestError
from espnet_egl.store.files import CHECKSUMS, hold, lock, parse_json, write_checksums
from espnet_egl.store.tables import BASE_COLUMNS, SKIPPED_COLUMNS, read_rows, write_rows


def write(path: Path, rows: dict[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{k} {v}\n" for k, v in rows.items()))
    return path


def seven(directory: Path) -> Path:
    return write(directory / "wav.scp", {f"u{i}": f"{i}.wav" for i in range(7)})


def keys_of(logdir: Path, number: int) -> list[str]:
    return list(read_table(logdir / f"keys.{number}.scp"))


def finish(logdir: Path, plan: Plan, unread: str = "") -> None:
    """As al_score leaves a shard, but for its scores."""
    for number in plan.jobs:
        output = logdir / f"output.{number}"
        output.mkdir(exist_ok=True)
        keys = keys_of(logdir, number)
        rows = [[u, *("1",) * (len(BASE_COLUMNS) - 1), f"hash of {u}"] for u in keys if u != unread]
        write_rows(output / "scores.tsv", [*BASE_COLUMNS, "audio_hash"], rows)
        skipped = [[u, "unreadable_audio", "gone"] for u in keys if u == unread]
        write_rows(output / "skipped.tsv", SKIPPED_COLUMNS, skipped)
        write_checksums(output, ["scores.tsv", "skipped.tsv"])


@pytest.mark.parametrize(("nj", "expected"), [(1, 1), (3, 3), (100, 7)])
def test_every_utterance_is_in_one_shard(tmp_path: Path, nj: int, expected: int) -> None:
    pool = seven(tmp_path)
    assert plan_shards(pool, nj, tmp_path / "log").jobs == range(1, expected + 1)
    lines = [
        line
        for job in range(1, expected + 1)
        for line in (tmp_path / f"log/keys.{job}.scp").read_text().splitlines()
    ]
    assert lines == pool.read_text().splitlines()
    assert not (tmp_path / f"log/keys.{expected + 1}.scp").exists()


def test_a_list_keeps_its_shards_whatever_nj_says(tmp_path: Path) -> None:
    pool = seven(tmp_path)
    assert plan_shards(pool, 3, tmp_path / "log").jobs == range(1, 4)
    before = {p.name: p.read_bytes() for p in (tmp_path / "log").iterdir()}
    assert plan_shards(pool, 5, tmp_path / "log").jobs == range(1, 4)
    assert {p.name: p.read_bytes() for p in (tmp_path / "log").iterdir()} == before
    # What is finished is looked at by one job: are the options still the same?
    finish(tmp_path / "log", plan_shards(pool, 3, tmp_path / "log"))
    assert len(plan_shards(pool, 3, tmp_path / "log").jobs) == 1


def test_another_pool_is_refused_by_its_place_and_by_its_channel(tmp_path: Path) -> None:
    pool = seven(tmp_path / "one")
    write(tmp_path / "one" / "manifest.json", {"{": '"channel": "each"}'})
    plan_shards(pool, 3, tmp_path / "log")
    write(tmp_path / "one" / "manifest.json", {"{": '"channel": "mean"}'})
    for other in (pool, seven(tmp_path / "two")):
        with pytest.raises(ManifestError, match=r"made for another pool: .*each there, .* now"):
            plan_shards(other, 3, tmp_path / "log")


def test_what_arrives_gets_shards_of_its_own(tmp_path: Path) -> None:
    logdir = tmp_path / "log"
    pool = seven(tmp_path)
    first = plan_shards(pool, 2, logdir)
    assert first.arrival.describe() == "0 known, 7 new, 0 changed, 0 gone"
    finish(logdir, first)
    paths = [p for n in (1, 2) for p in logdir.rglob(f"*.{n}*") if p.is_file()]
    old = {p: p.read_bytes() for p in [*paths, *logdir.glob("output.*/*")]}
    rows = {f"u{i}": f"{i}.wav" for i in range(6)} | {"new": "n.wav", "u2": "other.wav"}
    plan = plan_shards(write(pool, rows), 2, logdir)
    assert plan.arrival.describe() == "5 known, 1 new, 1 changed, 1 gone"
    # So few clips are not worth a second process, which loads a model.
    assert (plan.jobs, keys_of(logdir, 3)) == (range(3, 4), ["new", "u2"])
    assert {p: p.read_bytes() for p in old} == old
    (gone,) = read_rows(logdir / "gone.tsv")
    assert (gone["utterance"], gone["reason"]) == ("u6", "gone")
    assert gone["detail"] == f"not in {pool} since {plan.arrival.when}"
    # What is new may be old under another name: the audio will tell.
    earlier = parse_json((logdir / "earlier.json").read_text())
    assert earlier["like"] == [str(logdir / "output.1")]
    assert sorted(uid for uid, _ in earlier["audio"].values()) == ["u2", "u6"]
    # Killed, and the same again: the same.
    assert plan_shards(pool, 2, logdir) == plan
    finish(logdir, plan)
    # What comes back is known, what goes is gone.
    rows = {"u6": "6.wav", "u5": "5.wav", "u2": "other.wav"}
    plan = plan_shards(write(pool, rows), 2, logdir)
    assert plan.arrival.describe() == "3 known, 0 new, 0 changed, 5 gone"
    assert [row["utterance"] for row in read_rows(logdir / "gone.tsv")] == [
        *("new", "u0", "u1", "u3", "u4")
    ]
    split = read_split(logdir)
    assert split is not None
    assert split.live == check_split(logdir) == [1, 2, 3]
    assert [a.describe()[:7] for a in split.arrivals] == ["0 known", "5 known", "3 known"]


def test_unfinished_shards_of_a_pool_that_grew_are_planned_anew(tmp_path: Path) -> None:
    logdir = tmp_path / "log"
    pool = seven(tmp_path)
    first = plan_shards(pool, 2, logdir)
    finish(logdir, Plan(1, 1, first.arrival))
    late = keys_of(logdir, 2)
    (logdir / "output.2").mkdir()
    journal = logdir / "output.2" / "journal.jsonl"
    write(pool, read_table(pool) | {"new": "n.wav"})
    with journal.open("w") as f:
        hold(f, "journal")
        with pytest.raises(DataError, match="is being written by another process"):
            plan_shards(pool, 2, logdir)
    plan = plan_shards(pool, 2, logdir)
    assert plan.jobs == range(3, 4)
    assert keys_of(logdir, 3) == ["new", *late]
    # A job that waited for its turn finds no keys.
    assert not (logdir / "keys.2.scp").exists()
    earlier = parse_json((logdir / "earlier.json").read_text())
    assert earlier["unfinished"] == [str(logdir / "output.2")]
    assert check_split(logdir) == [1, 3]
    # Once more before anything was done: what the second has is still taken.
    write(pool, read_table(pool) | {"newer": "m.wav"})
    plan_shards(pool, 2, logdir)
    earlier = parse_json((logdir / "earlier.json").read_text())
    assert earlier["unfinished"] == [str(logdir / "output.2")]
    assert check_split(logdir) == [1, 4]


def test_files_that_changed_are_seen_without_being_read(tmp_path: Path) -> None:
    logdir = tmp_path / "log"
    for name in "abc":
        (tmp_path / f"{name}.wav").write_text("audio")
    rows = {name: f"{tmp_path}/{name}.wav" for name in "abc"} | {"d": "cat x |", "e": "none"}
    pool = write(tmp_path / "wav.scp", rows)
    finish(logdir, plan_shards(pool, 1, logdir), unread="e")
    # The list is the same: its own shard sees to it, also to what could not be read.
    for _ in range(2):
        (tmp_path / "a.wav").write_text("other audio")
        plan = plan_shards(pool, 1, logdir)
        assert (plan.jobs, plan.arrival.changed) == (range(1, 2), 1)
        assert not (logdir / "output.1" / CHECKSUMS).exists()
        # Noted: once it is done, nothing has changed.
        finish(logdir, plan, unread="e")
        assert plan_shards(pool, 1, logdir).arrival.changed == 0
        os.utime(tmp_path / "a.wav", ns=(0, 0))
    (tmp_path / "a.wav").write_text("x")
    assert plan_shards(pool, 1, logdir).arrival.changed == 1
    finish(logdir, plan_shards(pool, 1, logdir), unread="e")
    # Another list: what changed, and what may be readable now, gets a shard; what is gone from the
    # disk, or a command, is as it was.
    (tmp_path / "b.wav").write_text("other audio")
    (tmp_path / "c.wav").unlink()
    write(pool, rows | {"new": "n.wav"})
    plan = plan_shards(pool, 1, logdir)
    assert plan.arrival.describe() == "4 known, 1 new, 1 changed, 0 gone"
    assert keys_of(logdir, 2) == ["b", "e", "new"]
    finish(logdir, plan)
    write(pool, rows | {"new": "n.wav", "d": "cat y |"})
    assert plan_shards(pool, 1, logdir).arrival.changed == 1


def test_the_state_is_of_every_file_of_an_entry(tmp_path: Path) -> None:
    for name in ("a", "b", "a b", "c.ark"):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, ns=(7, 7))
    home = tmp_path
    entries = {f"{home}/a": "1:7", f"{home}/a b": "3:7", f"{home}/c.ark:12": "5:7"}
    entries |= {f"{home}/a {home}/b": "1:7+1:7", f"{home}/c.ark:1 {home}/b": "5:7+1:7"}
    # Of one that is gone nothing tells, nor of a command.
    entries |= dict.fromkeys((f"{home}/a {home}/gone", f"{home}/gone", f"cat {home}/a |"), "")
    found = states_of(home / "wav.scp", {entry: entry for entry in entries})
    assert {entry: state.file for entry, state in found.items()} == entries


def test_segments_change_with_their_recordings(tmp_path: Path) -> None:
    logdir = tmp_path / "log"
    write(tmp_path / "wav.scp", {"r": "cat a |", "s": "cat b |"})
    rows = {"r1": "r 0 1", "r2": "r 1 2", "s1": "s 0 1"}
    segments = write(tmp_path / "segments", rows)
    finish(logdir, plan_shards(segments, 1, logdir))
    write(tmp_path / "wav.scp", {"r": "cat a |", "s": "cat c |"})
    write(segments, rows | {"r2": "r 1 3"})
    plan = plan_shards(segments, 1, logdir)
    assert plan.arrival.describe() == "1 known, 0 new, 2 changed, 0 gone"
    assert keys_of(logdir, 2) == ["r2", "s1"]


def test_what_is_transcribed_by_now_is_set_aside(tmp_path: Path) -> None:
    logdir = tmp_path / "log"
    pool = seven(tmp_path / "pool")
    finish(logdir, plan_shards(pool, 1, logdir, [pool.parent]))
    write(tmp_path / "train" / "wav.scp", {"u1": "x.wav", "t": "2.wav"})
    plan = plan_shards(pool, 1, logdir, [pool.parent], [tmp_path / "train"])
    assert plan.arrival.describe() == "7 known, 0 new, 0 changed, 0 gone"
    aside = [(row["utterance"], row["reason"]) for row in read_rows(logdir / "skipped.tsv")]
    assert aside == [("u1", "already_transcribed"), ("u2", "already_transcribed")]
    # Whatever else happens, and however often it is planned.
    write(pool, read_table(pool) | {"new": "n.wav"})
    for _ in range(2):
        plan_shards(pool, 1, logdir, [pool.parent], [tmp_path / "train"])
        listed = [row["utterance"] for row in read_rows(logdir / "skipped.tsv")]
        assert listed == ["u1", "u2"]
    assert keys_of(logdir, 2) == ["new"]
    # Given up again, it is still scored.
    plan_shards(pool, 1, logdir, [pool.parent])
    assert read_rows(logdir / "skipped.tsv") == []


def test_no_utterance_is_lost_from_a_split_unseen(tmp_path: Path) -> None:
    pool, logdir = seven(tmp_path), tmp_path / "log"
    assert plan_shards(pool, 3, logdir).jobs == range(1, 4)
    with pytest.raises(DataError, match="has other shards than 1 to --nj 2"):
        check_split(logdir, 2)
    second = logdir / "keys.2.scp"
    for number, damage in (
        (4, lambda: second.write_text(second.read_text().split("\n")[0] + "\n")),
        (5, (logdir / "keys.4.scp").unlink),
    ):
        damage()
        with pytest.raises(DataError, match=r"keys\..\.scp is not what was written"):
            check_split(logdir)
        # Stage 20, run again, plans anew what was in it.
        plan_shards(pool, 2, logdir)
        live = check_split(logdir)
        assert live[-1] == number
        assert sorted(u for n in live for u in keys_of(logdir, n)) == list(read_table(pool))


def test_a_plan_that_was_damaged_is_refused(tmp_path: Path) -> None:
    pool, logdir = seven(tmp_path), tmp_path / "log"
    plan_shards(pool, 3, logdir)
    (logdir / "split").write_text("3\nabc\n")
    with pytest.raises(ManifestError, match="of an earlier one, or damaged"):
        plan_shards(pool, 3, logdir)


def test_two_plans_at_a_time_are_told_apart(tmp_path: Path) -> None:
    pool = seven(tmp_path)
    (tmp_path / "log").mkdir()
    with (
        lock(tmp_path / "log" / "lock"),
        pytest.raises(DataError, match="is being written by another process"),
    ):
        plan_shards(pool, 3, tmp_path / "log")


def test_nothing_to_score_is_an_error(tmp_path: Path) -> None:
    pool = write(tmp_path / "wav.scp", {})
    with pytest.raises(DataError, match="the pool is empty"):
        plan_shards(pool, 1, tmp_path / "log")
    write(pool, {"a": "1.wav"})
    with pytest.raises(DataError, match="transcribed already"):
        plan_shards(pool, 1, tmp_path / "log", exclude_dirs=[tmp_path])


def test_an_id_that_stands_twice_is_listed_and_the_others_are_scored(tmp_path: Path) -> None:
    scp = tmp_path / "pool" / "wav.scp"
    scp.parent.mkdir()
    scp.write_text("a a.wav\nb b.wav\nb c.wav\n\nd d.wav\n")
    assert plan_shards(scp, 1, tmp_path / "log", [scp.parent]).jobs == range(1, 2)
    assert (tmp_path / "log" / "keys.1.scp").read_text() == "a a.wav\nd d.wav\n"
    (row,) = read_rows(tmp_path / "log" / "skipped.tsv")
    assert (row["utterance"], row["reason"]) == ("b", "bad_line")
    assert row["detail"].endswith("wav.scp:3: 'b' stands twice; keep one of its lines")


LISTS = st.lists(
    st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(["1", "2"]), min_size=1),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(LISTS, st.data())
def test_whatever_comes_and_goes_every_clip_has_a_shard_of_its_line(
    tmp_path_factory: pytest.TempPathFactory, lists: list[dict[str, str]], data: st.DataObject
) -> None:
    home = tmp_path_factory.mktemp("grows")
    for rows in lists:
        pool = write(home / "wav.scp", rows)
        plan = plan_shards(pool, data.draw(st.integers(1, 3)), home / "log")
        owned: dict[str, str] = {}
        for number in check_split(home / "log"):
            owned |= read_table(home / "log" / f"keys.{number}.scp")
        gone = {row["utterance"] for row in read_rows(home / "log" / "gone.tsv")}
        assert {uid: line for uid, line in owned.items() if uid not in gone} == rows
        done = data.draw(st.integers(0, len(plan.jobs)))
        finish(home / "log", Plan(plan.first, plan.first + done - 1, plan.arrival))
