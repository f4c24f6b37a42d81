"""Peaks: of this process, of those that it starts, and not those of before."""

from __future__ import annotations

import subprocess
import sys

import pytest

# In processes of their own: what a test before these held must not count.
OWN = """
from selfstudy.evaluation.memory import watch_memory
peak = watch_memory()
start = peak()
held = bytearray(60 << 20)
assert 55 << 20 < peak() - start < 80 << 20, (start, peak())
del held
assert peak() - start > 55 << 20
"""
CHILD = """
import subprocess, sys
from selfstudy.evaluation.memory import watch_memory
def child():
    subprocess.run([sys.executable, "-c", "held = bytearray(200 << 20)"], check=True)
peak = watch_memory()
assert peak() < 190 << 20
child()
assert 200 << 20 < peak() < 300 << 20
again = watch_memory()
assert again() < 190 << 20
"""
# One that is no child of this process: on Linux a server forks it.
COUNTED = """
import tests.evaluation.test_memory
from selfstudy.evaluation.memory import watch_memory
from selfstudy.models.processes import start_process
if __name__ == "__main__":
    peak = watch_memory()
    process = start_process(tests.evaluation.test_memory.hold)
    process.join()
    assert process.exitcode == 0
    assert 900 << 20 < peak() < 2000 << 20, peak()
    assert watch_memory()() < 890 << 20
"""
FORGOTTEN = """
from selfstudy.evaluation.memory import watch_memory
held = bytearray(200 << 20)
del held
assert watch_memory()() < 190 << 20
"""


def hold() -> None:
    """Hold more than all that is imported."""
    _ = bytearray(800 << 20)


@pytest.mark.parametrize(
    "code",
    [
        OWN,
        CHILD,
        COUNTED,
        pytest.param(FORGOTTEN, marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux alone can forget")),
    ],
)
def test_peaks(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)
