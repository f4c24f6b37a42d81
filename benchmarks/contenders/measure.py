"""Measure contenders in turn, and write what came out as Markdown."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median, stdev

from contenders.task import Contender, Drawn, Task, Unavailable

LENGTHS = 0.05  # by which mean lengths may differ


@dataclass(frozen=True)
class Measurement:
    """What a contender did in all repeats.

    Attributes:
        contender: Who.
        task: What.
        runs: One for each repeat; none where it is unavailable.
        failure: Why it is unavailable.
    """

    contender: Contender
    task: Task
    runs: tuple[Drawn, ...]
    failure: str = ""

    @property
    def completions_per_second(self) -> float:
        """The median over repeats."""
        return median(len(run.completions) / run.seconds for run in self.runs)

    @property
    def tokens_per_second(self) -> float:
        """The median over repeats; tokens that a calculator wrote count, as do EOS tokens."""
        return median(sum(map(len, run.completions)) / run.seconds for run in self.runs)

    @property
    def precision(self) -> str:
        """In which it computes."""
        return self.contender.compute_type or self.task.dtype

    @property
    def seconds(self) -> float:
        """The median over repeats."""
        return median(run.seconds for run in self.runs)

    @property
    def lengths(self) -> list[int]:
        """Of all completions of all repeats."""
        return [len(completion) for run in self.runs for completion in run.completions]

    @property
    def mean_length(self) -> float:
        """Tokens of a completion, EOS included."""
        return fmean(self.lengths)

    @property
    def ended(self) -> float:
        """Share of completions that end in EOS."""
        return fmean(completion[-1] == self.task.stop for run in self.runs for completion in run.completions)


def measure(entries: Iterable[tuple[Contender, Task]], repeats: int) -> list[Measurement]:
    """Let contenders draw their tasks in turn, ``repeats`` times after a short run that does not count; seeds differ.

    Tasks of several precisions stand in one call, since a machine's speed may be another some minutes later.
    """
    entries = list(entries)
    runs: list[list[Drawn]] = [[] for _ in entries]
    failures = [""] * len(entries)
    for repeat in range(-1, repeats):
        for place, (contender, task) in enumerate(entries):
            if failures[place]:
                continue
            try:
                drawn = contender.draw(task if repeat >= 0 else replace(task, max_new_tokens=8), repeat + 1)
            except Unavailable as error:
                failures[place] = str(error)
                continue
            if repeat >= 0:
                runs[place].append(drawn)
                report(f"{repeat + 1}/{repeats} {contender.name}, {task.dtype}: {drawn.seconds:.1f} s")
    return [
        Measurement(contender, task, tuple(drawn), failure)
        for (contender, task), drawn, failure in zip(entries, runs, failures, strict=True)
    ]


def report(line: str) -> None:
    """Say how far things are, apart from the tables."""
    print(line, file=sys.stderr, flush=True)


def differing(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Return those of other lengths than the first of the same kind, with or without calculator."""
    first: dict[bool, float] = {}
    return [
        one
        for one in measurements
        if one.runs and abs(one.mean_length / first.setdefault(one.contender.calculator, one.mean_length) - 1) > LENGTHS
    ]


def table(measurements: Sequence[Measurement]) -> str:
    """Write one line for each contender; ✗ stands beside a length that differs from the others'."""
    wrong = differing(measurements)
    rows = []
    for one in measurements:
        start = [one.contender.name, one.precision]
        if not one.runs:
            rows.append([*start, one.failure, *[""] * 3])
            continue
        error = stdev(one.lengths) / len(one.lengths) ** 0.5
        rows.append(
            [
                *start,
                f"{one.completions_per_second:.2f}",
                f"{one.tokens_per_second:.0f}",
                f"{one.mean_length:.1f} ± {error:.1f}{' ✗' if one in wrong else ''}",
                f"{100 * one.ended:.0f}%",
            ]
        )
    return markdown(["contender", "precision", "completions/s", "tokens/s", "mean length", "ended"], rows)


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table: the first column to the left, numbers to the right."""
    ruler = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, ruler, *rows])
