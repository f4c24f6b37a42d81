"""Looking at runs, living or dead: what ``selfstudy status`` and ``report`` do, without importing what makes them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from rich.markup import escape

from selfstudy.console import console, summary
from selfstudy.errors import StorageError
from selfstudy.report.results import find_run, read_results, results_table
from selfstudy.report.state import last_event
from selfstudy.types import count_shown


def show_status(run: str | None, root: Path, *, as_json: bool = False) -> None:
    """Print how far one run is, or all runs below a root."""
    folders = [find_run(run, root)] if run else [plan.parent for plan in sorted((root / "runs").glob("*/plan.json"))]
    if as_json:
        print(json.dumps(_status(folders[0]) if run else [_state(folder) for folder in folders], indent=1))
        return
    if run is None:
        if not folders:
            console.print(f"no runs below {escape(str(root / 'runs'))}")
        for folder in folders:
            console.print(f"{escape(folder.name)}: {_progress_of(folder)}, {_last_event(folder)}")
        return
    (folder,) = folders
    results = read_results(folder)
    for step in results.steps:
        if "part_of" in step.about:
            continue
        mark = "[green]✓[/]" if step.artifact else "[cyan]…[/]" if step.in_progress else "·"
        facts = summary(step.artifact.metrics()) if step.artifact else ""
        console.print(f"{mark} {escape(step.name)}  [dim]{escape(facts)}[/]")
    console.print(_last_event(folder))
    if results.scores:
        console.print(results_table(results))


def show_report(run: str, root: Path, out: Path | None = None) -> None:
    """Write the report of a run, finished or not, and say where it lies."""
    from selfstudy.report.page import write_report  # and with it matplotlib, which nothing else here needs

    path = write_report(find_run(run, root), out)
    console.print(f"report: {escape(str(path))}", soft_wrap=True)


def _status(folder: Path) -> dict[str, Any]:
    """Return all that is known of a run so far, as JSON."""
    results = read_results(folder)
    steps = [
        {
            "step": step.name,
            "kind": step.kind,
            "state": "done" if step.artifact else "in progress" if step.in_progress else "to do",
            "metrics": step.artifact.metrics() if step.artifact else None,
        }
        for step in results.steps
        if "part_of" not in step.about
    ]
    scores = [{"model": model, "split": split, **found} for (model, split), found in results.scores.items()]
    seconds, flops = results.cost
    cost = {"seconds": seconds, "flops": flops, "price": results.price, "peak_memory": results.peak_memory}
    return {**_state(folder), "steps": steps, "chosen": results.chosen, "scores": scores, "cost": cost}


def _state(folder: Path) -> dict[str, Any]:
    """Return how far a run is, as JSON; a damaged one must not hide the others."""
    state = {"run": folder.name, "last_event": last_event(folder / "events.jsonl")}
    try:
        steps = read_results(folder).steps
    except StorageError as error:
        return {**state, "damaged": str(error)}
    made = [step for step in steps if step.artifact is not None]
    return {**state, "done": count_shown(made), "of": count_shown(steps)}


def _progress_of(folder: Path) -> str:
    state = _state(folder)
    if "damaged" in state:
        return f"[red]damaged:[/] {escape(state['damaged'])}"
    return f"{state['done']} of {state['of']} steps"


def _last_event(folder: Path) -> str:
    last = last_event(folder / "events.jsonl")
    if last is None:
        return "not started"
    event = last["event"]
    said = {"run_finished": "finished", "run_stopped": "stopped", "step_started": f"{last.get('step')} began"}
    then = ""
    if event == "run_stopped":
        then = f": {last['message']}" if last.get("message") else "; the same command goes on from there"
    return escape(f"{said.get(event, f'last event {event}')} {time.time() - last['time']:,.0f} s ago{then}")
