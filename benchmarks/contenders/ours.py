"""This project's engine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

from contenders.task import Drawn, Task
from selfstudy.generation.engine import SamplingSettings
from selfstudy.generation.hooks import FAMILY
from selfstudy.generation.solver import make_solver
from selfstudy.plugins import parse_spec


@dataclass(frozen=True)
class Ours:
    """The engine.

    Attributes:
        calculator: Whether its hook is the calculator.
        own_rows: Decode as many rows at a time as it would by default, instead of the task's.
    """

    calculator: bool
    own_rows: bool = False
    compute_type: ClassVar[None] = None

    @property
    def name(self) -> str:
        """What the tables call it."""
        return "this engine + calculator" if self.calculator else "this engine"

    def draw(self, task: Task, seed: int) -> Drawn:
        """Draw; what it also does, decoding texts and log-probabilities, counts in its time."""
        length = task.max_new_tokens + max(map(len, task.prompts))
        sampling = SamplingSettings(
            temperature=task.temperature,
            max_new_tokens=task.max_new_tokens,
            hook=parse_spec(FAMILY, "calculator" if self.calculator else "off"),
            max_batch_tokens=None if self.own_rows else task.rows * length,
        )
        task.model.generation_config.eos_token_id = task.stop
        solver = make_solver(task.model, task.format, sampling, seed=seed, purpose="benchmark")
        requests = solver.requests(task.problems, range(task.samples))
        start = time.perf_counter()
        samples = solver.draw(requests)
        seconds = time.perf_counter() - start
        forced = sum(stop - start for sample in samples for start, stop in sample.completion.forced)
        return Drawn([sample.completion.token_ids for sample in samples], seconds, forced)
