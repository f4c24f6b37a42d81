"""Score a model from its judged samples: greedy accuracy, pass@k, maj@k, distinct right solutions, with intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from selfstudy.errors import StorageError
from selfstudy.evaluation.metrics import Interval, accuracy, maj_at_k, mean_interval, pass_at_k, proportion
from selfstudy.selection.similarity import deduplicate
from selfstudy.stages.base import Forecast, Inputs, Metrics, Sizes, Stage, one, read_split
from selfstudy.storage.atomic import write_json
from selfstudy.storage.judged import Judged, pool
from selfstudy.types import Context

Row = dict[str, Any]


class Evaluate(Stage):
    """Writes ``problems.json``: each problem's greedy outcome, and how many samples it has, right and distinct right.

    Attributes:
        split: Which problems.
        ks: The k of pass@k and maj@k; those above the number of samples are left out.
    """

    kind: ClassVar[str] = "scores"
    split: str
    ks: tuple[int, ...]

    def run(self, inputs: Inputs, out: Path, ctx: Context) -> Metrics:
        """Score ``greedy`` and, where there are any, ``samples``, each with their verdicts."""
        ids = [problem.id for problem in read_split(one(inputs, "problems"), self.split)]
        greedy = pool(ids, inputs["greedy"], inputs["greedy_verdicts"])
        drawn = pool(ids, inputs.get("samples", ()), inputs.get("verdicts", ()))
        rows = []
        for (problem_id, first), (_, more) in zip(greedy, drawn, strict=True):
            if not first or ("samples" in inputs and not more):
                raise StorageError(f"{self.split}: no samples of {problem_id}; delete their artifact and run again")
            rows.append(score_problem(problem_id, first[0], more, self.ks))
        write_json(out / "problems.json", rows)
        return summarise(rows)

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


def summarise(rows: Sequence[Row]) -> Metrics:
    """Average over problems, with 95% intervals over problems."""
    n = len(rows)
    metrics: Metrics = {
        "accuracy": _plain(accuracy(row["outcome"] for row in rows)),
        "unparsed": sum(row["outcome"] == "unparsed" for row in rows) / n,
        "truncated": sum(row["truncated"] for row in rows) / n,
        "mean_tokens": sum(row["tokens"] for row in rows) / n,
    }
    if "samples" in rows[0]:
        metrics["distinct_right"] = _plain(mean_interval([row["distinct_right"] for row in rows]))
        for name in ("pass_at", "maj_at"):
            metrics[name] = {k: _plain(proportion([row[name][k] for row in rows])) for k in rows[0][name]}
    return metrics


def _plain(interval: Interval) -> dict[str, float]:
    return dataclasses.asdict(interval)
