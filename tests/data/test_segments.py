"""From recordings to a pool of clips: real speech, every second accounted for, whatever happens."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from speaking import RATE, spoken

from espnet_egl.bin import al_segment, al_segment_shard, main
from espnet_egl.data import jobs
from espnet_egl.data import segment_shard as shards
from espnet_egl.data.arrivals import plan_shards
from espnet_egl.data.completeness import BrokenOffError
from espnet_egl.data.kaldi import read_durations, read_segments, read_table
from espnet_egl.data.pool import Pool
from espnet_egl.data.recordings import Recordings
from espnet_egl.data.segment_shard import Piece
from espnet_egl.data.segmenting import Rules
from espnet_egl.data.shards import set_aside
from espnet_egl.errors import ManifestError, StorageError
from espnet_egl.store.tables import read_rows
from espnet_egl.types import Utterance


@pytest.fixture(scope="module")
def waves() -> dict[str, np.ndarray]:
    return {
        "call1": spoken(1, 25),
        "call2": spoken(2, 12, (0.1, 9.0)),
        "short": spoken(3, 2),
    }


@pytest.fixture
def calls(tmp_path: Path, waves: dict[str, np.ndarray]) -> Path:
    """A data directory with three recordings, of which one is short."""
    directory = tmp_path / "data" / "calls"
    directory.mkdir(parents=True)
    for name, wave in waves.items():
        soundfile.write(tmp_path / f"{name}.wav", wave, RATE)
    lines = {name: str(tmp_path / f"{name}.wav") for name in waves}
    write(directory / "wav.scp", lines)
    write(directory / "utt2spk", {"call1": "anna", "call2": "bert", "short": "anna"})
    write(directory / "utt2lang", {"call1": "de", "call2": "en", "short": "de"})
    return directory


@pytest.fixture(autouse=True)
def in_this_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards one after the other, where it is not how they are run that is tested."""
    if "as_processes" in request.fixturenames:
        return

    def run(cmd: list[str], logdir: Path, numbers: range, *_: object) -> None:
        words = cmd[cmd.index("espnet_egl.bin.al_segment_shard") + 1 :]
        for job in numbers:
            shard = [*words, "--key_file", f"{logdir}/keys.{job}.scp"]
            al_segment_shard.main([*shard, "--output_dir", f"{logdir}/output.{job}"])

    monkeypatch.setattr(jobs, "run_shards", run)


@pytest.fixture
def as_processes() -> None:
    """Shards as users run them."""


def write(path: Path, table: dict[str, str]) -> None:
    path.write_text("".join(f"{key} {value}\n" for key, value in sorted(table.items())))


def segment(data_dir: Path, output_dir: Path, *words: str) -> Path:
    args = ["--data_dir", str(data_dir), "--output_dir", str(output_dir), *words]
    return al_segment.segment(al_segment.get_parser().parse_args(args))


def check_it_adds_up(pool: Path, seconds: float) -> dict[str, float]:
    """Every second of every recording is in a clip, in silence or skipped, once."""
    spans = defaultdict(list)
    for cut in read_segments(pool / "segments").all().values():
        spans[cut.recording].append((cut.start, cut.end))
    for name in ("silence.tsv", "skipped.tsv"):
        for row in read_rows(pool / name):
            if row["end"]:
                spans[row["utterance"]].append((float(row["start"]), float(row["end"])))
    for found in spans.values():
        found.sort()
        assert found[0][0] == 0
        assert all(a[1] == b[0] for a, b in pairwise(found))
    total: dict[str, float] = json.loads((pool / "run.json").read_text())
    parts = sum(total[f"{part}_seconds"] for part in ("clip", "silence", "skipped"))
    assert parts == pytest.approx(total["seconds"], abs=1e-5)
    assert total["seconds"] == pytest.approx(seconds, abs=1e-3)
    return total


def length(waves: dict[str, np.ndarray]) -> float:
    return sum(map(len, waves.values())) / RATE


def test_recordings_become_clips_of_speech(
    calls: Path, tmp_path: Path, waves: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    pool = tmp_path / "pool"
    main.main(["segment", "--data_dir", str(calls), "--output_dir", str(pool)])
    out = capsys.readouterr()
    assert out.out == f"{pool}\n"
    assert "3 recordings, " in out.err
    total = check_it_adds_up(pool, length(waves))
    assert total["skipped"] == total["whole"] == 0
    cuts = read_segments(pool / "segments").all()
    assert total["clips"] == len(cuts) > 3
    for uid, cut in cuts.items():
        assert cut.end is not None
        assert 2 <= cut.end - cut.start <= 20
        assert uid == f"{cut.recording}-{1000 * cut.start:07.0f}-{1000 * cut.end:07.0f}"
    assert list(cuts) == sorted(cuts)
    # What was said is in clips, nearly all of it.
    sound = silent = 0.0
    for name, wave in waves.items():
        inside = np.zeros(len(wave), bool)
        for cut in cuts.values():
            if cut.recording == name:
                inside[round(cut.start * RATE) : round((cut.end or 0) * RATE)] = True
        loud = np.abs(wave) > 0.02
        sound += float((loud & inside).sum())
        silent += float((loud & ~inside).sum())
    assert silent < 0.01 * sound
    # Tables by utterance follow; the pool can be read.
    assert read_table(pool / "utt2lang") == {
        u: read_table(calls / "utt2lang")[c.recording] for u, c in cuts.items()
    }
    assert set(read_table(pool / "spk2utt")) == {"anna", "bert"}
    durations, speech = (read_durations(pool / name).all() for name in ("utt2dur", "utt2speech"))
    assert all(0 < speech[uid] <= durations[uid] for uid in cuts)
    assert sum(speech.values()) == pytest.approx(total["speech_seconds"], abs=0.01 * len(cuts))
    data = (str(pool / "wav.scp"), "speech", "sound")
    for clip in Pool([data], list(cuts), RATE, pool / "segments"):
        assert isinstance(clip, Utterance)
        assert clip.seconds == pytest.approx(durations[clip.uid], abs=1e-3)


def everything(pool: Path) -> dict[str, bytes]:
    files = (p for p in pool.iterdir() if p.is_file() and p.name != "manifest.json")
    return {p.name: p.read_bytes() for p in files}


@pytest.mark.usefixtures("as_processes")
def test_jobs_kills_and_repeats_make_no_difference(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = segment(calls, tmp_path / "one")
    two = segment(calls, tmp_path / "two", "--nj", "3")
    assert everything(one) == everything(two)
    # The journal of a killed job: a line that is cut short, and one that is not there.
    (two / "manifest.json").unlink()
    (two / "segments").unlink()
    journal = two / "logdir" / "output.1" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    segment(calls, two, "--nj", "3")
    assert everything(one) == everything(two)
    # Finished: nothing is run.
    monkeypatch.setattr(jobs, "run_shards", None)
    assert segment(calls, two) == two


@pytest.mark.usefixtures("as_processes")
def test_through_cmd_sh_it_is_the_same(calls: Path, tmp_path: Path) -> None:
    one = segment(calls, tmp_path / "one")
    run_pl = Path(__file__).parents[2] / "recipes" / "TEMPLATE" / "asr1" / "utils" / "run.pl"
    two = segment(calls, tmp_path / "two", "--nj", "2", "--cmd", f"{run_pl} --mem 4G")
    assert everything(one) == everything(two)
    assert (two / "logdir" / "al_segment.2.log").exists()


def test_what_is_short_enough_stays_whole(
    calls: Path, tmp_path: Path, waves: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = segment(calls, tmp_path / "pool", "--longer_than", "15")
    cuts = read_segments(pool / "segments").all()
    assert cuts["short"].end is None
    assert {c.recording for u, c in cuts.items() if u != "short"} == {"call1", "call2"}
    assert "short" not in read_table(pool / "utt2speech")
    total = json.loads((pool / "run.json").read_text())
    assert (total["recordings"], total["whole"]) == (2, 1)
    # Where all is, the directory itself is the pool, and headers are read once.
    assert segment(calls, tmp_path / "none", "--longer_than", "500") == calls
    assert not (tmp_path / "none" / "segments").exists()
    monkeypatch.setattr(Recordings, "seconds_of", None)
    assert segment(calls, tmp_path / "none", "--longer_than", "500") == calls
    # Tables tell, too: what asr.sh writes beside its dump, and utt2dur.
    write(calls / "utt2num_samples", {name: str(len(w)) for name, w in waves.items()})
    dumped = segment(calls, tmp_path / "dumped", "--longer_than", "15")
    assert set(read_segments(dumped / "segments").all()) == set(cuts)
    (calls / "utt2num_samples").unlink()
    write(calls / "utt2dur", {name: f"{len(w) / RATE:.3f}" for name, w in waves.items()})
    again = segment(calls, tmp_path / "again", "--longer_than", "15")
    assert set(read_segments(again / "segments").all()) == set(cuts)


def test_a_long_file_that_is_away_for_a_moment_keeps_its_clips(calls: Path, tmp_path: Path) -> None:
    words = ("--longer_than", "15")
    pool = segment(calls, tmp_path / "pool", *words)
    before = everything(pool)
    (tmp_path / "call1.wav").rename(tmp_path / "away.wav")
    segment(calls, pool, *words)
    assert everything(pool) == before
    (tmp_path / "call2.wav").unlink()
    segment(calls, pool, *words)
    assert everything(pool) == before
    # What never was cut is no long one.
    new = segment(calls, tmp_path / "new", *words)
    assert new == calls


def test_where_all_long_recordings_left_the_rest_is_whole(calls: Path, tmp_path: Path) -> None:
    words = ("--longer_than", "15")
    pool = segment(calls, tmp_path / "pool", *words)
    scp = read_table(calls / "wav.scp")
    before = everything(pool)
    write(calls / "wav.scp", {"short": scp["short"]})
    for _ in range(2):
        assert segment(calls, pool, *words) == pool
        assert read_table(pool / "segments") == {"short": "short 0.000 -1"}
    write(calls / "wav.scp", scp)
    segment(calls, pool, *words)
    assert everything(pool) == before


def test_clips_of_what_is_transcribed_are_set_aside(calls: Path, tmp_path: Path) -> None:
    """By the utterance they were cut from, which the corpus has in another place than its dump."""
    dump = tmp_path / "dump"
    dump.mkdir()
    shutil.copy(tmp_path / "call1.wav", dump / "call1.wav")
    write(dump / "wav.scp", {"call1": str(dump / "call1.wav")})
    write(calls / "segments", {"call1": "rec 100 500"})
    write(calls / "wav.scp", {"rec": str(tmp_path / "corpus.wav")})
    pool = segment(dump, tmp_path / "pool")
    cuts = read_segments(pool / "segments").all()
    pools = [dump, calls, pool]
    train = tmp_path / "train"
    train.mkdir()
    # By id: it has other audio, as a dump has.
    write(train / "wav.scp", {"call1": str(train / "call1.wav")})
    assert set_aside(list(cuts), pools, [train])[0] == []
    # By what of the corpus it has: 20 s from the beginning of the utterance.
    write(train / "wav.scp", {"rec": str(tmp_path / "corpus.wav")})
    write(train / "segments", {"t1": "rec 90 120"})
    free, aside = set_aside(list(cuts), pools, [train])
    assert free == [uid for uid, cut in cuts.items() if cut.start >= 20]
    assert aside
    assert free
    # Clips of clips are known by it, too.
    again = segment(pool, tmp_path / "again", "--max_seconds", "6", "--target_seconds", "4")
    cuts = read_segments(again / "segments").all()
    free, aside = set_aside(list(cuts), [dump, calls, again], [train])
    assert free == [uid for uid, cut in cuts.items() if cut.start >= 20]
    assert aside


def test_a_pool_stays_the_same_when_a_long_recording_comes(calls: Path, tmp_path: Path) -> None:
    words = ("--longer_than", "15")
    scp = read_table(calls / "wav.scp")
    pool, log = tmp_path / "pool", tmp_path / "log"
    write(calls / "wav.scp", {"short": scp["short"]})
    assert segment(calls, pool, *words) == calls
    assert plan_shards(calls / "wav.scp", 1, log).arrival.new == 1
    write(calls / "wav.scp", scp)
    assert segment(calls, pool, *words) == pool
    plan_shards(pool / "segments", 1, log)
    # Another pool, or another channel of it, is told before anything of it is cut.
    before = everything(pool)
    other = tmp_path / "data" / "other"
    other.mkdir()
    write(other / "wav.scp", scp)
    for data_dir, channel in ((other, "first"), (calls, "mean")):
        with pytest.raises(ManifestError, match=f"another pool: {calls}/wav.scp there, .* now"):
            segment(data_dir, pool, *words, "--channel", channel)
    assert everything(pool) == before


@pytest.mark.parametrize(
    "words", [("--longer_than", "7"), ("--score=--max_seconds", "--score=7", "--max_seconds", "15")]
)
def test_no_clip_is_longer_than_what_is_scored(
    calls: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    pool = segment(calls, tmp_path / "pool", *words)
    cuts = read_segments(pool / "segments").all().values()
    assert sum(cut.recording == "call1" for cut in cuts) > 3
    assert max((cut.end or 0) - cut.start for cut in cuts) <= 7


def test_rules_reach_the_shards_as_they_are(calls: Path, tmp_path: Path) -> None:
    """They were rounded to six digits, and the finished shards refused."""
    pool = segment(calls, tmp_path / "pool", "--max_seconds", "15.4321987")
    (pool / "manifest.json").unlink()
    assert segment(calls, pool, "--max_seconds", "15.4321987") == pool


def test_a_clip_takes_no_name_that_an_utterance_has(calls: Path, tmp_path: Path) -> None:
    words = ("--longer_than", "15")
    before = read_table(segment(calls, tmp_path / "before", *words) / "segments")
    first = min(before)
    scp = read_table(calls / "wav.scp")
    write(calls / "wav.scp", {**scp, first: scp["short"]})
    after = read_table(segment(calls, tmp_path / "after", *words) / "segments")
    assert after.pop(first) == f"{first} 0.000 -1"
    assert after.pop(f"{first}_") == before.pop(first)
    assert after == before


def test_lengths_of_commands_are_not_asked_for(calls: Path, tmp_path: Path) -> None:
    scp = read_table(calls / "wav.scp")
    write(calls / "wav.scp", {**scp, "call2": f"touch {tmp_path}/run; cat {scp['call2']} |"})
    pool = segment(calls, tmp_path / "pool", "--longer_than", "15")
    assert read_segments(pool / "segments").all()["call2"].end is None
    assert not (tmp_path / "run").exists()
    assert segment(calls, tmp_path / "all") != calls
    assert "call2" not in read_segments(tmp_path / "all" / "segments").all()


def test_pieces_and_channels_are_cut_by_themselves(
    calls: Path, tmp_path: Path, waves: dict[str, np.ndarray]
) -> None:
    wave = waves["call1"]
    other = np.roll(wave, 3 * RATE)
    soundfile.write(tmp_path / "call1.wav", np.stack([wave, other], 1), RATE)
    pool = segment(calls, tmp_path / "each", "--channel", "each")
    cuts = read_segments(pool / "segments").all()
    first = {u: c for u, c in cuts.items() if c.channel == 0 and c.recording == "call1"}
    second = {u: c for u, c in cuts.items() if c.channel == 1}
    assert first
    assert second
    assert all(uid.startswith("call1-ch2-0") for uid in second)
    assert {read_table(pool / "utt2spk")[uid] for uid in second} == {"anna-ch2"}
    assert {read_table(pool / "utt2file_and_channel")[uid] for uid in second} == {"call1 B"}
    alone = segment(calls, tmp_path / "first")
    times = {
        (c.start, c.end)
        for c in read_segments(alone / "segments").all().values()
        if c.recording == "call1"
    }
    assert {(c.start, c.end) for c in first.values()} == times
    # A piece of a recording: times are of the recording.
    write(calls / "segments", {"p-a": "call1 4.5 30.25 1", "p-b": "call2 0 8", "p-c": "call9 0 8"})
    write(calls / "utt2spk", {"p-a": "anna", "p-b": "bert", "p-c": "bert"})
    pool = segment(calls, tmp_path / "pieces")
    cuts = read_segments(pool / "segments").all()
    of = [c for c in cuts.values() if c.recording == "call1"]
    assert min(c.start for c in of) >= 4.5
    assert max(c.end or 0 for c in of) <= 30.25
    assert {c.channel for c in of} == {1}
    (row,) = read_rows(pool / "skipped.tsv")
    assert (row["utterance"], row["reason"], row["seconds"]) == (
        "p-c",
        "missing_recording",
        "8.000000",
    )
    total = json.loads((pool / "run.json").read_text())
    assert total["seconds"] == pytest.approx(25.75 + 8 + 8)


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_of_a_recording_that_breaks_off_the_beginning_is_cut(
    calls: Path, tmp_path: Path, waves: dict[str, np.ndarray], suffix: str
) -> None:
    path = tmp_path / f"half.{suffix}"
    soundfile.write(path, waves["call1"], RATE)
    halved(path)
    write(calls / "wav.scp", {**read_table(calls / "wav.scp"), "call1": str(path)})
    pool = segment(calls, tmp_path / "pool")
    (row,) = read_rows(pool / "skipped.tsv")
    assert (row["utterance"], row["reason"]) == ("call1", "truncated_audio")
    whole = len(waves["call1"]) / RATE
    assert 0.3 * whole < float(row["start"]) < 0.6 * whole
    if suffix == "ogg":  # nobody can tell how much is missing
        assert row["end"] == ""
    else:
        assert float(row["end"]) == pytest.approx(whole, abs=0.3)
        check_it_adds_up(pool, length(waves) - whole + float(row["end"]))
    cuts = read_segments(pool / "segments").all()
    ends = [c.end or 0 for c in cuts.values() if c.recording == "call1"]
    assert len(ends) > 1
    assert max(ends) <= float(row["start"]) + 1e-3
    # Those clips can be scored.
    keys = [u for u, c in cuts.items() if c.recording == "call1"]
    data = (str(pool / "wav.scp"), "speech", "sound")
    assert all(isinstance(c, Utterance) for c in Pool([data], keys, RATE, pool / "segments"))


def test_what_cannot_be_read_is_listed_and_read_when_it_is_there(
    calls: Path, tmp_path: Path, waves: dict[str, np.ndarray]
) -> None:
    (tmp_path / "call2.wav").rename(tmp_path / "away.wav")
    (calls / "wav.scp").write_text((calls / "wav.scp").read_text() + "twice a\ntwice b\n")
    pool = segment(calls, tmp_path / "pool")
    listed = {row["utterance"]: row["reason"] for row in read_rows(pool / "skipped.tsv")}
    assert listed == {"call2": "unreadable_audio", "twice": "bad_line"}
    assert json.loads((pool / "run.json").read_text())["unknown"] == 2
    (tmp_path / "away.wav").rename(tmp_path / "call2.wav")
    segment(calls, pool)
    assert [row["utterance"] for row in read_rows(pool / "skipped.tsv")] == ["twice"]
    before = everything(pool)
    # A disk that is gone takes nothing with it.
    (tmp_path / "call2.wav").rename(tmp_path / "away.wav")
    segment(calls, pool)
    assert everything(pool) == before
    # Another file under the same name is another recording.
    soundfile.write(tmp_path / "call2.wav", waves["short"], RATE)
    segment(calls, pool)
    ends = [
        c.end for c in read_segments(pool / "segments").all().values() if c.recording == "call2"
    ]
    assert max(ends) <= len(waves["short"]) / RATE + 1e-3


def test_new_recordings_are_cut_and_the_others_are_not_cut_again(
    calls: Path,
    tmp_path: Path,
    waves: dict[str, np.ndarray],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    pool = segment(calls, tmp_path / "pool")
    before = read_table(pool / "segments")
    soundfile.write(tmp_path / "new.wav", waves["call2"], RATE)
    write(calls / "wav.scp", {**read_table(calls / "wav.scp"), "new": str(tmp_path / "new.wav")})
    segment(calls, pool)
    after = read_table(pool / "segments")
    assert {u: line for u, line in after.items() if not u.startswith("new")} == before
    assert len(after) > len(before)
    assert "Resuming: done are 3 of 4 recordings" in caplog.text
    assert not list(pool.glob("logdir.*"))


def test_other_rules_are_refused(
    calls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = segment(calls, tmp_path / "pool")
    before = everything(pool)
    with pytest.raises(SystemExit):
        al_segment.main(
            ["--data_dir", str(calls), "--output_dir", str(pool), "--max_seconds", "15"]
        )
    assert "max_seconds: 20.0 there, 15.0 now" in capsys.readouterr().err
    assert everything(pool) == before


def test_a_disk_that_is_gone_is_no_pool_of_broken_recordings(tmp_path: Path) -> None:
    from espnet_egl.data.kaldi import Segment

    pieces = {
        f"r{i}": Piece(f"r{i}", f"{tmp_path}/r{i}.wav", Segment(f"r{i}", 0, None))
        for i in range(12)
    }
    with pytest.raises(StorageError, match="none of 12 recordings can be read"):
        shards.segment_shard(pieces, tmp_path / "out", Rules(), Recordings())
    assert (tmp_path / "out" / "journal.jsonl").read_bytes() == b""


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
def test_a_recording_is_walked_through_in_blocks(tmp_path: Path, suffix: str) -> None:
    draw = np.random.default_rng(0)
    wave = (0.1 * draw.standard_normal(20 * 44100)).astype(np.float32)
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, wave, 44100)
    whole, _ = Recordings().read(str(path))
    blocks = list(Recordings().walk(str(path)))
    assert len(blocks) > 10
    np.testing.assert_array_equal(np.concatenate([b for b, _ in blocks]), whole)
    part = np.concatenate([b for b, _ in Recordings().walk(str(path), 3.25, 7.5)])
    read, _ = Recordings().read(str(path), 3.25, 7.5)
    np.testing.assert_allclose(part, read, atol=1e-3)


def test_floats_at_the_scale_of_integers_are_walked_through_at_one_scale(tmp_path: Path) -> None:
    """The first block is so quiet that it alone does not tell."""
    wave = np.concatenate([np.ones(1 << 17), 20000 * np.ones(1 << 17)]).astype(np.float32)
    path = tmp_path / "a.wav"
    soundfile.write(path, wave, RATE, subtype="FLOAT")
    found = np.concatenate([b for b, _ in Recordings().walk(str(path))])[:, 0]
    np.testing.assert_allclose(found, wave / 2**15)


def test_the_rest_of_what_breaks_off_is_known(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(10 * RATE), RATE)
    path.write_bytes(path.read_bytes()[: 44 + 2 * 4 * RATE])
    blocks = Recordings().walk(str(path))
    assert len(next(blocks)[0]) == 4 * RATE
    with pytest.raises(BrokenOffError, match="truncated_audio") as e:
        next(blocks)
    assert e.value.missing == pytest.approx(6, abs=0.01)
