"""Tracking: every number of every stage, and never the end of a run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import selfstudy
from selfstudy.errors import ConfigError
from selfstudy.report.results import read_results
from selfstudy.tracking import Tracker
from tests.system.conftest import small  # noqa: F401  (a fixture)

EVENTS: list[tuple[str, dict[str, Any]]] = [
    ("run_started", {"steps": 3}),
    ("step_started", {"step": "sft", "number": 2, "of": 3}),
    ("train_step", {"step": 1, "loss": 2.5, "rewards/margins": 0.25}),
    ("guard", {"step": 20, "yield": 1.5}),
    ("step_finished", {"step": "sft", "number": 2, "metrics": {"steps": 1, "accuracy": {"value": 0.5}, "name": "x",
                                                              "stopped_early": False, "nothing": None}}),
    ("round", {"number": 1, "model": "sft", "distinct": 1.25, "pairs": None}),
]  # fmt: skip
WRITTEN = {
    ("sft/loss", 2.5, 1),
    ("sft/rewards/margins", 0.25, 1),
    ("sft/guard/yield", 1.5, 20),
    ("sft/result/steps", 1, 2),
    ("sft/result/accuracy/value", 0.5, 2),
    ("round/distinct", 1.25, 1),
}


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Put a stand-in in the place of TensorBoard; return what is written to it, and what breaks it."""
    board = SimpleNamespace(written=set(), folder=None, closed=False, fail_at=None)

    class SummaryWriter:
        def __init__(self, folder: str) -> None:
            board.folder = folder

        def add_scalar(self, tag: str, value: float, step: int) -> None:
            if len(board.written) == board.fail_at:
                raise OSError("no space left")
            board.written.add((tag, value, step))

        def close(self) -> None:
            board.closed = True

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=SummaryWriter))
    return board


def test_the_numbers_of_events_with_their_steps(board: SimpleNamespace, tmp_path: Path) -> None:
    said: list[str] = []
    tracker = Tracker("tensorboard", tmp_path, said.append)
    for event, fields in EVENTS:
        tracker.see(event, fields)
    tracker.close()
    assert board.written == WRITTEN
    assert (board.folder, board.closed, said) == (str(tmp_path / "tensorboard"), True, [])


def test_weights_and_biases(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines: list[dict[str, float]] = []
    opened: dict[str, Any] = {}
    session = SimpleNamespace(log=lines.append, define_metric=lambda *_, **__: None, finish=lambda: opened.clear())
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **given: opened.update(given) or session))
    tracker = Tracker("wandb", tmp_path / "runs" / "mine", lambda said: pytest.fail(said))
    # It puts links into its folder, which a run's own must not have.
    assert opened == {"project": "selfstudy", "name": "mine", "dir": str(tmp_path)}
    for event, fields in EVENTS:
        tracker.see(event, fields)
    tracker.close()
    assert {(tag, line[tag], int(line["step"])) for line in lines for tag in line if tag != "step"} == WRITTEN
    assert opened == {}


def test_the_first_failure_is_told_and_ends_it(board: SimpleNamespace, tmp_path: Path) -> None:
    said: list[str] = []
    board.fail_at = 2
    tracker = Tracker("tensorboard", tmp_path, said.append)
    for event, fields in EVENTS:
        tracker.see(event, fields)
    tracker.close()
    assert len(board.written) == 2
    assert said == ["track: tensorboard failed (OSError: no space left); the run goes on without it"]


@pytest.mark.parametrize(("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")])
def test_a_missing_package_is_told_with_the_remedy(
    name: Any, module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"track: {name} cannot be imported .*pip install 'selfstudy\[track\]'"):
        Tracker(name, tmp_path, lambda said: pytest.fail(said))


def test_a_run_is_tracked_and_survives_its_tracker(
    small: Callable[..., str],  # noqa: F811
    board: SimpleNamespace,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = small("causal")
    run = Path("selfstudy-runs") / "runs"
    selfstudy.run(config, ["track=tensorboard"], until="dpo-1", name="tracked")
    assert board.closed
    steps = {
        tag: sorted(at for name, _, at in board.written if name == tag) for tag in ("sft/loss", "dpo-1/guard/yield")
    }
    assert steps == {"sft/loss": [1, 2, 3, 4, 5, 6], "dpo-1/guard/yield": [0, 2, 4]}
    assert any(tag == "evaluate/sft/dev/result/accuracy/value" for tag, _, _ in board.written)
    assert "track:" not in capsys.readouterr().out

    board.fail_at = len(board.written) + 5
    results = selfstudy.run(config, ["track=tensorboard"], name="tracked")
    assert results.chosen
    assert capsys.readouterr().out.count("track: tensorboard failed (OSError: no space left)") == 1
    plain = selfstudy.run(config, name="plain", quiet=True)
    assert [step.artifact for step in plain.steps] == [step.artifact for step in results.steps]
    assert (run / "tracked" / "events.jsonl").read_text().count("tracking_failed") == 1
    assert read_results(run / "tracked").chosen == plain.chosen


def test_real_files_where_tensorboard_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = Tracker("tensorboard", tmp_path, lambda said: pytest.fail(said))
    for event, fields in EVENTS:
        tracker.see(event, fields)
    tracker.close()
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    written = {(tag, e.value, e.step) for tag in found.Tags()["scalars"] for e in found.Scalars(tag)}
    assert written == WRITTEN
