"""A selection of what ``python -m tests.stress --all`` does: kills at operations and moments, and a full disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_killed_or_out_of_disk_anywhere_a_run_ends_in_the_same_files() -> None:
    """In a process of its own: this one may have threads, and cannot be forked."""
    command = [sys.executable, "-m", "tests.stress", "--take", "14", "--moments", "50"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "14 survived, 0 did not" in done.stdout
