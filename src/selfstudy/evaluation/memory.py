"""What a stage cost: the most memory that this process, or one that it started, held at once."""

from __future__ import annotations

import re
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes, of ``ru_maxrss``
_others: list[Callable[[], int]] = []


def count_process(peak: Callable[[], int]) -> None:
    """Have those who watch count a process that works for this one without being its child.

    Args:
        peak: Says the most bytes that it held, once it has ended.
    """
    _others.append(peak)


def watch_memory() -> Callable[[], int]:
    """Begin to watch, and return a function that says the peak since then, in bytes.

    It is that of this process or of the largest one that it started and that has ended, whichever held more. Where the
    system cannot forget this process's earlier peak (Linux can), a smaller one since then does not show.
    """
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, earlier = _peak(resource.RUSAGE_CHILDREN), len(_others)

    def peak() -> int:
        children = _peak(resource.RUSAGE_CHILDREN)
        return max(own_peak(), children if children > before else 0, *(other() for other in _others[earlier:]))

    return peak


def own_peak() -> int:
    """Return the most bytes that this process has held, since the system was last told to forget it."""
    # Of a process on Linux, getrusage counts what its parent held when it started it.
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8")) if status.is_file() else None
    return 1024 * int(found[1]) if found else _peak(resource.RUSAGE_SELF)


def _peak(whose: int) -> int:
    return _UNIT * resource.getrusage(whose).ru_maxrss
