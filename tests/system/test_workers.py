"""A run that samples with two processes, killed with them and carried out again, ends in the bytes of one with one."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import selfstudy
from tests.system.conftest import SMALL, hashes


def test_killed_with_its_workers(small: Callable[..., str]) -> None:
    # One row at a time: five shards of sixteen samples.
    config = small("causal", sampling={**SMALL["sampling"], "max_batch_tokens": 1})
    selfstudy.run(config, ["root=straight"], quiet=True, until="pair-samples-1")
    command = [sys.executable, "-m", "selfstudy.cli", "run", config, "root=killed", "compute.devices=2"]
    process = subprocess.Popen([*command, "--until", "pair-samples-1"], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while process.poll() is None and not list(Path("killed/artifacts").glob("samples-*.tmp/part-00001.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert list(Path("killed/artifacts").glob("samples-*.tmp"))
    selfstudy.run(config, ["root=killed", "compute.devices=2"], quiet=True, until="pair-samples-1")
    assert hashes(Path("killed")) == hashes(Path("straight"))
