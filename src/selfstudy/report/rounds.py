"""Rounds of self-training: which step belongs to which, and what one came to.

A round ends where its fine-tuned model is scored on dev; round 0 is the first fine-tuning and all that comes before it.
The order of the steps tells it, whatever a recipe calls them.
"""

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


def rounds(steps: Sequence[PlannedStep]) -> dict[str, int]:
    """Return each step's round, by name; what follows the last round has the number after it."""
    kinds = {step.name: step.kind for step in steps}
    found: dict[str, int] = {}
    number = 0
    for step in steps:
        found[step.name] = number
        number += _ends_round(step, kinds)
    return found


def _ends_round(step: PlannedStep, kinds: Mapping[str, str]) -> bool:
    return step.about.get("split") == "dev" and kinds.get(step.about.get("model", "")) == "sft"


def completed_round(done: Sequence[PlannedStep]) -> Round | None:
    """Return the round that the last of the steps completes, if it completes one.

    Args:
        done: Steps with their artifacts, in order.
    """
    kinds = {step.name: step.kind for step in done}
    if not done or not _ends_round(done[-1], kinds):
        return None
    round_of = rounds(done)
    number = round_of[done[-1].name]
    made = {
        step.name: step.artifact.manifest()
        for step in done
        if step.artifact is not None and round_of[step.name] == number
    }
    of = {kinds[name]: manifest["metrics"] for name, manifest in made.items()}
    labels, guard = of.get("labels"), of.get("preference", {}).get("guard")
    return Round(
        number=number,
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
