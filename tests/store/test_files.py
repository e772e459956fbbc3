"""A file is the old one or the new one; who writes where is told; a full disk is a message."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from espnet_egl import options
from espnet_egl.errors import DataError, StorageError
from espnet_egl.store import files
from espnet_egl.store.files import atomic_open, atomic_path, hold, lock, write_lines


def test_what_fails_midway_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "table"
    write_lines(path, ["old"])
    with pytest.raises(ZeroDivisionError):
        write_lines(path, (str(1 / number) for number in (1, 0)))
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old\n"]


def test_a_full_disk_is_a_message_and_the_old_file_stays(tmp_path: Path) -> None:
    """/dev/full refuses every byte as a full disk does."""
    path = tmp_path / "table"
    write_lines(path, ["old"])

    def write() -> None:
        with atomic_open(path) as f, Path("/dev/full").open("w") as full:
            f.write("new")
            os.dup2(full.fileno(), f.fileno())

    with pytest.raises(StorageError, match=r"table cannot be written: No space left .*make room"):
        write()
    assert path.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_librarys_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "table"
    with atomic_path(path) as temporary:
        temporary.write_text("old")

    def write() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StorageError, match=r"table cannot be written: No space left .*make room"):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_the_block_lacks_is_not_blamed_on_the_one_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_open(tmp_path / "table"):
        Path("/elsewhere/missing").read_bytes()


def test_a_directory_that_cannot_be_made_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/below/table cannot be written: Not a directory"):
        write_lines(tmp_path / "file" / "below" / "table", ["x"])


HOLDER = """
import sys, time
from espnet_egl.store.files import lock
with lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_names_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DataError) as e, lock(path):
            pass
        assert f"{path} is being written by another process" in str(e.value)
        # The kernel tells, where it shows its locks.
        if Path("/proc/locks").exists() and str(holder.pid) in Path("/proc/locks").read_text():
            assert f"process {holder.pid} on this machine" in str(e.value)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with lock(path):
        pass


def test_a_disk_without_locks_gets_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As Lustre mounted without flock, or NFS without its lock daemon."""

    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    with caplog.at_level(logging.WARNING), (tmp_path / "lock").open("w") as f:
        hold(f, tmp_path / "lock")
    assert "cannot be locked (No locks available)" in caplog.text


# ---- what a command says ----


def ended(function: Any, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as e:
        options.run(options.make_parser("al_x", ""), function, [])
    return int(str(e.value.code)), capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "make room on that disk"),
        (errno.EROFS, "mount it for writing"),
        (errno.EACCES, "set its permissions"),
        (errno.ESTALE, "network disk"),
        (errno.EBUSY, "mend that"),
    ],
)
def test_errors_of_the_system_are_one_line(
    number: int, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Any) -> None:
        raise OSError(number, os.strerror(number), "/data/x")

    code, message = ended(fail, capsys)
    assert code == 1
    assert message.startswith(f"al_x: error: /data/x: {os.strerror(number)}; ")
    assert advice in message
    assert message.endswith("run the same command again: what is done is kept")


def test_a_scheduler_ends_a_command_with_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    closed = []

    def work(_: Any) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            closed.append(True)

    before = signal.getsignal(signal.SIGTERM)
    code, message = ended(work, capsys)
    assert code == 128 + signal.SIGTERM
    assert "ended by SIGTERM" in message
    assert closed
    assert signal.getsignal(signal.SIGTERM) is before
