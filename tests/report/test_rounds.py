"""Rounds: found by the order of the steps alone, whatever the recipe calls them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from selfstudy.recipes.prepare import describe, prepare
from selfstudy.report.results import PlannedStep
from selfstudy.report.rounds import completed_round, rounds
from selfstudy.storage.artifacts import Store

LABELS = {"pseudo_labels": 30, "problems": 40, "right": 80, "unsound": 5, "duplicates": 25}


def accuracy(value: float) -> dict[str, Any]:
    return {"accuracy": {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 9}}


class Made:
    """Steps one after the other, each of which took two seconds."""

    def __init__(self, root: Path) -> None:
        self.store, self.steps = Store(root), list[PlannedStep]()

    def add(self, name: str, kind: str, metrics: dict[str, Any] | None = None, **about: str) -> None:
        fingerprint = f"{len(self.steps):016d}"
        with self.store.building(kind, fingerprint):
            made = self.store.publish(kind, fingerprint, recipe={}, metrics=metrics or {}, seconds=2)
        self.steps.append(PlannedStep(name, kind, about, {}, f"{kind}-0", made))

    def model(self, name: str, kind: str, value: float, metrics: dict[str, Any] | None = None) -> None:
        self.add(name, kind, metrics)
        self.score(name, "dev", value)

    def score(self, name: str, split: str, value: float) -> None:
        self.add(f"evaluate/{name}/{split}/greedy", "samples", part_of="x")
        self.add(f"evaluate/{name}/{split}", "scores", accuracy(value), model=name, split=split)


def test_a_round_ends_where_its_fine_tuned_model_is_scored_on_dev(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.add("problems", "problems")
    made.model("first", "sft", 0.3)
    start = completed_round(made.steps)
    assert start is not None
    assert (start.number, start.model, start.accuracy["value"]) == (0, "first", 0.3)
    assert (start.distinct, start.pseudo_labels, start.pairs, start.guard) == (None, None, None, None)
    assert start.seconds == 8

    made.add("draws", "samples")
    assert completed_round(made.steps) is None
    made.add("pairs", "pairs", {"pairs": 7})
    made.model("preferred", "preference", 0.9, {"guard": {"fell_back": False, "used_step": 40}})
    assert completed_round(made.steps) is None  # that model is not what the round is for
    made.add("labels", "labels", LABELS)
    made.model("second", "sft", 0.5)
    found = completed_round(made.steps)
    assert found is not None
    assert (found.number, found.model, found.accuracy["value"]) == (1, "second", 0.5)
    assert (found.distinct, found.pseudo_labels, found.pairs) == (50 / 40, 30, 7)
    assert (found.guard, found.seconds) == ("step 40", 2 * 9)
    made.score("second", "test", 0.6)
    assert completed_round(made.steps) is None


def test_recipes_without_pairs_and_runs_of_a_part(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.model("sft", "sft", 0.3)
    made.add("labels", "labels", LABELS)
    made.model("st", "sft", 0.4)
    found = completed_round(made.steps)
    assert found is not None
    assert (found.number, found.pairs, found.guard, found.pseudo_labels) == (1, None, None, 30)
    assert completed_round(made.steps[-1:]) is None  # whose model was not made here
    assert completed_round([]) is None


@pytest.mark.parametrize("recipe", ["dpo_st", "self_training", "rft", "supervised"])
def test_every_recipes_steps_are_in_the_round_that_their_names_tell(recipe: str) -> None:
    lines = describe(prepare("quickstart", [f"recipe={recipe}", "rounds=3"]).plan)
    steps = [PlannedStep(line["name"], line["kind"], line["about"], {}, line["artifact"], None) for line in lines]
    round_of = rounds(steps)
    assert (round_of["problems"], round_of["sft"]) == (0, 0)
    numbered = {name: int(found[1]) for name in round_of if (found := re.search(r"^[^/]*-(\d)(\[.*)?$", name))}
    assert {name: round_of[name] for name in numbered} == numbered
    assert len(numbered) > 5 or recipe in ("rft", "supervised")
    if recipe == "rft":
        assert {round_of[name] for name in ("labels", "rft", "evaluate/rft/dev")} == {1}
