"""What a command in wav.scp writes: kept on the disk, in bounded time and size."""

from __future__ import annotations

import errno
import os
import selectors
import signal
import subprocess
import tempfile
import time
from typing import BinaryIO

from espnet_egl.errors import UtteranceError

# Commands get so many seconds, as --pipe_timeout has it, and may write so many bytes: ten hours of
# 16 bits at 48 kHz.
PIPE_TIMEOUT = 300.0
PIPE_BYTES = 1 << 32


def run_command(command: str, allow_pipes: bool, timeout: float) -> BinaryIO:
    """What a command writes; it and all it started are ended when its time is over.

    Args:
        command: For the shell.
        allow_pipes: Whether it is run at all.
        timeout: How long it may take, in seconds.

    Returns:
        A file without a name, which goes when it is closed: a recording of ten hours is no matter
        of memory.

    Raises:
        UtteranceError: It was not run, failed, or wrote nothing, too much or for too long.
    """
    shown = f"'{command.strip()} |'"
    if not allow_pipes:
        raise UtteranceError("pipe_not_allowed", f"{shown} was not run")
    with tempfile.TemporaryFile() as errors:
        # A command in wav.scp is run by the shell: Kaldi's convention, and the user's own data.
        process = subprocess.Popen(  # noqa: S603
            ["bash", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        written: BinaryIO = tempfile.TemporaryFile(buffering=0)  # type: ignore[assignment]  # noqa: SIM115
        try:
            size = _write_until(process, time.monotonic() + timeout, written)
        except TimeoutError:
            raise UtteranceError(
                "pipe_timeout", f"{shown} took more than --pipe_timeout {timeout:g} s"
            ) from None
        except OverflowError:
            raise UtteranceError(
                "failed_pipe", f"{shown} wrote more than {PIPE_BYTES >> 20} MiB"
            ) from None
        except OSError as e:
            raise UtteranceError(
                "failed_pipe",
                f"{shown}: what it writes cannot be kept in {tempfile.gettempdir()}: {e}",
            ) from e
        finally:
            _end(process)
        errors.seek(0)
        last_line = (errors.read(1 << 16).decode("utf-8", "replace").strip().splitlines() or [""])[
            -1
        ]
    if process.returncode != 0:
        raise UtteranceError("failed_pipe", f"{shown} ended with {process.returncode}: {last_line}")
    if not size:
        raise UtteranceError("failed_pipe", f"{shown} wrote nothing: {last_line}")
    return written


def _write_until(process: subprocess.Popen[bytes], deadline: float, written: BinaryIO) -> int:
    """Keep all that it writes until it has ended; how many bytes that is.

    Raises:
        TimeoutError: It has not by then.
        OverflowError: It writes more than PIPE_BYTES.
    """
    assert process.stdout is not None
    size = 0
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            block = os.read(process.stdout.fileno(), 1 << 16)
            size += len(block)
            if written.write(block) != len(block):
                raise OSError(errno.ENOSPC, "no room is left")
            if size > PIPE_BYTES:
                raise OverflowError
            if not block:
                try:
                    process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    break
                return size
            if time.monotonic() > deadline:
                break
    raise TimeoutError


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command that has not ended by itself, with everything of its session."""
    assert process.stdout is not None
    process.stdout.close()
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
