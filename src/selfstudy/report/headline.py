"""What a run changed: the first model against the one that is returned, on the same problems."""

from __future__ import annotations

from dataclasses import dataclass

from selfstudy.evaluation.metrics import Interval, mcnemar, paired_bootstrap
from selfstudy.report.results import Results


@dataclass(frozen=True)
class Change:
    """Greedy accuracy of two models on one split.

    Attributes:
        split: Which problems.
        first: The model that came before any self-training.
        last: The model that is returned; until that is known, the last one that is scored.
        before: Its accuracy, with a 95% interval.
        after: Likewise; None where the last one is the first.
        difference: After minus before on the same problems, with its interval by paired bootstrap.
        gained: Problems that only the last one solves.
        lost: Problems that only the first one solves.
        p_value: Of McNemar's exact test that both solve equally many.
        others: How many other models are scored.
    """

    split: str
    first: str
    last: str
    before: Interval
    after: Interval | None = None
    difference: Interval | None = None
    gained: int = 0
    lost: int = 0
    p_value: float | None = None
    others: int = 0


def changes(results: Results, seed: int) -> list[Change]:
    """Compare the first model with the returned one on every split that is scored: test, transfer sets, dev."""
    ranked = sorted(results.splits, key=lambda split: (split != "test", split == "dev"))
    found = (_change(results, split, seed) for split in ranked)
    return [change for change in found if change is not None]


def _change(results: Results, split: str, seed: int) -> Change | None:
    scored = [model for model in results.models if (model, split) in results.scores]
    if not scored or scored[0] != results.models[0]:
        return None
    first = scored[0]
    last = results.chosen if results.chosen in scored else scored[-1]
    before = Interval(**results.scores[first, split]["accuracy"])
    if last == first:
        return Change(split, first, last, before, others=len(scored) - 1)
    after = Interval(**results.scores[last, split]["accuracy"])
    old, new = (
        {key: row["outcome"] == "right" for key, row in results.rows(model, split).items()} for model in (first, last)
    )
    return Change(
        split,
        first,
        last,
        before,
        after,
        paired_bootstrap(new, old, seed),
        *mcnemar(new, old),
        len(scored) - 1,
    )
