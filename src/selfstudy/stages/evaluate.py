"""Score a model from its judged samples: greedy accuracy, pass@k, maj@k, distinct right solutions, with intervals."""

from __future__ import annotations

import dataclasses
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from selfstudy.errors import StorageError
from selfstudy.evaluation.metrics import Interval, accuracy, maj_at_k, mean_count, pass_at_k, proportion
from selfstudy.selection.similarity import deduplicate
from selfstudy.stages.base import Forecast, Inputs, Metrics, Sizes, Stage, one
from selfstudy.storage.artifacts import Artifact
from selfstudy.storage.atomic import write_json_rows
from selfstudy.storage.judged import Judged, pool
from selfstudy.storage.splits import stream_split
from selfstudy.types import Context, Outcome

Row = dict[str, Any]


class Evaluate(Stage):
    """Writes ``problems.json``: each problem's greedy outcome, and how many samples it has, right and distinct right.

    Attributes:
        split: Which problems.
        ks: The k of pass@k and maj@k; those above the number of samples are left out.
    """

    kind: ClassVar[str] = "scores"
    version: ClassVar[int] = 2  # the interval of distinct right solutions stays in its range
    split: str
    ks: tuple[int, ...]

    def run(self, inputs: Inputs, out: Path, ctx: Context) -> Metrics:
        """Score ``greedy`` and, where there are any, ``samples``, each with their verdicts."""
        summary = Summary()
        write_json_rows(out / "problems.json", map(summary.take, self._rows(inputs)))
        return summary.metrics()

    def _rows(self, inputs: Inputs) -> Iterator[Row]:
        problems = one(inputs, "problems")
        greedy = pool(_ids(problems, self.split), inputs["greedy"], inputs["greedy_verdicts"])
        drawn = pool(_ids(problems, self.split), inputs.get("samples", ()), inputs.get("verdicts", ()))
        for (problem_id, first), (_, more) in zip(greedy, drawn, strict=True):
            if not first or ("samples" in inputs and not more):
                raise StorageError(f"{self.split}: no samples of {problem_id}; delete their artifact and run again")
            yield score_problem(problem_id, first[0], more, self.ks)

    def forecast(self, sizes: Sizes) -> Forecast:
        """Counting is quick."""
        return Forecast("score", 150 * sizes.problems.get(self.split, 0))


def score_problem(problem_id: str, greedy: Judged, drawn: Sequence[Judged], ks: Sequence[int]) -> Row:
    """Score one problem.

    Args:
        problem_id: Its id.
        greedy: The greedy solution with its verdict.
        drawn: Samples with their verdicts; may be empty.
        ks: Of pass@k and maj@k.
    """
    sample, verdict = greedy
    row: Row = {
        "problem_id": problem_id,
        "outcome": verdict.outcome,
        "extracted": verdict.extracted,
        "truncated": sample.completion.finish == "length",
        "tokens": len(sample.completion.token_ids),
    }
    if drawn:
        right = [s.completion for s, v in drawn if v.outcome == "right"]
        verdicts = [v for _, v in drawn]
        usable = [k for k in ks if k <= len(drawn)]
        row |= {
            "samples": len(drawn),
            "right": len(right),
            "distinct_right": len(deduplicate(right)),
            "pass_at": {str(k): pass_at_k(len(drawn), len(right), k) for k in usable},
            "maj_at": {str(k): maj_at_k(verdicts, k) for k in usable},
        }
    return row


class Summary:
    """What the rows of many problems come to, averaged over problems, in a few numbers of each."""

    def __init__(self) -> None:
        self._outcomes: Counter[Outcome] = Counter()
        self._truncated = self._tokens = self._samples = 0
        self._distinct = array("d")
        self._at: dict[str, dict[str, array[float]]] = {}

    def take(self, row: Row) -> Row:
        """Take in a problem's row, and return it."""
        self._outcomes[row["outcome"]] += 1
        self._truncated += row["truncated"]
        self._tokens += row["tokens"]
        if "samples" in row:
            self._samples = max(self._samples, row["samples"])
            self._distinct.append(row["distinct_right"])
            for name in ("pass_at", "maj_at"):
                for k, value in row[name].items():
                    self._at.setdefault(name, {}).setdefault(k, array("d")).append(value)
        return row

    def metrics(self) -> Metrics:
        """Return the averages, with 95% intervals over problems."""
        n = self._outcomes.total()
        metrics: Metrics = {
            "accuracy": _plain(accuracy(self._outcomes.elements())),
            "unparsed": self._outcomes["unparsed"] / n,
            "truncated": self._truncated / n,
            "mean_tokens": self._tokens / n,
        }
        if self._distinct:
            metrics["distinct_right"] = _plain(mean_count(self._distinct, self._samples))
            for name in ("pass_at", "maj_at"):
                found = self._at.get(name, {})
                metrics[name] = {k: _plain(proportion(values)) for k, values in found.items()}
        return metrics


def summarise(rows: Iterable[Row]) -> Metrics:
    """Average over problems, with 95% intervals over problems."""
    summary = Summary()
    for row in rows:
        summary.take(row)
    return summary.metrics()


def _ids(problems: Artifact, split: str) -> Iterator[str]:
    return (problem.id for problem in stream_split(problems, split))


def _plain(interval: Interval) -> dict[str, float]:
    return dataclasses.asdict(interval)
