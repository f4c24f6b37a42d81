"""How a run stands, from its events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfstudy.report.state import last_event, read_events, read_state

START = {"event": "run_started", "config": "quickstart", "overrides": ["rounds=1", "a={b: c}"], "steps": 3}


def run_with(folder: Path, *events: dict[str, Any], tail: str = "") -> Path:
    run = folder / "mine"
    run.mkdir(parents=True)
    lines = (json.dumps({"time": 1_700_000_000.0 + number, **event}) for number, event in enumerate(events))
    (run / "events.jsonl").write_text("".join(f"{line}\n" for line in lines) + tail)
    return run


def begun(step: str) -> dict[str, Any]:
    return {"event": "step_started", "step": step}


def ended(step: str) -> dict[str, Any]:
    return {"event": "step_finished", "step": step}


STOPPED = {"event": "run_stopped", "error": "DataError", "message": "row 3 is <b>bad</b>"}


@pytest.mark.parametrize(
    ("events", "done", "word", "step", "error"),
    [
        ([], 0, "not started", None, None),
        ([START, begun("sft")], 1, "running", "sft", None),
        ([START, begun("sft"), ended("sft")], 2, "running", None, None),
        ([START, begun("sft"), STOPPED], 1, "failed", "sft", "DataError: row 3 is <b>bad</b>"),
        ([START, STOPPED, START, begun("sft")], 1, "running", "sft", None),
        ([START, {"event": "run_stopped", "error": "KeyboardInterrupt", "message": ""}], 1, "interrupted", None, None),
        ([START, begun("sft"), ended("sft"), {"event": "run_finished"}], 3, "finished", None, None),
        ([START, begun("sft"), ended("sft"), {"event": "run_finished"}], 2, "partly done", None, None),
    ],
)
def test_how_it_stands(
    events: list[dict[str, Any]], done: int, word: str, step: str | None, error: str | None, tmp_path: Path
) -> None:
    state = read_state(run_with(tmp_path, *events), done, 3)
    assert (state.word, state.step, state.error) == (word, step, error)
    if events:
        assert "2023-11-14 22:13 UTC" in state.message
        assert state.command == "selfstudy run quickstart rounds=1 'a={b: c}' --name mine"


def test_a_name_that_the_config_gives_is_not_repeated(tmp_path: Path) -> None:
    run = run_with(tmp_path, {**START, "config": "some where/mine.yaml"})
    assert read_state(run, 0, 3).command == "selfstudy run 'some where/mine.yaml' rounds=1 'a={b: c}'"


def test_lines_that_are_being_written_or_torn_are_left_out(tmp_path: Path) -> None:
    run = run_with(tmp_path, START, begun("sft"), {"event": "train_step", "loss": 1}, tail='{"tim\n{"time": 1, "eve')
    assert [event["event"] for event in read_events(run / "events.jsonl")] == ["run_started", "step_started"]
    assert read_state(run, 1, 3).step == "sft"


@pytest.mark.parametrize("line", ["xyz", '{"event": "x"}', "5", '{"time": 1}', '{"event": 5, "time": 1}'])
def test_what_is_no_event_is_left_out(tmp_path: Path, line: str) -> None:
    run = run_with(tmp_path, START, begun("sft"), tail=f"{line}\n")
    assert last_event(run / "events.jsonl") == {"time": 1_700_000_001.0, **begun("sft")}
    assert read_state(run, 1, 3).step == "sft"


def test_an_event_that_lacks_what_it_tells_hides_nothing(tmp_path: Path) -> None:
    run = run_with(tmp_path, {"event": "run_started"}, {"event": "step_started"}, {"event": "run_stopped"})
    assert read_state(run, 0, 3).word == "failed"


def test_no_events_at_all(tmp_path: Path) -> None:
    assert read_state(tmp_path, 0, 3).word == "not started"
