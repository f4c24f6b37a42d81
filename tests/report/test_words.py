"""Numbers and decisions in words."""

from __future__ import annotations

import pytest

from selfstudy.evaluation.metrics import Interval
from selfstudy.report.headline import Change
from selfstudy.report.training import Training
from selfstudy.report.words import between, duration, guarded, points, power, verdict


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (60, "1 min 00 s"),
        (411.6, "6 min 52 s"),
        (3600, "1 h 00 min"),
        (10_000_000, "2,777 h 46 min"),
    ],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (1.24e14, "1.2\u00a0×\u00a010¹⁴"), (9.96, "1.0\u00a0×\u00a010¹"), (0.012, "1.2\u00a0×\u00a010⁻²")],
)
def test_powers(value: float, said: str) -> None:
    assert power(value) == said


def test_intervals() -> None:
    interval = Interval(-0.0214, -0.05, 0.01, 400)
    assert between(interval) == "[-5.0, 1.0]"
    assert between({"low": 0.5, "high": 1.234}, 1, 2) == "[0.50, 1.23]"
    assert points(interval) == "-2.1 points [-5.0, 1.0]"


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [(0.01, 0.2, "a gain beyond chance"), (-0.2, -0.01, "a loss beyond chance"), (-0.1, 0.1, "which may be chance")],
)
def test_a_change_claims_no_more_than_its_interval(low: float, high: float, told: str) -> None:
    some = Interval(0.5, 0.4, 0.6, 1319)
    change = Change("transfer-svamp", "sft", "dpo-st-2", some, some, Interval(0.05, low, high, 1319), 9, 2, 0.04, 3)
    said = verdict(change)
    assert said.startswith("On 1,319 svamp problems, one greedy try each, sft solves 50.0 % [40.0, 60.0] and dpo-st-2")
    assert told in said
    assert "dpo-st-2 solves 9 that sft does not, and fails at 2 that sft solves (McNemar's p = 0.04)" in said


def test_where_there_is_nothing_to_compare() -> None:
    some = Interval(0.5, 0.4, 0.6, 10)
    assert verdict(Change("test", "sft", "sft", some)).endswith("no other model is scored.")
    assert "It is the model returned" in verdict(Change("test", "sft", "sft", some, others=2))


def test_a_guard_that_did_not_watch() -> None:
    assert guarded(Training("dpo-1", "preference", 1, [], metrics={})) == (
        "no guard watched; the weights of the last step are used"
    )
