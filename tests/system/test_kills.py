"""Killed anywhere and run again: the hashed files equal those of an undisturbed run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import selfstudy
from selfstudy import running
from tests.system.conftest import hashes


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.mark.parametrize("family", ["causal", "seq2seq"])
def test_stopped_at_every_event(family: str, small: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every event (a step begun, a training step, a look of the guard, a step finished) is a place to die."""
    config = small(family)
    selfstudy.run(config, ["root=straight"], quiet=True)

    died_at: set[tuple[str, str, Any]] = set()

    class Deadly(running.Events):
        """Dies once at every event of every kind of stage."""

        kind = ""

        def emit(self, event: str, fields: Mapping[str, Any]) -> None:
            super().emit(event, fields)
            self.kind = fields.get("kind", self.kind)
            place = (event, self.kind, fields.get("step") if event in ("train_step", "guard") else None)
            if (
                event in ("step_started", "step_finished", "train_step", "guard", "guard_decided")
                and place not in died_at
            ):
                died_at.add(place)
                raise Killed

    monkeypatch.setattr(running, "Events", Deadly)
    finished = False
    while not finished:
        with contextlib.suppress(Killed):
            selfstudy.run(config, ["root=killed"], quiet=True)
            finished = True
    assert {kind for _, kind, _ in died_at} >= {
        "problems",
        "sft",
        "samples",
        "verdicts",
        "pairs",
        "preference",
        "labels",
    }
    assert len(died_at) >= 30
    assert hashes(Path("killed")) == hashes(Path("straight"))


def test_killed_and_terminated(small: Callable[..., str]) -> None:
    config = small("causal")
    selfstudy.run(config, ["root=straight"], quiet=True)
    command = [sys.executable, "-m", "selfstudy.cli", "run", config, "root=killed", "--name", "run"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    events = Path("killed/runs/run/events.jsonl")
    moments = {
        '"step": "sft"': signal.SIGKILL,
        '"event": "train_step"': signal.SIGKILL,
        '"step": "pair-samples-1"': signal.SIGKILL,
        '"event": "guard"': signal.SIGTERM,
        '"step": "label-samples-1"': signal.SIGKILL,
    }
    for moment, by in moments.items():
        with open("said.txt", "wb") as said:
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=said)
        seen = events.read_text().count(moment) if events.exists() else 0
        deadline = time.monotonic() + 600
        while not events.exists() or events.read_text().count(moment) == seen:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(by)
        assert process.wait() == {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 130}[by]
        if by == signal.SIGTERM:
            assert "stopped: what is finished is kept" in Path("said.txt").read_text()
            assert '"error": "KeyboardInterrupt"' in events.read_text().splitlines()[-1]  # `status` says: interrupted
    assert subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert hashes(Path("killed")) == hashes(Path("straight"))
    assert not list(Path("killed/artifacts").glob("*.tmp"))
