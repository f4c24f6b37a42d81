"""What a run changed: paired, honest about what is not known yet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfstudy.report.headline import changes
from selfstudy.report.results import read_results
from selfstudy.report.words import verdict
from selfstudy.storage.artifacts import seal
from tests.report.conftest import folder_of


def solved(run: Path, model: str) -> dict[str, bool]:
    rows = json.loads((folder_of(run, f"evaluate/{model}/test") / "problems.json").read_text())
    return {row["problem_id"]: row["outcome"] == "right" for row in rows}


def test_the_returned_model_against_the_first(finished: Path) -> None:
    results = read_results(finished)
    assert results.chosen not in (None, "sft")
    test, dev = changes(results, seed=0)
    assert (test.split, dev.split) == ("test", "dev")
    assert (test.first, test.last) == ("sft", results.chosen)
    old, new = solved(finished, "sft"), solved(finished, str(results.chosen))
    assert (test.gained, test.lost) == (
        sum(new[name] > old[name] for name in old),
        sum(new[name] < old[name] for name in old),
    )
    assert test.difference is not None
    assert test.difference.value == pytest.approx((test.gained - test.lost) / 12)
    assert test.difference.low <= test.difference.value <= test.difference.high
    assert f"On 12 test problems, one greedy try each, sft solves {100 * test.before.value:.1f} %" in verdict(test)
    assert changes(results, seed=0) == [test, dev]


def test_a_run_that_returns_its_first_model(copied: Path) -> None:
    manifest = folder_of(copied, "best") / "manifest.json"
    tree = json.loads(manifest.read_text())
    tree["metrics"]["chosen"] = "sft"
    manifest.write_text(json.dumps(tree | {"seal": seal(tree)}))
    change = changes(read_results(copied), 0)[0]
    assert (change.first, change.last, change.after, change.difference) == ("sft", "sft", None, None)


def test_before_anything_is_scored(copied: Path) -> None:
    for artifact in (copied.parents[1] / "artifacts").glob("scores-*"):
        artifact.rename(artifact.with_name("gone-" + artifact.name))
    assert changes(read_results(copied), 0) == []
