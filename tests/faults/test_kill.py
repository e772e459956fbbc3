"""Stages 20-26 killed at random moments, then the same command again: the same in the end.

    FAULTS_SEED=7 FAULTS_KILLS=40 pytest -m faults tests/faults

The moments are drawn by a seed; what they hit differs with the machine, which is the point.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from conftest import make_speech
from speaking import spoken
from test_loop import (  # noqa: F401 - fixtures
    SIMULATION,
    TEMPLATE,
    command,
    environment,
    recipe,
    trained,
)

from espnet_egl.data.kaldi import read_table
from espnet_egl.loop.shared_ledger import SharedLedger

pytestmark = pytest.mark.faults

SEED = int(os.environ.get("FAULTS_SEED", "1"))
KILLS = int(os.environ.get("FAULTS_KILLS", "24"))
# Clips of the pool, and about how many of them make a batch.
CLIPS, BATCH = 120, 4
# When an arrival was planned.
TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")
# How long a command may take to come to the moment, in seconds.
PATIENCE = 400


@dataclass
class Runs:
    """A command that is killed and given again.

    Attributes:
        directory: The recipe's.
        random: Draws the moments.
        log: A line for every kill: what it hit.
    """

    directory: Path
    random: random.Random
    log: list[str] = field(default_factory=list)

    def kill(self, words: list[str], moment: Callable[[], bool], delay: float, name: str) -> bool:
        """Start, wait for ``moment`` and up to ``delay`` seconds more, and kill all of it.

        Returns:
            Whether it was killed: False if it had ended before.
        """
        number = self.random.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        delay *= self.random.random()
        process = subprocess.Popen(
            words, cwd=self.directory, env=environment(), start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        end = time.monotonic() + PATIENCE
        while process.poll() is None and not moment():
            assert time.monotonic() < end, name
            time.sleep(0.01)
        time.sleep(delay)
        alive = process.poll() is None
        while group_lives(process.pid):
            os.killpg(process.pid, number)
            process.poll()
            time.sleep(0.05)
        process.wait()
        self.log.append(f"{name} {number.name} {'' if alive else '(had ended)'}")
        return alive

    def finish(self, words: list[str]) -> str:
        """To its end, undisturbed."""
        done = subprocess.run(
            words, cwd=self.directory, env=environment(), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, "\n".join(self.log) + done.stdout + done.stderr
        return done.stdout


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def contents(home: Path) -> dict[str, bytes]:
    """Every file's bytes, but for logs, times, and what a kill left of a file half written."""
    return {
        str(path.relative_to(home)): TIME.sub(
            b"TIME", path.read_bytes().replace(home.name.encode(), b"HOME")
        )
        for path in sorted(home.rglob("*"))
        if path.is_file()
        and path.suffix not in (".log", ".tmp", ".args")
        and path.name != "run.json"
    }


@pytest.fixture
def scoring_recipe(tmp_path: Path, model_files: Any) -> Path:
    """A recipe whose pool takes a while to score, with its transcripts."""
    directory = tmp_path / "recipes" / "corpus" / "asr1"
    pool = directory / "data" / "pool"
    pool.mkdir(parents=True)
    for name in ("al.sh", "asr.sh", "cmd.sh", "path.sh", "utils", "scripts"):
        (directory / name).symlink_to(TEMPLATE / name)
    lines: dict[str, list[str]] = {"wav.scp": [], "utt2spk": [], "utt2dur": [], "text": []}
    for i in range(CLIPS):
        path, seconds = tmp_path / f"u{i:03}.wav", 0.4 + 0.01 * (i % 20)
        soundfile.write(path, make_speech(seconds, seed=i), 8000)
        cells = (str(path), f"s{i % 5}", f"{seconds:.3f}", "a b c")
        for rows, cell in zip(lines.values(), cells, strict=True):
            rows.append(f"u{i:03} {cell}\n")
    for name, rows in lines.items():
        (directory / "truth" if name == "text" else pool / name).write_text("".join(rows))
    files = model_files("ctc_conformer")
    (directory / "exp" / "asr_model").mkdir(parents=True)
    for path in (files.config, files.checkpoint):
        (directory / "exp" / "asr_model" / path.name).symlink_to(path)
    tokens = directory / "data" / "token_list" / "char" / "tokens.txt"
    tokens.parent.mkdir(parents=True)
    tokens.write_text("<blank>\n<unk>\n<space>\na\nb\nc\nd\ne\n<sos/eos>\n")
    return directory


def scoring_command(tag: str, first: int, last: int) -> list[str]:
    return [
        *command("--stage", str(first), "--stop_stage", str(last), "--al_tag", tag),
        *("--asr_exp", "exp/asr_model", "--inference_asr_model", "valid.loss.best.pth"),
        *("--al_nj", "2", "--al_hyp_source", "ctc_sample", "--al_nbest", "30"),
        *("--egl_mode", "exact", "--egl_batch_bins", str(BATCH * 4500)),
        *("--al_score_args", "--log_level DEBUG", "--al_budget", "20utt", "--al_truth", "truth"),
    ]


def journal_lines(home: Path) -> int:
    paths = home.glob("r1/score/logdir/output.*/journal.jsonl")
    return sum(path.read_bytes().count(b"\n") for path in paths)


def batches(home: Path, job: int) -> list[str]:
    """The batches that a shard's last run began."""
    log = home / "r1" / "score" / "logdir" / f"al_score.{job}.log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return [line.split("DEBUG: Scoring ")[1] for line in lines if "DEBUG: Scoring " in line]


Moment = tuple[int, Callable[[], bool], float, str]


def moments(home: Path, draw: random.Random, seconds: dict[int, float]) -> Iterator[Moment]:
    """Where kills fall: stage, what to wait for, for how many seconds more, a name.

    Args:
        home: The directory of active learning.
        draw: Random numbers.
        seconds: Stage -> how long it takes undisturbed.
    """
    logdir, at_once = home / "r1" / "score" / "logdir", lambda: True
    scoring = KILLS // 3
    yield 20, at_once, 6.0, "preparing"
    for place in sorted(draw.sample(range(1, CLIPS), scoring)):
        # From what is there already: a run may have come further than planned.
        yield 20, lambda place=place: journal_lines(home) >= place, 0.2, f"scoring {place}"
    whole = [logdir / f"output.{job}" / "scores.tsv" for job in (1, 2)]
    for _ in range(KILLS // 6):
        yield 20, lambda: all(p.exists() for p in whole), 3.0, "merging"
    for stage in itertools.cycle((21, 22, 23)):
        yield stage, at_once, seconds[stage], f"stage {stage}"


def test_scoring_selecting_exporting_and_importing(scoring_recipe: Path) -> None:
    draw = random.Random(SEED)
    whole, killed = (scoring_recipe / "exp" / f"al_{tag}" for tag in ("whole0", "killed"))
    runs = Runs(scoring_recipe, draw)
    seconds = {}
    for stage in (20, 21, 22, 23):
        started = time.monotonic()
        runs.finish(scoring_command("whole0", stage, stage))
        seconds[stage] = time.monotonic() - started
    begun: dict[int, set[str]] = {1: set(), 2: set()}
    seen: dict[int, list[str]] = {}

    def look() -> None:
        for job, before in begun.items():
            now = batches(killed, job)
            if now == seen.get(job):
                continue  # killed before this shard began anew: the log is the last run's
            seen[job] = now
            assert len(now) == len(set(now))
            again = before & set(now)
            assert len(again) <= 1, f"{runs.log}: done twice by one kill: {again}"
            before |= set(now)

    count, stage = 0, 20
    for first, moment, delay, name in moments(killed, draw, seconds):
        if first > stage:
            runs.finish(scoring_command("killed", stage, first - 1))
            look() if stage == 20 else None
        stage = max(stage, first)
        count += runs.kill(scoring_command("killed", first, 23), moment, delay, name)
        look() if first == 20 else None
        if count >= KILLS or len(runs.log) > 3 * KILLS:
            break
    runs.finish(scoring_command("killed", 20, 23))
    print(f"seed {SEED}: {count} kills: " + ", ".join(runs.log))
    assert count >= KILLS
    expected = contents(whole)
    assert {"r1/score/logdir/output.1/journal.jsonl", "r1/labelled/text"} <= expected.keys()
    assert contents(killed) == expected


def arrive(home: Path, uids: Iterable[str], tmp_path: Path) -> None:
    """Put clips into the pool, whose transcripts are known."""
    pool = home / "data" / "pool"
    for i, uid in enumerate(uids):
        path = tmp_path / f"{uid}.wav"
        soundfile.write(path, make_speech(0.5 + 0.02 * (i % 9), seed=1000 + i), 8000)
        cells = {"wav.scp": str(path), "utt2spk": "new", "utt2dur": f"{0.5 + 0.02 * (i % 9):.3f}"}
        for name, cell in cells.items():
            rows = read_table(pool / name) | {uid: cell}
            (pool / name).write_text("".join(f"{u} {rows[u]}\n" for u in sorted(rows)))
        with (home / "truth").open("a") as f:
            f.write(f"{uid} a b\n")


def test_a_pool_that_grows(scoring_recipe: Path, tmp_path: Path) -> None:
    """Twice, with three budgets and a ledger; killed while it is planned, scored, joined, selected,
    handed over and taken back: the same bytes, and nothing asked twice."""
    draw = random.Random(SEED + 3)
    runs = Runs(scoring_recipe, draw)
    whole, killed = (scoring_recipe / "exp" / f"al_{tag}" for tag in ("whole0", "killed"))
    logdir = killed / "r1" / "score" / "logdir"

    def command_of(home: Path, tag: str) -> list[str]:
        name = home.name.removeprefix("al_")
        ledger = ("--al_ledger", f"ledger_{name}.tsv", "--al_select_tag", tag)
        return [*scoring_command(name, 20, 23), *ledger]

    count = 0
    for arrival, tag in enumerate(("a", "b", "c")):
        if arrival:
            arrive(scoring_recipe, (f"n{arrival}{i:02}" for i in range(30)), tmp_path)
        runs.finish(command_of(whole, tag))
        shard = logdir / f"output.{arrival + 2 if arrival else 1}"
        annotate, labelled = killed / f"r1/annotate_{tag}", killed / f"r1/labelled_{tag}"
        moments: tuple[tuple[Callable[[], bool], float, str], ...] = (
            (lambda: (logdir / "lock").exists(), 0.3, "planning"),
            (lambda p=shard: (p / "journal.jsonl").exists(), 1.0, "scoring"),  # type: ignore[misc]
            (lambda p=shard: (p / "SHA256SUMS").exists(), 2.0, "joining"),  # type: ignore[misc]
            (lambda p=annotate: p.exists(), 0.5, "handing over"),  # type: ignore[misc]
            (lambda p=labelled: p.exists(), 0.3, "taking back"),  # type: ignore[misc]
        )
        # Of the first list the kills are those of the test above.
        for moment, delay, name in moments if arrival else moments[1:2]:
            count += runs.kill(command_of(killed, tag), moment, delay, f"{name} {tag}")
        runs.finish(command_of(killed, tag))
    print(f"seed {SEED}: {count} kills: " + ", ".join(runs.log))
    assert contents(killed) == contents(whole)
    found = {}
    for home in (whole, killed):
        lines = SharedLedger(scoring_recipe / f"ledger_{home.name.removeprefix('al_')}.tsv").asked()
        found[home] = {(line.place, line.uid, line.audio_hash, line.state) for line in lines}
        assert len({line.audio_hash for line in lines}) == len(lines) == 60
        assert {line.state for line in lines} == {"labelled"}
    assert found[whole] == found[killed]


def cutting_command(home: Path, arrival: str) -> list[str]:
    tags = ("--al_tag", home.name.removeprefix("al_"), "--al_select_tag", arrival)
    return [
        *command("--stage", "20", "--stop_stage", "22", *tags, "--al_segment", "true"),
        *("--asr_exp", "exp/asr_model", "--inference_asr_model", "valid.loss.best.pth"),
        *("--al_nj", "2", "--al_effort", "quick", "--al_budget", "10utt"),
        *("--al_score_args", "--vad true"),
    ]


def test_recordings_that_are_cut(scoring_recipe: Path, tmp_path: Path) -> None:
    """Killed while recordings are cut, their clips joined and scored, then others come: the same
    bytes."""
    draw = random.Random(SEED + 4)
    runs = Runs(scoring_recipe, draw)
    pool = scoring_recipe / "data" / "pool"
    whole, killed = (scoring_recipe / "exp" / f"al_{tag}" for tag in ("whole0", "killed"))
    cut, score = killed / "pool_cut", killed / "r1" / "score"

    def record(names: Iterable[str]) -> None:
        for name in names:
            path = tmp_path / f"{name}.wav"
            soundfile.write(path, spoken(draw.randrange(1000), 60), 8000)
            for table, cell in (("wav.scp", str(path)), ("utt2spk", name)):
                with (pool / table).open("a") as f:
                    f.write(f"{name} {cell}\n")

    def cut_so_far() -> int:
        return sum(p.read_bytes().count(b"\n") for p in cut.glob("logdir/output.*/journal.jsonl"))

    def clips() -> int:
        path = cut / "segments"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    for table in ("wav.scp", "utt2spk"):
        (pool / table).write_text("")
    (pool / "utt2dur").unlink()
    count = 0
    for arrival, new in (("a", 6), ("b", 3)):
        record(f"{arrival}{i}" for i in range(new))
        before, half = clips(), new // 2
        moments: tuple[tuple[Callable[[], bool], float, str], ...] = (
            (lambda: (cut / "logdir" / "lock").exists(), 0.5, "splitting"),
            (lambda: cut_so_far() >= 1, 1.0, "cutting"),
            (lambda n=half: cut_so_far() >= n, 1.0, "cutting"),  # type: ignore[misc]
            (lambda n=new: cut_so_far() >= n, 1.0, "joining clips"),  # type: ignore[misc]
            (lambda n=before: clips() > n, 4.0, "planning"),  # type: ignore[misc]
            (lambda: any(score.glob("logdir/output.*/journal.jsonl")), 1.0, "scoring"),
        )
        for moment, delay, name in moments:
            words = cutting_command(killed, arrival)
            count += runs.kill(words, moment, delay, f"{name} {arrival}")
        for home in (killed, whole):
            runs.finish(cutting_command(home, arrival))
    print(f"seed {SEED}: {count} kills: " + ", ".join(runs.log))
    expected = contents(whole)
    assert {"pool_cut/segments", "pool_cut/silence.tsv", "r1/score/scores.tsv"} <= expected.keys()
    assert contents(killed) == expected


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)


def test_training(recipe: Path) -> None:  # noqa: F811
    """Stages 24 and 25; what was killed in its second epoch begins anew where that is asked for."""
    draw = random.Random(SEED + 1)
    runs = Runs(recipe, draw)
    pool = ["--al_method", "confidence", "--al_budget", "4utt", "--al_truth", "truth"]
    pool += ["--al_hyp_source", "ctc_sample", "--al_inference_asr_model", "2epoch.pth"]
    pool += ["--al_train_args", "--max_epoch 2 --keep_nbest_models 2", "--al_resume", "false"]
    whole, killed = (
        command("--stage", "20", "--stop_stage", "25", "--al_tag", tag, *pool)
        for tag in ("whole0", "killed")
    )
    runs.finish(whole)
    home, expected = (recipe / "exp" / f"al_{tag}" for tag in ("killed", "whole0"))
    decoding = "r1/asr/*/test/logdir/asr_inference.1.log"
    moments = (
        *("r1/asr_stats/logdir/stats.1.log", "r1/asr/train.log"),
        *("r1/asr/checkpoint.pth", decoding),
    )
    for log, delay in zip(moments, (3.0, 6.0, 0.0, 3.0), strict=True):
        assert runs.kill(killed, lambda log=log: any(home.glob(log)), delay, log)
    runs.finish(killed)
    print(f"seed {SEED}: {', '.join(runs.log)}")
    one, other = (weights(d / "r1" / "asr" / "2epoch.pth") for d in (home, expected))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    # Without the last column, the seconds of training.
    curve, undisturbed = (
        [row.rsplit("\t", 1)[0] for row in (d / "curve.tsv").read_text().splitlines()]
        for d in (home, expected)
    )
    assert curve == undisturbed


def test_a_simulation(recipe: Path) -> None:  # noqa: F811
    draw = random.Random(SEED + 2)
    runs = Runs(recipe, draw)
    words = command(*SIMULATION)
    runs.finish(words)
    home = next((recipe / "exp").glob("al_*"))
    curve = (home / "sim" / "curve.tsv").read_bytes()
    shutil.rmtree(home)
    cells = "sim/cells/*/*/*"
    for log, delay in ((f"{cells}/r1/asr/train.log", 8.0), (f"{cells}/r2/stage20.log", 20.0)):
        assert runs.kill(words, lambda log=log: any(home.glob(log)), delay, log)
    runs.finish(words)
    print(f"seed {SEED}: {', '.join(runs.log)}")
    assert (home / "sim" / "curve.tsv").read_bytes() == curve
