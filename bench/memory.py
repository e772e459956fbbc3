"""The largest memory of a while: of this process, or of PyTorch on a GPU."""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch


def in_use(device: str = "cpu") -> int:
    """Bytes at this moment."""
    return torch.cuda.memory_allocated() if device.startswith("cuda") else _account("VmRSS")


def peak(device: str = "cpu") -> int:
    """Bytes at most, since :func:`forget_peak`."""
    return torch.cuda.max_memory_allocated() if device.startswith("cuda") else _account("VmHWM")


def forget_peak(device: str = "cpu") -> int:
    """Begin anew, and say what is in use now; Linux has the account of a process."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    else:
        # What was freed is given back first: it is no part of what comes.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return in_use(device)


def _account(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])
