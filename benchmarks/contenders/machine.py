"""What the machine can do: rates of matrix products and of copies; its name."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import nn

from selfstudy.generation.attention import over
from selfstudy.models.attention import Call


def product_rate(dtype: torch.dtype, size: int = 2048, repeats: int = 7) -> float:
    """Return the floating-point operations per second of a large square matrix product."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    return 2 * size**3 / _seconds(lambda: a @ b, "cpu", repeats)


def copy_rate(device: str, size: int = 2**28, repeats: int = 7) -> float:
    """Return the bytes per second that are read and written while a large tensor is copied."""
    source, target = (torch.ones(size, dtype=torch.uint8, device=device) for _ in range(2))
    return 2 * size / _seconds(lambda: target.copy_(source), device, repeats)


def read_rate(size: int = 10**8, repeats: int = 7) -> float:
    """Return the bytes per second at which a large tensor is read."""
    tensor = torch.ones(size)
    return 4 * size / _seconds(tensor.sum, "cpu", repeats)


def attention_seconds(dtype: torch.dtype, heads: int, queries: int, repeats: int = 7) -> tuple[float, float]:
    """Measure the engine's attention of rows to their own tokens, as in a step of decoding.

    Returns:
        Seconds of one layer (192 rows, 96 tokens of 64 numbers a head, ``queries`` query heads to each of ``heads``),
        and the bytes of keys and values that it reads.
    """
    rows, tokens, size, layers = 192, 96, 64, 12  # so many layers that no cache holds them
    nothing = torch.empty(0)
    call = Call(nn.Identity(), nothing, nothing, nothing, size**-0.5)
    query = torch.randn(rows, 1, heads * queries, size).to(dtype)
    bias = torch.zeros(rows, 1, 1, tokens, dtype=dtype)
    stored = [torch.randn(2, rows, heads, tokens, size).to(dtype) for _ in range(layers)]

    def attend() -> None:
        for keys, values in stored:
            over(call, query, keys, values, bias)

    read = 2 * rows * heads * tokens * size * dtype.itemsize
    return _seconds(attend, "cpu", repeats) / layers, read


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
