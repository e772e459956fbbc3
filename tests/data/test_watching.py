"""How far jobs are, by their journals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_egl.data import watching
from espnet_egl.data.watching import Progress, end_of, watch
from espnet_egl.store.journal import JOURNAL, Journal


@pytest.fixture
def logdir(tmp_path: Path) -> Path:
    """Two jobs, of three keys and of one."""
    (tmp_path / "keys.1.scp").write_text("a a\nb b\nc c\n")
    (tmp_path / "keys.2.scp").write_text("d d\n")
    return tmp_path


def write(logdir: Path, job: int, *uids: str) -> Journal:
    directory = logdir / f"output.{job}"
    directory.mkdir(exist_ok=True)
    journal = Journal(directory / JOURNAL)
    for uid in uids:
        journal.append({"uid": uid})
    return journal


WAITING = "; jobs wait for their turn, or load the model"


def test_keys_and_jobs_that_are_done_are_counted(
    logdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(watching.time, "monotonic", lambda: now)
    write(logdir, 2, "d").close()
    progress = Progress(logdir, range(1, 3))
    assert progress.describe() == f"1 of 4 utterances, 1 of 2 jobs done{WAITING}"
    now += 60  # the model is loaded: no time of the rest
    assert progress.describe() == f"1 of 4 utterances, 1 of 2 jobs done{WAITING}"
    now += 10
    write(logdir, 1, "a").close()
    progress.look()
    assert progress.describe() == "2 of 4 utterances, 1 of 2 jobs done, 0.1/s, 20 s left"
    now += 10
    write(logdir, 1, "b", "c").close()
    progress.look()
    assert progress.describe() == "4 of 4 utterances, 2 of 2 jobs done"


def test_what_is_taken_back_or_half_written_does_not_count(logdir: Path) -> None:
    journal = write(logdir, 1, "a", "b")
    journal.take_back(["a", "b"])
    journal.append({"uid": "a"})
    journal.close()
    with journal.path.open("ab") as f:
        f.write(b'{"uid": "c", ')
    progress = Progress(logdir, [1], "recording")
    assert progress.describe() == f"1 of 3 recordings{WAITING}"
    with journal.path.open("ab") as f:
        f.write(b'"crc": "0"}\n')
    progress.look()
    assert progress.describe().startswith("2 of 3 recordings")


def test_in_a_log_every_look_is_a_line(logdir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    waited = []

    def over(seconds: float) -> bool:
        waited.append(seconds)
        write(logdir, 1, "abc"[len(waited) - 1]).close()
        return False

    watch(Progress(logdir, [1]), over)
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"{n} of 3 utterances" for n in (1, 2, 3)]
    assert waited == [watching.IN_LOG] * 3


def test_it_ends_with_the_process_that_asked_for_it() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    assert end_of(child.pid)(60)
    assert not end_of(os.getpid())(0)
