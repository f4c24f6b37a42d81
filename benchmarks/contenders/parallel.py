"""An engine in several processes, each with its share of the problems and of the threads."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from functools import cache
from multiprocessing import get_context
from typing import Any

import torch

from contenders.models import load
from contenders.task import Contender, Drawn, Task


@dataclass(frozen=True)
class Parallel:
    """Another contender, in processes that are started once and keep their models.

    Attributes:
        contender: Of each process.
        processes: How many.
    """

    contender: Contender
    processes: int

    @property
    def name(self) -> str:
        """What the tables call it."""
        return f"{self.contender.name}, {self.processes} processes"

    @property
    def calculator(self) -> bool:
        """As the contender's."""
        return self.contender.calculator

    @property
    def compute_type(self) -> str | None:
        """As the contender's."""
        return self.contender.compute_type

    def draw(self, task: Task, seed: int) -> Drawn:
        """Draw every n-th problem's completions in each process; the slowest one's seconds count."""
        kept = {
            field.name: getattr(task, field.name) for field in fields(task) if field.name not in ("model", "format")
        }
        n = self.processes
        futures = []
        for number in range(n):
            mine = {**kept, "problems": task.problems[number::n], "threads": task.threads // n}
            futures.append(_process(number).submit(carry_out, self.contender, task.dtype, mine, n * seed + number))
        parts = [future.result() for future in futures]
        completions: list[list[int]] = []
        for place in range(len(task.problems)):
            first = place // n * task.samples
            completions += parts[place % n].completions[first : first + task.samples]
        return Drawn(completions, max(part.seconds for part in parts), sum(part.forced for part in parts))


def carry_out(contender: Contender, dtype: str, given: dict[str, Any], seed: int) -> Drawn:
    """Draw a share of a task in this process."""
    torch.set_num_threads(given["threads"])
    model, form = load(given["folder"], dtype)
    return contender.draw(Task(model=model, format=form, **given), seed)


@cache
def _process(number: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, get_context("spawn"))
