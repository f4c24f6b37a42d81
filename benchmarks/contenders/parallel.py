"""An engine in several processes, each with its share of the problems and of the threads."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import cache
from multiprocessing import get_context
from typing import Any

import torch

from contenders.hugging_face import Generate
from contenders.measure import report
from contenders.models import load
from contenders.ours import Ours
from contenders.task import Contender, Drawn, Task, Unavailable

_PROBED_TOKENS = 64


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
        """Draw every n-th problem's completions in each process; one a core, say."""
        kept = {
            field.name: getattr(task, field.name) for field in fields(task) if field.name not in ("model", "format")
        }
        n = min(self.processes, len(task.problems))
        futures = []
        for number in range(n):
            mine = {**kept, "problems": task.problems[number::n], "threads": task.threads // n}
            futures.append(_process(number).submit(carry_out, self.contender, task.dtype, mine, n * seed + number))
        ended = [future.result() for future in futures]
        completions: list[list[int]] = []
        for place in range(len(task.problems)):
            first = place // n * task.samples
            completions += ended[place % n][0].completions[first : first + task.samples]
        # One clock for all: from the first beginning to the last end.
        seconds = max(end for _, end in ended) - min(end - part.seconds for part, end in ended)
        return Drawn(completions, seconds, sum(part.forced for part, _ in ended))


def carry_out(contender: Contender, dtype: str, given: dict[str, Any], seed: int) -> tuple[Drawn, float]:
    """Draw a share of a task in this process; return it and the time at its end."""
    torch.set_num_threads(given["threads"])
    model, form = load(given["folder"], dtype)
    drawn = contender.draw(Task(model=model, format=form, **given), seed)
    return drawn, time.monotonic()


def fastest(ways: Sequence[Contender], task: Task) -> Contender:
    """Return the way to put an engine to work that draws the beginning of a task fastest."""
    problems = task.problems[: task.threads * max(1, task.rows // task.samples)]
    short = replace(task, problems=problems, max_new_tokens=min(task.max_new_tokens, _PROBED_TOKENS))
    try:
        seconds = {way: _seconds(way, short) for way in ways}
    except Unavailable:
        return ways[0]  # which will say so in the table
    report("; ".join(f"{way.name}: {spent:.1f} s" for way, spent in seconds.items()))
    return min(seconds, key=lambda way: seconds[way])


def with_calculator(way: Contender) -> Contender:
    """Return an engine that works in the same way, with its calculator on."""
    if isinstance(way, Parallel):
        return replace(way, contender=with_calculator(way.contender))
    assert isinstance(way, Ours | Generate)
    return replace(way, calculator=True)


def _seconds(contender: Contender, task: Task) -> float:
    contender.draw(replace(task, max_new_tokens=8), 0)
    return contender.draw(task, 0).seconds


@cache
def _process(number: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, get_context("spawn"))
