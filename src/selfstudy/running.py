"""Carrying out and planning runs: what ``selfstudy run`` and ``plan`` do."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from selfstudy.console import Events, console, errors, progress
from selfstudy.models.compute import Compute, cores
from selfstudy.pipeline import Step, select
from selfstudy.pipeline import run as run_steps
from selfstudy.recipes.prepare import Prepared, prepare
from selfstudy.report.results import PlannedStep, Results, read_results, results_table
from selfstudy.report.rounds import completed_round
from selfstudy.storage import DEFAULT_ROOT
from selfstudy.storage.artifacts import Artifact
from selfstudy.tracking import Tracker
from selfstudy.types import SILENT, Context, count_shown


def run(
    config: str,
    overrides: Sequence[str] = (),
    *,
    until: str | None = None,
    only: str | None = None,
    name: str | None = None,
    root: Path | str | None = None,
    quiet: bool = False,
) -> Results:
    """Carry out a run or continue it, and return its results.

    Args:
        config: A packaged config, or the path of a YAML file.
        overrides: ``a.b=value`` each.
        until: Stop after this step.
        only: Carry out this step alone.
        name: Of the run's folder; by default the config's name, with a short hash where there are overrides.
        root: Where artifacts and runs are to lie; the same as ``root=…`` among the overrides.
        quiet: Print nothing, unless the report cannot be written.

    Raises:
        SelfstudyError: Something cannot be used; nothing that was made is lost.
        OSError: The system refuses a file, or the disk is full; likewise.
    """
    overrides = _with_root(overrides, root)
    prepared = prepare(config, overrides, run_name=name)
    steps = select(prepared.plan, until, only)
    with prepared.locked():
        if not quiet:
            asked = only or (f"steps up to {until}" if until else f"{count_shown(steps)} steps")
            console.print(f"[bold]{prepared.name}[/]: {asked}, in {prepared.folder}")
            if name is None and prepared.name != Path(config).stem:
                console.print("[dim]changed settings make it a run of that name; --name gives it another[/]")
        return _run(prepared, steps, {"config": config, "overrides": list(overrides)}, quiet=quiet)


def _run(prepared: Prepared, steps: Sequence[Step], asked: Mapping[str, Any], *, quiet: bool) -> Results:
    prepared.write()
    started = time.monotonic()
    if not quiet and (hint := _others_busy(prepared.config.compute)):
        console.print(f"[yellow]{hint}[/]")
    done: list[PlannedStep] = []
    with _sinks(prepared, quiet=quiet) as emit:

        def on_done(step: Step, artifact: Artifact) -> None:
            done.append(PlannedStep(step.name, step.stage.kind, step.about, {}, artifact.path.name, artifact))
            if (completed := completed_round(done)) is not None:
                emit("round", dataclasses.asdict(completed))

        settings, bars = prepared.config, SILENT.progress if quiet else progress
        ctx = Context(emit, bars, settings.checkpoint_every, settings.verifier_timeout)
        try:
            emit("run_started", {**asked, "steps": count_shown(steps)})
            for message in prepared.warnings:
                emit("warning", {"message": message})
            run_steps(steps, prepared.store, ctx, on_done=on_done)
            emit("run_finished", {"seconds": round(time.monotonic() - started, 1)})
        except BaseException as error:
            emit("run_stopped", {"error": type(error).__name__, "message": str(error)})
            if isinstance(error, Exception):  # whoever presses Ctrl-C wants to be gone
                _report_after(prepared, quiet=quiet)
            elif isinstance(error, KeyboardInterrupt) and not quiet:
                errors.print("stopped: what is finished is kept, and the same command goes on from here")
            raise
    results = read_results(prepared.folder)
    if not quiet:
        _show_end(prepared, results)
    _report_after(prepared, quiet=quiet)
    if not quiet:
        console.print(f"[dim]{time.monotonic() - started:.0f} s[/]")
    return results


def _others_busy(compute: Compute) -> str:
    """Say so where threads would have to wait for each other, since other programs have the cores; else nothing."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if compute.device != "cpu" or compute.threads == 1 or load < cores() / 2:
        return ""
    return (
        f"other programs use this machine (a load of {load:.1f} on {cores()} cores), and threads wait for each other "
        "then: stop this with Ctrl-C and run it with compute.threads=1, which may be several times faster (what was "
        "made with more threads is made again)"
    )


@contextmanager
def _sinks(prepared: Prepared, *, quiet: bool) -> Iterator[Callable[[str, Mapping[str, Any]], None]]:
    """Open what takes in events, the run's own file and a tracker where the config names one; yield how to emit."""
    events = Events(prepared.folder, quiet=quiet)
    with closing(events), ExitStack() as more:
        takers = [events.emit]
        if prepared.config.track is not None:
            tracker = Tracker(
                prepared.config.track, prepared.folder, lambda said: events.emit("tracking_failed", {"message": said})
            )
            more.callback(lambda: tracker.close())
            takers.append(tracker.see)

        def emit(event: str, fields: Mapping[str, Any]) -> None:
            for take in takers:
                take(event, fields)

        yield emit


def _show_end(prepared: Prepared, results: Results) -> None:
    if results.scores:
        console.print(results_table(results))
    best = results.step("best")
    if best and best.artifact:
        console.print(f"best model ({results.chosen}): {best.artifact.path}")
        console.print(escape(f"ask it: selfstudy solve {shlex.quote(prepared.name)}{_root_option(prepared)}"))


def _report_after(prepared: Prepared, *, quiet: bool) -> None:
    """Write the report of a run that has just ended; one that cannot be written must not hide how the run ended."""
    try:
        from selfstudy.report.page import write_report  # and with it matplotlib

        path = write_report(prepared.folder)
    except Exception as error:
        again = f"selfstudy report {shlex.quote(prepared.name)}{_root_option(prepared)}"
        errors.print(
            f"[bold red]the report could not be written:[/] {type(error).__name__}: {escape(str(error))}; what the run "
            f"made is not touched; to try again: {escape(again)}",
            soft_wrap=True,
        )
    else:
        if not quiet:
            console.print(f"report: {escape(str(path))}", soft_wrap=True)


def _root_option(prepared: Prepared) -> str:
    return "" if prepared.store.root == DEFAULT_ROOT else f" --root {shlex.quote(prepared.config.root)}"


def _with_root(overrides: Sequence[str], root: Path | str | None) -> list[str]:
    return [*overrides, *([f"root={json.dumps(str(root))}"] if root is not None else ())]


def show_plan(config: str, overrides: Sequence[str] = (), *, name: str | None = None, root: Path | None = None) -> None:
    """Print the steps of a run, what exists of them, and a forecast of work and disk; computes nothing."""
    prepared = prepare(config, _with_root(overrides, root), run_name=name, download=False)
    sizes = prepared.sizes()
    table = Table(title=f"{prepared.name}: {count_shown(prepared.plan.steps)} steps", title_justify="left")
    for heading in ("step", "state", "work"):
        table.add_column(heading, overflow="fold")
    disk, known = 0, not prepared.missing
    for step in prepared.plan.steps:
        store, kind, fingerprint = prepared.store, step.stage.kind, step.fingerprint
        forecast = step.stage.forecast(sizes)
        if fingerprint is not None and store.find(kind, fingerprint):
            state = "[green]exists[/]"
        else:
            disk += forecast.disk
            state = "[cyan]to continue[/]" if fingerprint and store.unfinished(kind, fingerprint) else "to do"
        if "part_of" not in step.about:
            table.add_row(escape(step.name), state, forecast.work if known else "")
    console.print(table)
    for what in prepared.missing:
        console.print(f"[yellow]not on this machine yet:[/] {escape(what)}")
    for message in prepared.warnings:
        console.print(f"[yellow]warning:[/] {escape(message)}")
    if sizes.problems:
        console.print(f"problems: {', '.join(f'{name} {n:,}' for name, n in sizes.problems.items())}")
    console.print(
        f"disk still to be written: about {disk / 1e6:,.0f} MB"
        if known
        else "the work, and the disk that it takes, can be told once these are here"
    )
