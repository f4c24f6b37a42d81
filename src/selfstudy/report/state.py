"""How a run stands: finished, failed, stopped, or still going, as its events tell it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

Word = Literal["finished", "partly done", "failed", "interrupted", "running", "not started"]
Event = Mapping[str, Any]

# A line for each optimizer step: most of a file, and nothing that is asked here.
_MANY = b'"event": "train_step"'


@dataclass(frozen=True)
class State:
    """How a run stands.

    Attributes:
        word: In a word.
        message: What that means, for people.
        error: What stopped it, as it was said.
        step: The step that had begun last and did not finish.
        command: What carries out the same run again, if that is known.
    """

    word: Word
    message: str
    error: str | None = None
    step: str | None = None
    command: str | None = None


def read_state(run: Path, done: int, steps: int) -> State:
    """Read how a run stands from its ``events.jsonl``.

    Args:
        run: The run's folder.
        done: Steps whose artifact exists.
        steps: All steps.
    """
    events = read_events(run / "events.jsonl")
    started = [number for number, event in enumerate(events) if event["event"] == "run_started"]
    if not started:
        return State("not started", "No step of this run has begun.")
    last = events[started[-1] :]
    command, when, counted = _command(run.name, last[0]), _time(last[-1]), f"{done} of {steps} steps are done"
    ended = {event["event"]: event for event in last}
    if "run_finished" in ended:
        if done == steps:
            return State("finished", f"All {steps} steps are done, by {when}.", command=command)
        message = f"It did what it was asked, which was a part of the plan: {counted}, by {when}."
        return State("partly done", message, command=command)
    step = _unfinished(last)
    where = f" at {step}" if step else ""
    if "run_stopped" in ended:
        stopped = ended["run_stopped"]
        error = ": ".join(str(part) for part in (stopped.get("error"), stopped.get("message")) if part)
        if stopped.get("error") == "KeyboardInterrupt":
            message = f"It was interrupted{where}, {when}: {counted}. The same command continues it."
            return State("interrupted", message, None, step, command)
        message = f"It failed{where}, {when}: {counted}. The same command continues it once the cause is mended."
        return State("failed", message, error, step, command)
    message = (
        f"It stood{where} at its last event, {when}: {counted}. If no process works on it any more, it was killed, and "
        "the same command continues it."
    )
    return State("running", message, None, step, command)


def read_events(path: Path) -> list[Event]:
    """Read the events but those of single optimizer steps; a line that is being written, or is none, is left out."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        return [event for line in file if _MANY not in line and (event := _event(line)) is not None]


def last_event(path: Path) -> Event | None:
    """Return what happened last, a single optimizer step perhaps."""
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    return next((event for line in reversed(lines) if (event := _event(line)) is not None), None)


def _event(line: bytes) -> Event | None:
    """Return the event of a line; None for one that is torn: the others still say what happened."""
    try:
        event = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    whole = (
        isinstance(event, dict) and isinstance(event.get("event"), str) and isinstance(event.get("time"), int | float)
    )
    return event if whole else None


def _unfinished(events: Sequence[Event]) -> str | None:
    begun = [event for event in events if event["event"] in ("step_started", "step_finished")]
    return str(begun[-1].get("step")) if begun and begun[-1]["event"] == "step_started" else None


def _command(name: str, started: Event) -> str:
    """Return the command line of a run; a name of its own is told where the config does not give it."""
    config, overrides = str(started.get("config")), map(str, started.get("overrides") or ())
    words = ["selfstudy", "run", config, *overrides]
    return shlex.join(words if name == Path(config).stem else [*words, "--name", name])


def _time(event: Event) -> str:
    return datetime.fromtimestamp(event["time"], UTC).strftime("%Y-%m-%d %H:%M UTC")
