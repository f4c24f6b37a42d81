"""What the machine can do: rates of matrix products and of copies; its name."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch


def product_rate(dtype: torch.dtype, size: int = 2048, repeats: int = 7) -> float:
    """Return the floating-point operations per second of a large square matrix product."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    return 2 * size**3 / _seconds(lambda: a @ b, "cpu", repeats)


def copy_rate(device: str, size: int = 2**28, repeats: int = 7) -> float:
    """Return the bytes per second that are read and written while a large tensor is copied."""
    source, target = (torch.ones(size, dtype=torch.uint8, device=device) for _ in range(2))
    return 2 * size / _seconds(lambda: target.copy_(source), device, repeats)


def peak_memory() -> int:
    """Return the largest memory of this process so far, in bytes.

    ``getrusage`` would be wrong here: what the parent held when it started this process counts there.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return 1024 * int(found[1])


def processor() -> str:
    """Return the processor's name."""
    facts = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", facts.read_text(encoding="utf-8")) if facts.is_file() else None
    return found[1] if found else platform.processor() or platform.machine()


def _seconds(compute: Callable[[], object], device: str, repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        compute()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return median(times[1:])
