"""All that is read of a run: finished, half done, damaged; nothing of it is ever imported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from synthetic import make_run

from selfstudy.errors import StorageError
from selfstudy.report.facts import gather
from selfstudy.report.page import write_report
from tests.report.conftest import SMALL, folder_of


def test_a_finished_run(finished: Path) -> None:
    facts = gather(finished)
    assert (facts.state.word, facts.notes, facts.seed) == ("finished", [], 0)
    assert [draw.draw.name for draw in facts.draws] == [
        "pair-samples-1",
        "label-samples-1",
        "pair-samples-2",
        "label-samples-2",
    ]
    assert all(draw.near_gold and draw.alike for draw in facts.draws)
    assert [(label.name, label.round) for label in facts.labels] == [("labels-1", 1), ("labels-2", 2)]
    assert all("with_faults" in label.metrics for label in facts.labels)
    assert [t.name for t in facts.trainings] == ["sft", "dpo-1", "dpo-st-1", "dpo-2", "dpo-st-2"]
    assert {row.state for row in facts.plan} == {"done"}
    assert facts.problems == {"unlabelled": 24, "test": 12, "dev": 10, "labelled": 16}
    (environment,) = facts.environments
    assert set(environment) == {"host", "platform", "python", "selfstudy", "tokenizers", "torch", "transformers"}
    assert gather(finished) == facts


def test_a_run_in_progress(tmp_path: Path) -> None:
    facts = gather(make_run(tmp_path, SMALL, until="dpo-1"))
    assert (facts.state.word, facts.state.step) == ("running", "dpo-1")
    (begun,) = [row for row in facts.plan if row.state == "begun"]
    assert begun.name == "dpo-1"
    training = facts.trainings[-1]
    assert (training.name, len(training.log), training.finished) == ("dpo-1", 40, False)
    assert [change.after for change in facts.changes] == [None]
    assert facts.browser.shown == {"unlabelled": 24, "dev": 10}


def test_a_run_that_has_only_been_planned(tmp_path: Path) -> None:
    facts = gather(make_run(tmp_path, SMALL, until="problems"))
    assert facts.changes == facts.draws == facts.trainings == []
    assert facts.browser.total == {}


def test_what_is_damaged_is_named_and_the_rest_is_there(copied: Path) -> None:
    (folder_of(copied, "dpo-1") / "train_log.jsonl").unlink()
    torn = folder_of(copied, "label-samples-1") / "part-00000.jsonl"
    torn.write_bytes(b"x" + torn.read_bytes()[1:])
    scores = folder_of(copied, "evaluate/sft/test") / "problems.json"
    scores.write_bytes(b"{" + scores.read_bytes()[1:])
    (copied / "config.yaml").write_text("a: [")
    facts = gather(copied)
    said = "\n".join(facts.notes)
    for what in ("train_log.jsonl is missing", "part-00000.jsonl:1: not a Sample", "problems.json cannot be read"):
        assert what in said
    assert said.count("delete") >= 3
    assert [row.name for row in facts.plan if row.state == "damaged"] == ["dpo-1"]
    assert [draw.draw.name for draw in facts.draws] == ["pair-samples-1", "pair-samples-2", "label-samples-2"]
    assert "dpo-1" not in [training.name for training in facts.trainings]
    assert facts.browser.shown == facts.browser.total


@pytest.mark.parametrize("config", ["- a\n", "seed: abc\nprice_per_hour: abc\nmax_overlap: abc\n", "a: [", ""])
def test_a_damaged_config_hides_nothing_else(copied: Path, config: str) -> None:
    (copied / "config.yaml").write_text(config)
    facts = gather(copied)
    assert facts.changes
    assert write_report(copied).stat().st_size > 100_000
    assert bool(facts.notes) == (config in ("- a\n", "a: ["))


def test_without_a_tokenizer_the_rest_is_there(copied: Path) -> None:
    for file in (copied.parents[1] / "artifacts").glob("*/tokenizer.json"):
        file.write_text("{".ljust(file.stat().st_size))
    facts = gather(copied)
    assert len(facts.notes) == 1
    assert "the tokenizer cannot be loaded" in facts.notes[0]
    assert all(draw.near_gold is None and draw.alike for draw in facts.draws)
    entries = [entry for problem in json.loads(facts.browser.json)["problems"] for entry in problem["t"]]
    assert not any(flag & 1 for parts, _ in entries for flag in parts[::2])


def test_a_plan_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    (run / "plan.json").write_text("[{")
    with pytest.raises(StorageError, match=r"plan\.json: cannot be read .*; run again"):
        gather(run)
