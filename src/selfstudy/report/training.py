"""How models learnt: the log of every training and what the guard saw, finished or not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfstudy.errors import StorageError
from selfstudy.report.results import PlannedStep, Results
from selfstudy.report.rounds import rounds

Row = Mapping[str, Any]
TRAINED = ("pretrained", "sft", "preference")


@dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        name: Of the step, which is the model's.
        kind: ``pretrained``, ``sft`` or ``preference``.
        round: Of self-training.
        log: A row for each optimizer step so far.
        looks: What the guard saw so far: ``step``, ``yield``, ``accuracy``.
        decision: What the guard decided: ``used_step``, ``fell_back``, ``reason`` …; None without a guard, or so far.
        metrics: Of the finished step.
    """

    name: str
    kind: str
    round: int
    log: Sequence[Row]
    looks: Sequence[Row] = ()
    decision: Mapping[str, Any] | None = None
    metrics: Mapping[str, Any] | None = None

    @property
    def finished(self) -> bool:
        """Whether it came to its end."""
        return self.metrics is not None


def read_training(step: PlannedStep, results: Results) -> Training | None:
    """Read one training's log; None where it has not begun.

    Raises:
        StorageError: A file of it cannot be read.
    """
    folder = step.artifact.path if step.artifact else step.unfinished
    if step.kind not in TRAINED or folder is None:
        return None
    metrics = step.artifact.metrics() if step.artifact else None
    guard = folder / "guard.json"
    try:
        looks = json.loads(guard.read_text(encoding="utf-8")) if guard.is_file() else []
    except ValueError as error:
        raise StorageError(f"{guard} cannot be read ({error}); delete {folder} and run again to make it anew") from None
    return Training(
        step.name,
        step.kind,
        rounds(results.steps)[step.name],
        _rows(folder / "train_log.jsonl"),
        looks,
        (metrics or {}).get("guard"),
        metrics,
    )


def _rows(path: Path) -> list[Row]:
    """Read the log; its last line may be one that is being written."""
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    try:
        return [json.loads(line) for line in lines if line.endswith(b"\n")]
    except ValueError as error:
        raise StorageError(f"{path} cannot be read ({error}); delete its folder and run again") from None
