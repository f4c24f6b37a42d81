"""Form preference pairs from the pooled, judged samples of all rounds so far."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from selfstudy.config import Settings
from selfstudy.models.format import FormatSettings
from selfstudy.problems.split import hold_out
from selfstudy.selection.pairers import PairerSpec, default_pairer, load_pairer
from selfstudy.stages.base import Forecast, Inputs, Metrics, Sizes, Stage, candidates, one, read_split
from selfstudy.storage.records import write_records
from selfstudy.types import Context, Pair, Problem


class PairSettings(Settings):
    """How pairs are made.

    Attributes:
        n: Samples drawn for every problem, each round.
        pairer: Which right solution is preferred to which wrong one.
        held_out: How many problems, or what share of them, are kept out of the pairs: the guard looks at those.
    """

    n: Annotated[int, Field(ge=1)] = 5
    pairer: PairerSpec = default_pairer()
    held_out: Annotated[int, Field(ge=0)] | Annotated[float, Field(gt=0, lt=1)] = 0.1


class MakePairs(Stage):
    """Writes ``pairs.jsonl``, and ``held_out.jsonl`` with the problems that no pair is from."""

    kind: ClassVar[str] = "pairs"
    settings: PairSettings
    format: FormatSettings
    seed: int

    def run(self, inputs: Inputs, out: Path, ctx: Context) -> Metrics:
        """Pair ``samples`` with ``verdicts``, and with the gold solutions of ``problems``."""
        unlabelled = read_split(one(inputs, "problems"), "unlabelled")
        held_out: list[Problem] = []
        if self.settings.held_out:
            _, held_out = hold_out(unlabelled, self.settings.held_out, self.seed, "guard")
        write_records(out / "held_out.jsonl", held_out)
        kept_out = {problem.id for problem in held_out}
        pairer = load_pairer(self.settings.pairer)
        counts = {"problems": 0, "right": 0, "wrong": 0, "with_pairs": 0}

        def pairs() -> Iterator[Pair]:
            for found in candidates(inputs, self.format):
                counts["problems"] += 1
                counts["right"] += len(found.right)
                counts["wrong"] += len(found.wrong)
                if found.problem_id not in kept_out:
                    made = pairer.pair(found, self.seed)
                    counts["with_pairs"] += bool(made)
                    yield from made

        total = write_records(out / "pairs.jsonl", pairs())
        return {"pairs": total, **counts, "held_out_problems": len(held_out)}

    def forecast(self, sizes: Sizes) -> Forecast:
        """At most as many pairs as the pairer makes of each problem."""
        return Forecast("pair right with wrong solutions", 3000 * sizes.problems.get("unlabelled", 0))
