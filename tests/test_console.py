"""What people see: lines for some events, none of them torn, no bars where nobody looks."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from selfstudy import console as module
from selfstudy.console import Events, progress, summary

ROUND = {
    "number": 2,
    "model": "dpo-st-2",
    "accuracy": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 90},
    "distinct": 1.256,
    "pseudo_labels": 2311,
    "pairs": 1203,
    "guard": "step 40",
    "seconds": 61.4,
}
STEP = {"step": "pair-samples-1[0:4]", "part": False, "kind": "samples", "number": 3, "of": 12, "artifact": "a"}


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Return what is written to a console that is no terminal."""
    written = io.StringIO()
    monkeypatch.setattr(module, "console", Console(file=written, width=60, highlight=False))
    return written


def emit(folder: Path, *events: tuple[str, dict[str, Any]], quiet: bool = False) -> list[dict[str, Any]]:
    log = Events(folder, quiet=quiet)
    for name, fields in events:
        log.emit(name, fields)
    log.close()
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("event", "fields", "line"),
    [
        ("step_started", {**STEP, "resumed": False}, ""),
        ("step_started", {**STEP, "resumed": True}, "  3/12 pair-samples-1[0:4]: continuing\n"),
        ("step_skipped", {**STEP, "metrics": {}}, "  3/12 pair-samples-1[0:4]: done before\n"),
        (
            "step_finished",
            {**STEP, "metrics": {"samples": 8, "loss": 0.123456}, "seconds": 1.25},
            "  3/12 pair-samples-1[0:4]  samples 8 · loss 0.1235  1.2 s\n",
        ),
        ("step_finished", {**STEP, "part": True, "metrics": {}, "seconds": 1.0}, ""),
        ("guard_decided", {"reason": "step [4] yields"}, "        guard: step [4] yields\n"),
        (
            "round",
            {
                **ROUND,
                "number": 0,
                "model": "sft",
                "distinct": None,
                "pseudo_labels": None,
                "pairs": None,
                "guard": None,
            },
            "before the first round: sft 50.0% [40.0, 60.0] on dev · 61 s\n",
        ),
        (
            "round",
            ROUND,
            "round 2: dpo-st-2 50.0% [40.0, 60.0] on dev · 1,203 pairs · guard: step 40 · yield 1.26 a problem · "
            "2,311 pseudo-labels · 61 s\n",
        ),
        ("train_step", {"loss": 1.0}, ""),
        ("guard", {"step": 2}, ""),
    ],
)
def test_plain_lines_where_there_is_no_terminal(
    event: str, fields: dict[str, Any], line: str, tmp_path: Path, out: io.StringIO
) -> None:
    """No colours, no control characters, and text in brackets is not taken for markup."""
    (written,) = emit(tmp_path, (event, fields))
    assert out.getvalue() == line
    assert written.pop("time") > 1e9
    assert written == {"event": event, **fields}


def test_long_lines_are_not_broken(tmp_path: Path, out: io.StringIO) -> None:
    metrics = {f"metric_{n}": n for n in range(1, 20)}
    emit(tmp_path, ("step_finished", {**STEP, "metrics": metrics, "seconds": 1.0}))
    assert out.getvalue().count("\n") == 1
    assert "metric_8 8" in out.getvalue()
    assert "metric_9" not in out.getvalue()  # as much as fits, in words


def test_quiet_writes_events_and_prints_nothing(tmp_path: Path, out: io.StringIO) -> None:
    assert len(emit(tmp_path, ("guard_decided", {"reason": "x"}), quiet=True)) == 1
    assert out.getvalue() == ""


def test_the_seconds_of_parts_are_their_steps(tmp_path: Path, out: io.StringIO) -> None:
    """Scores take no time; the samples that are drawn for them do, and have no line of their own."""
    done: dict[str, Any] = {"metrics": {}}
    part = ("step_finished", {**STEP, **done, "part": True, "seconds": 2.0})
    emit(tmp_path, part, part, *[("step_finished", {**STEP, **done, "seconds": 0.5})] * 2)
    assert [line.split()[-2:] for line in out.getvalue().splitlines()] == [["4.5", "s"], ["0.5", "s"]]


def test_events_are_appended_and_a_torn_line_is_dropped(tmp_path: Path, out: io.StringIO) -> None:
    """A killed process may leave half a line; the next event must not stand behind it."""
    assert [e["event"] for e in emit(tmp_path, ("a", {}), ("b", {}))] == ["a", "b"]
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"time": 17, "event": "tor')
    assert [e["event"] for e in emit(tmp_path, ("c", {}))] == ["a", "b", "c"]


def test_a_file_with_nothing_but_a_torn_line(tmp_path: Path, out: io.StringIO) -> None:
    (tmp_path / "events.jsonl").write_text('{"ti')
    assert [e["event"] for e in emit(tmp_path, ("a", {}))] == ["a"]


def test_what_json_cannot_say_is_written_as_text(tmp_path: Path, out: io.StringIO) -> None:
    (written,) = emit(tmp_path, ("a", {"path": Path("somewhere"), "text": "ü"}))
    assert (written["path"], written["text"]) == ("somewhere", "ü")


def test_no_bar_without_a_terminal(out: io.StringIO) -> None:
    with progress("sample", 3) as bar:
        bar.advance(2, loss=0.5)
        bar.advance()
    assert out.getvalue() == ""


def test_a_step_of_many_minutes_shows_in_a_log_that_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, out: io.StringIO
) -> None:
    clock = iter((0.0, 29.0, 31.0, 60.0, 62.0))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with progress("sample [a]", 4000) as bar:
        for _ in range(4):
            bar.advance(500, loss=0.5)
    said = [line.strip() for line in out.getvalue().splitlines()]
    assert said == ["sample [a]: 1,000 of 4,000", "sample [a]: 2,000 of 4,000"]


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(module, "console", Console(file=written, width=100, force_terminal=True))
    with progress("sample", 4) as bar:
        bar.advance(1, loss=0.51234, model="sft")
        bar.advance(3)
    shown = written.getvalue()
    assert "4/4" in shown
    assert "loss 0.5123  model sft" in shown


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        ({"accuracy": {"value": 0.25, "low": 0.2, "high": 0.3, "n": 8}}, "accuracy 25.0% [20.0%, 30.0%]"),
        ({"distinct_right": {"value": 1.5, "low": 1, "high": 2, "n": 8}}, "distinct_right 1.5 [1, 2]"),
        ({"loss": 1.23456789, "steps": 1234, "chosen": "sft", "stopped_early": True}, 
         "loss 1.235 · steps 1,234 · chosen sft · stopped_early True"),
        ({"flops": 10**12, "left_out": 0, "stopped_early": False, "loss": 0.0, "right": 3}, "loss 0 · right 3"),
        ({"pass_at": {"1": {"value": 1, "low": 1, "high": 1}}, "guard": {"reason": "x"}, "list": [1], "n": None}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_summary_is_the_handful_that_fits(metrics: dict[str, Any], text: str) -> None:
    assert summary(metrics) == text
