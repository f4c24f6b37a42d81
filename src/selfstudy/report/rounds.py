"""What a round came to: its model's accuracy on dev, and what led there, from the artifacts of its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfstudy.report.results import PlannedStep, used_weights


@dataclass(frozen=True)
class Round:
    """From one fine-tuned model, scored on dev, to the next; what a recipe does not do is None.

    Attributes:
        number: From 1; 0 is the first fine-tuning, before there is anything to learn from.
        model: The fine-tuned model.
        accuracy: Its greedy accuracy on dev, with its interval.
        distinct: Right and distinct solutions a problem among the samples, the gold one apart.
        pseudo_labels: How many of them it learnt from.
        pairs: Pairs of right and wrong solutions.
        guard: Which weights of preference learning drew the samples.
        seconds: Of all steps, when they were carried out.
    """

    number: int
    model: str
    accuracy: Mapping[str, float]
    distinct: float | None
    pseudo_labels: int | None
    pairs: int | None
    guard: str | None
    seconds: float


def completed_round(done: Sequence[PlannedStep]) -> Round | None:
    """Return the round that the last of the steps completes, if it completes one.

    Args:
        done: Steps with their artifacts, in order.
    """
    kinds = {step.name: step.kind for step in done}
    ends = [
        number
        for number, step in enumerate(done)
        if step.about.get("split") == "dev" and kinds.get(step.about.get("model", "")) == "sft"
    ]
    if not ends or ends[-1] != len(done) - 1:
        return None
    made = {
        step.name: step.artifact.manifest()
        for step in done[ends[-2] + 1 if len(ends) > 1 else 0 :]
        if step.artifact is not None
    }
    of = {kinds[name]: manifest["metrics"] for name, manifest in made.items()}
    labels, guard = of.get("labels"), of.get("preference", {}).get("guard")
    return Round(
        number=len(ends) - 1,
        model=done[-1].about["model"],
        accuracy=of["scores"]["accuracy"],
        distinct=None if labels is None else _distinct(labels),
        pseudo_labels=None if labels is None else labels["pseudo_labels"],
        pairs=of["pairs"]["pairs"] if "pairs" in of else None,
        guard=None if guard is None else used_weights(guard),
        seconds=sum(manifest["environment"]["seconds"] for manifest in made.values()),
    )


def _distinct(labels: Mapping[str, Any]) -> float:
    distinct = labels["right"] - labels["unsound"] - labels["duplicates"]
    return float(distinct / labels["problems"])
