"""What a run shows while it goes: rich bars on a terminal, plain lines elsewhere, and every line as an event."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

_EVERY = 30.0  # seconds between lines that stand for a bar


class Events:
    """Appends events to a run's ``events.jsonl`` and prints those that people want to see."""

    def __init__(self, folder: Path, *, quiet: bool = False) -> None:
        path = folder / "events.jsonl"
        _cut_torn_line(path)
        self._file: TextIO = path.open("a", encoding="utf-8")
        self._quiet = quiet
        self._parts = 0.0  # seconds of steps that have no line of their own

    def emit(self, event: str, fields: Mapping[str, Any]) -> None:
        """Write one event; the time is the only thing that two equal runs do not share."""
        line = {"time": round(time.time(), 3), "event": event, **fields}
        self._file.write(json.dumps(line, ensure_ascii=True, default=str) + "\n")
        self._file.flush()
        if self._quiet:
            return
        if event == "step_finished":
            self._parts += fields["seconds"]
        text = _line(event, fields, self._parts)
        if text:
            console.print(text, soft_wrap=True)
        if event == "step_finished" and not fields["part"]:
            self._parts = 0.0

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _cut_torn_line(path: Path) -> None:
    """Drop what a killed process had begun to write, so that the next event does not stand behind it."""
    if path.exists():
        whole = path.read_bytes()
        if not whole.endswith(b"\n"):
            os.truncate(path, whole.rfind(b"\n") + 1)


class Bar:
    """One progress bar; moves at most ten times a second."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def advance(self, amount: int = 1, **shown: float | str) -> None:
        """Move; ``shown`` values stand beside the bar."""
        note = "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in shown.items())
        if note:
            self._progress.update(self._task, advance=amount, note=note)
        else:
            self._progress.advance(self._task, amount)


class Lines:
    """A line now and then instead of a bar, for a log: a step of many minutes must not look like one that hangs."""

    def __init__(self, description: str, total: int) -> None:
        self._description, self._total, self._done = description, total, 0
        self._said = time.monotonic()

    def advance(self, amount: int = 1, **shown: float | str) -> None:
        """Move; ``shown`` values are for a bar."""
        self._done += amount
        if (now := time.monotonic()) - self._said >= _EVERY:
            self._said = now
            console.print(f"[dim]        {escape(self._description)}: {self._done:,} of {self._total:,}[/]")


class Rate(TextColumn):
    """Units per second."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Any) -> Any:
        """Show the speed of the last stretch."""
        speed = task.finished_speed or task.speed
        return f"{speed:,.1f}/s" if speed else ""


@contextmanager
def progress(description: str, total: int) -> Iterator[Bar | Lines]:
    """Show a bar with rate and time left; where the output is not a terminal, a line every half minute."""
    if not console.is_terminal:
        yield Lines(description, total)
        return
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    bars = Progress(*columns, console=console, transient=True)
    with bars:
        yield Bar(bars, bars.add_task(description, total=total, note=""))


def _line(event: str, fields: Mapping[str, Any], seconds: float) -> str | None:
    if event == "guard_decided":
        return f"[dim]        guard: {escape(fields['reason'])}[/]"
    if event == "round":
        return _round(fields)
    if event == "tracking_failed":
        return f"[yellow]{escape(fields['message'])}[/]"
    if event == "warning":
        return f"[yellow]warning:[/] {escape(fields['message'])}"
    if not event.startswith("step_") or fields["part"]:
        return None
    head = f"{fields['number']:>3}/{fields['of']} {escape(fields['step'])}"
    if event == "step_started":
        return f"[dim]{head}: continuing[/]" if fields["resumed"] else None
    if event == "step_skipped":
        return f"[dim]{head}: done before[/]"
    return f"[bold]{head}[/]  {escape(summary(fields['metrics']))}  [dim]{seconds:.1f} s[/]"


def _round(fields: Mapping[str, Any]) -> str:
    """Return a round on a line: how good its model is, and what it came from."""
    low, high = (f"{100 * fields['accuracy'][end]:.1f}" for end in ("low", "high"))
    name = f"round {fields['number']}" if fields["number"] else "before the first round"
    parts = [f"{escape(fields['model'])} {100 * fields['accuracy']['value']:.1f}% [{low}, {high}] on dev"]
    if fields["pairs"] is not None:
        parts.append(f"{fields['pairs']:,} pairs")
    if fields["guard"] is not None:
        parts.append(f"guard: {fields['guard']}")
    if fields["distinct"] is not None:
        parts.append(f"yield {fields['distinct']:.2f} a problem")
        parts.append(f"{fields['pseudo_labels']:,} pseudo-labels")
    parts.append(f"{fields['seconds']:,.0f} s")
    return f"[bold cyan]{name}: {' · '.join(parts)}[/]"


_ELSEWHERE = ("flops", "positions", "parameters", "evaluated", "forced_tokens")  # in the report


def summary(metrics: Mapping[str, Any]) -> str:
    """Return the handful of metrics that fit on a line, without those that say nothing there."""
    parts = []
    for name, value in metrics.items():
        if name in _ELSEWHERE or (value == 0 and isinstance(value, int)):
            continue
        if isinstance(value, Mapping) and {"value", "low", "high"} <= value.keys():
            shown = "{:.1%}" if value["high"] <= 1 and name == "accuracy" else "{:.3g}"
            low, high = shown.format(value["low"]), shown.format(value["high"])
            parts.append(f"{name} {shown.format(value['value'])} [{low}, {high}]")
        elif isinstance(value, float):
            parts.append(f"{name} {value:.4g}")
        elif isinstance(value, bool | str):
            parts.append(f"{name} {value}")
        elif isinstance(value, int):
            parts.append(f"{name} {value:,}")
    return " · ".join(parts[:8])
