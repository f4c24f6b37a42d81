"""Form preference pairs from the pooled, judged samples of all rounds so far."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from selfstudy.config import Settings
from selfstudy.errors import ConfigError
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
        held_out: How many problems, or what share, are kept out of the pairs: the guard looks at those. They are chosen
            among the answers-only problems of U where there are enough, else among all of U.
    """

    n: Annotated[int, Field(ge=1)] = 5
    pairer: PairerSpec = default_pairer()
    held_out: Annotated[int, Field(ge=0)] | Annotated[float, Field(gt=0, lt=1)] = 0.1


class MakePairs(Stage):
    """Writes ``pairs.jsonl``, ``held_out.jsonl`` (the problems that none is from) and ``validation.jsonl`` (theirs)."""

    kind: ClassVar[str] = "pairs"
    settings: PairSettings
    format: FormatSettings
    seed: int

    def run(self, inputs: Inputs, out: Path, ctx: Context) -> Metrics:
        """Pair ``samples`` with ``verdicts``, and with the gold solutions of ``problems``."""
        held_out = self._hold_out(inputs) if self.settings.held_out else []
        write_records(out / "held_out.jsonl", held_out)
        kept_out = {problem.id for problem in held_out}
        pairer = load_pairer(self.settings.pairer)
        counts = {"problems": 0, "right": 0, "wrong": 0, "with_pairs": 0}
        validation: list[Pair] = []

        def pairs() -> Iterator[Pair]:
            for found in candidates(inputs, self.format):
                counts["problems"] += 1
                counts["right"] += len(found.right)
                counts["wrong"] += len(found.wrong)
                made = pairer.pair(found, self.seed)
                if found.problem_id in kept_out:
                    validation.extend(made)
                else:
                    counts["with_pairs"] += bool(made)
                    yield from made

        total = write_records(out / "pairs.jsonl", pairs())
        write_records(out / "validation.jsonl", validation)
        return {"pairs": total, **counts, "held_out_problems": len(held_out), "validation_pairs": len(validation)}

    def _hold_out(self, inputs: Inputs) -> list[Problem]:
        """Choose among the problems that the SFT model has not seen solved, where there are enough."""
        unlabelled = read_split(one(inputs, "problems"), "unlabelled")
        solved = {problem.id for problem in read_split(one(inputs, "problems"), "labelled")}
        fresh = [problem for problem in unlabelled if problem.id not in solved]
        size = self.settings.held_out
        wanted = size if isinstance(size, int) else max(1, round(size * len(unlabelled)))
        if wanted >= len(unlabelled):
            raise ConfigError(
                f"pairs.held_out={size} leaves none of {len(unlabelled)} problems to form pairs from; lower it"
            )
        return hold_out(fresh if len(fresh) > wanted else unlabelled, wanted, self.seed, "guard")[1]

    def forecast(self, sizes: Sizes) -> Forecast:
        """At most as many pairs as the pairer makes of each problem."""
        return Forecast("pair right with wrong solutions", 3000 * sizes.problems.get("unlabelled", 0))
