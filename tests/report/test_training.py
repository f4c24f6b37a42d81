"""Logs of trainings, finished and not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfstudy.errors import StorageError
from selfstudy.report.results import PlannedStep, read_results
from selfstudy.report.training import read_training
from selfstudy.report.words import guarded
from tests.report.conftest import folder_of


def test_a_finished_preference_learning(finished: Path) -> None:
    results = read_results(finished)
    step = results.step("dpo-2")
    assert step is not None
    training = read_training(step, results)
    assert training is not None
    assert (training.name, training.kind, training.round, training.finished) == ("dpo-2", "preference", 2, True)
    assert [row["step"] for row in training.log] == list(range(1, 41))
    assert [look["step"] for look in training.looks] == [0, 20, 40]
    assert training.decision is not None
    assert training.decision["used_step"] == 20
    assert guarded(training).startswith("step 20 yields 1.100")


def test_one_in_progress_whose_last_line_is_being_written(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "train_log.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    (tmp_path / "guard.json").write_text(json.dumps([{"step": 0, "yield": 1.0, "accuracy": 0.5}]))
    step = PlannedStep("dpo-1", "preference", {}, {}, "preference-0", None, tmp_path)
    training = read_training(step, read_results(finished))
    assert training is not None
    assert training.log == [{"step": 1, "loss": 2.0}]
    assert not training.finished
    assert guarded(training) == "has taken 1 steps so far; the guard has looked 1 times"


def test_what_has_not_begun_or_is_no_training(finished: Path) -> None:
    results = read_results(finished)
    assert read_training(PlannedStep("dpo-1", "preference", {}, {}, "", None, None), results) is None
    problems = results.step("problems")
    assert problems is not None
    assert read_training(problems, results) is None


@pytest.mark.parametrize("name", ["train_log.jsonl", "guard.json"])
def test_a_damaged_log_is_named(name: str, copied: Path) -> None:
    file = folder_of(copied, "dpo-1") / name
    file.write_bytes(b"{" + file.read_bytes()[1:].replace(b"[", b"{").replace(b":", b";"))
    results = read_results(copied)
    step = results.step("dpo-1")
    assert step is not None
    with pytest.raises(StorageError, match=rf"{name} cannot be read .*; delete .* and run again"):
        read_training(step, results)
