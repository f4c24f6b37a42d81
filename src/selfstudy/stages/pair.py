"""Form preference pairs from the pooled, judged samples of all rounds so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from selfstudy.config import Settings
from selfstudy.errors import ConfigError
from selfstudy.models.format import FormatSettings
from selfstudy.problems.split import held_out_of
from selfstudy.selection.pairers import PairerSpec, default_pairer, load_pairer
from selfstudy.stages.base import Forecast, Inputs, Metrics, Sizes, Stage, candidates, one
from selfstudy.storage.artifacts import Artifact
from selfstudy.storage.records import write_records, writing_records
from selfstudy.storage.splits import count_split, look_up, stream_split
from selfstudy.types import Context


class PairSettings(Settings):
    """How pairs are made.

    Attributes:
        n: Samples drawn for every problem, each round.
        pairer: Which right solution is preferred to which wrong one.
        held_out: How many problems, or what share, train no pairs: theirs measure what was learnt from pairs. They are
            chosen among the answers-only problems where there are enough, else among all. From the second round on the
            policy may have learnt its own solutions of them, as pseudo-labels.
    """

    n: Annotated[int, Field(ge=1)] = 5
    pairer: PairerSpec = default_pairer()
    held_out: Annotated[int, Field(ge=0)] | Annotated[float, Field(gt=0, lt=1)] = 0.05


class MakePairs(Stage):
    """Writes ``pairs.jsonl``; ``held_out.jsonl``, problems set aside; and ``validation.jsonl``, the pairs of those."""

    kind: ClassVar[str] = "pairs"
    version: ClassVar[int] = 2  # what is held out is for validation alone
    settings: PairSettings
    format: FormatSettings
    seed: int

    def run(self, inputs: Inputs, out: Path, ctx: Context) -> Metrics:
        """Pair ``samples`` with ``verdicts``, and with the gold solutions of ``problems``."""
        unlabelled = stream_split(one(inputs, "problems"), "unlabelled")
        is_held_out = self._hold_out(one(inputs, "problems"))
        held_out = write_records(out / "held_out.jsonl", (p for p in unlabelled if is_held_out(p.id)))
        pairer = load_pairer(self.settings.pairer)
        counts = {"pairs": 0, "problems": 0, "right": 0, "wrong": 0, "with_pairs": 0}
        validation = 0
        with writing_records(out / "pairs.jsonl") as write, writing_records(out / "validation.jsonl") as set_aside:
            for found in candidates(inputs, self.format):
                counts["problems"] += 1
                counts["right"] += len(found.right)
                counts["wrong"] += len(found.wrong)
                made = pairer.pair(found, self.seed)
                kept_out = is_held_out(found.problem_id)
                for pair in made:
                    (set_aside if kept_out else write)(pair)
                if kept_out:
                    validation += len(made)
                else:
                    counts["pairs"] += len(made)
                    counts["with_pairs"] += bool(made)
        return {**counts, "held_out_problems": held_out, "validation_pairs": validation}

    def _hold_out(self, problems: Artifact) -> Callable[[str], bool]:
        """Choose among the problems that the SFT model has not seen solved, where there are enough."""
        size = self.settings.held_out
        if not size:
            return lambda _: False

        def every() -> Iterator[str]:
            return (problem.id for problem in stream_split(problems, "unlabelled"))

        def fresh() -> Iterator[str]:
            return (key for key in every() if solved.get(key) is None)

        solved = look_up(problems, "labelled")
        total = count_split(problems, "unlabelled")
        wanted = size if isinstance(size, int) else max(1, round(size * total))
        if wanted >= total:
            raise ConfigError(f"pairs.held_out={size} leaves none of {total} problems to form pairs from; lower it")
        enough = sum(1 for _ in fresh()) > wanted
        if not enough:
            return held_out_of(every, wanted, self.seed, "validation")
        chosen = held_out_of(fresh, wanted, self.seed, "validation")
        return lambda key: chosen(key) and solved.get(key) is None

    def forecast(self, sizes: Sizes) -> Forecast:
        """At most as many pairs as the pairer makes of each problem."""
        return Forecast("pair right with wrong solutions", 3000 * sizes.problems.get("unlabelled", 0))
