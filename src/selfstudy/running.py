"""Carrying out, planning and looking at runs: what ``selfstudy run``, ``plan``, ``status`` and ``report`` do."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from selfstudy.console import Events, console, errors, progress, summary
from selfstudy.errors import StorageError
from selfstudy.pipeline import run as run_steps
from selfstudy.pipeline import select
from selfstudy.recipes.prepare import Prepared, find_run, prepare
from selfstudy.report.results import Results, read_results, results_table
from selfstudy.types import SILENT, Context


def carry_out(
    config: str,
    overrides: Sequence[str] = (),
    *,
    until: str | None = None,
    only: str | None = None,
    name: str | None = None,
    quiet: bool = False,
) -> Results:
    """Carry out a run or continue it, and return its results.

    Args:
        config: A packaged config, or the path of a YAML file.
        overrides: ``a.b=value`` each.
        until: Stop after this step.
        only: Carry out this step alone.
        name: Of the run's folder; by default the config's name, with a short hash where there are overrides.
        quiet: Print nothing.

    Raises:
        SelfstudyError: Something cannot be used; nothing that was made is lost.
    """
    prepared = prepare(config, overrides, run_name=name)
    steps = select(prepared.plan, until, only)
    prepared.write()
    events = Events(prepared.folder, quiet=quiet)
    ctx = Context(events.emit, SILENT.progress if quiet else progress, prepared.config.checkpoint_every)
    started = time.monotonic()
    if not quiet:
        console.print(f"[bold]{prepared.name}[/]: {len(steps)} steps, in {prepared.folder}")
    try:
        events.emit("run_started", {"config": config, "overrides": list(overrides), "steps": len(steps)})
        run_steps(steps, prepared.store, ctx)
        events.emit("run_finished", {"seconds": round(time.monotonic() - started, 1)})
    except BaseException as error:
        events.emit("run_stopped", {"error": type(error).__name__, "message": str(error)})
        if isinstance(error, Exception):  # whoever presses Ctrl-C wants to be gone
            _report_after(prepared, quiet=quiet)
        raise
    finally:
        events.close()
    results = read_results(prepared.folder)
    if not quiet:
        console.print(results_table(results))
        best = results.step("best")
        if best and best.artifact:
            console.print(f"best model ({results.chosen}): {best.artifact.path}")
            console.print(f"ask it: selfstudy solve {prepared.name}{_root_option(prepared)}")
    _report_after(prepared, quiet=quiet)
    if not quiet:
        console.print(f"[dim]{time.monotonic() - started:.0f} s[/]")
    return results


def _report_after(prepared: Prepared, *, quiet: bool) -> None:
    """Write the report of a run that has just ended; one that cannot be written must not hide how the run ended."""
    try:
        from selfstudy.report.page import write_report  # and with it matplotlib

        path = write_report(prepared.folder)
    except Exception as error:
        again = f"selfstudy report {prepared.name}{_root_option(prepared)}"
        errors.print(
            f"[bold red]the report could not be written:[/] {type(error).__name__}: {escape(str(error))}; what the run "
            f"made is not touched; to try again: {escape(again)}",
            soft_wrap=True,
        )
    else:
        if not quiet:
            console.print(f"report: {escape(str(path))}", soft_wrap=True)


def _root_option(prepared: Prepared) -> str:
    return "" if prepared.config.root == "selfstudy-runs" else f" --root {prepared.config.root}"


def show_plan(config: str, overrides: Sequence[str] = ()) -> None:
    """Print the steps of a run, what exists of them, and a forecast of work and disk; computes nothing."""
    prepared = prepare(config, overrides, download=False)
    sizes = prepared.sizes()
    table = Table(title=f"{prepared.name}: {len(prepared.plan.steps)} steps", title_justify="left")
    for heading in ("step", "state", "work", "artifact"):
        table.add_column(heading, overflow="fold")
    disk = 0
    for step in prepared.plan.steps:
        store, kind, fingerprint = prepared.store, step.stage.kind, step.fingerprint
        forecast = step.stage.forecast(sizes)
        if fingerprint is not None and store.find(kind, fingerprint):
            state = "[green]exists[/]"
        else:
            disk += forecast.disk
            state = "[cyan]to continue[/]" if fingerprint and store.in_progress(kind, fingerprint) else "to do"
        if "part_of" not in step.about:
            table.add_row(escape(step.name), state, forecast.work, step.artifact_name)
    console.print(table)
    for what in prepared.missing:
        console.print(f"[yellow]not on this machine yet:[/] {escape(what)}")
    console.print(f"problems: {', '.join(f'{name} {n:,}' for name, n in sizes.problems.items())}")
    console.print(f"disk still to be written: at most about {disk / 1e6:,.0f} MB")


def show_status(run: str | None, root: Path) -> None:
    """Print how far one run is, or all runs below a root."""
    if run is None:
        plans = sorted((root / "runs").glob("*/plan.json"))
        if not plans:
            console.print(f"no runs below {escape(str(root / 'runs'))}")
        for plan in plans:
            console.print(f"{escape(plan.parent.name)}: {_progress_of(plan.parent)}, {_last_event(plan.parent)}")
        return
    folder = find_run(run, root)
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


def _progress_of(folder: Path) -> str:
    """Say how far a run is; a damaged one must not hide the others."""
    try:
        steps = read_results(folder).steps
    except StorageError as error:
        return f"[red]damaged:[/] {escape(str(error))}"
    return f"{sum(step.artifact is not None for step in steps)} of {len(steps)} steps"


def _last_event(folder: Path) -> str:
    path = folder / "events.jsonl"
    # A line that a killed process did not finish has no newline yet.
    lines = (
        [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")] if path.exists() else []
    )
    if not lines:
        return "not started"
    last = json.loads(lines[-1])
    ago = time.time() - last["time"]
    return f"last event {last['event']} {ago:.0f} s ago"
