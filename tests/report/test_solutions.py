"""The browser's data: complete for a small run, a seeded sample of a large one, never markup."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfstudy.report import solutions
from selfstudy.report.facts import gather
from selfstudy.report.solutions import choose
from selfstudy.storage.records import read_records
from selfstudy.types import Example, Pair, Problem
from tests.report.conftest import folder_of


@pytest.fixture(scope="module")
def data(finished: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gather(finished).browser.json)
    return found


def text(problem: dict[str, Any], number: int) -> str:
    return "".join(problem["t"][number][0][1::2])


def test_a_small_run_is_there_whole(data: dict[str, Any], finished: Path) -> None:
    assert [(split["name"], split["total"], split["shown"]) for split in data["splits"]] == [
        ("unlabelled", 24, 24),
        ("test", 12, 12),
        ("dev", 10, 10),
    ]
    assert len({(problem["s"], problem["id"]) for problem in data["problems"]}) == 46
    names = [column["name"] for column in data["columns"]]
    for problem in data["problems"]:
        drawn = {names[column]: len(samples) for column, samples in problem["d"]}
        if problem["s"] == 0:
            assert drawn == {"pair-samples-1": 3, "label-samples-1": 2, "pair-samples-2": 3, "label-samples-2": 2}
        else:
            assert set(drawn.values()) == ({3} if problem["s"] == 1 else {1})
            assert all(samples[0][2] & 1 for _, samples in problem["d"])  # the greedy one first
    assert data["returned"] in names


def test_pairs_labels_and_worked_solutions_stand_with_their_problem(data: dict[str, Any], finished: Path) -> None:
    by_id = {problem["id"]: problem for problem in data["problems"] if problem["s"] == 0}
    pairs = list(read_records(folder_of(finished, "pairs-2") / "pairs.jsonl", Pair))
    labels = list(read_records(folder_of(finished, "labels-1") / "labels.jsonl", Example))
    assert pairs
    assert labels
    for pair in pairs:
        shown = [
            (text(by_id[pair.problem_id], chosen), text(by_id[pair.problem_id], rejected), gold)
            for step, chosen, rejected, _, gold, held_out in by_id[pair.problem_id]["p"]
            if data["steps"][step] == "pairs-2" and not held_out
        ]
        assert (pair.chosen.text, pair.rejected.text, int(pair.chosen_from == "gold")) in shown
    for label in labels:
        kept = [
            text(by_id[label.problem_id], n) for s, n in by_id[label.problem_id]["l"] if data["steps"][s] == "labels-1"
        ]
        assert label.completion.text in kept
    held_out = [row for problem in data["problems"] for row in problem["p"] if row[5]]
    assert held_out
    solved = {
        problem.id: problem.solution
        for problem in read_records(folder_of(finished, "problems") / "labelled.jsonl", Problem)
    }
    assert {name: problem["g"] for name, problem in by_id.items() if problem["g"]} == solved


def test_calculator_spans_and_faults_are_there(data: dict[str, Any]) -> None:
    entries = [entry for problem in data["problems"] for entry in problem["t"]]
    calculated = [part for parts, _ in entries for flag, part in zip(parts[::2], parts[1::2], strict=True) if flag & 1]
    assert calculated
    assert all(part.endswith(">>") and part[:-2].isdigit() for part in calculated)
    faulty = [entry for entry in entries if entry[1]]
    assert faulty
    assert all(any(flag & 2 for flag in parts[::2]) for parts, _ in faulty)


def test_a_large_run_is_a_seeded_sample(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solutions, "PER_SPLIT", 5)
    browser = gather(finished).browser
    assert browser.shown == {"unlabelled": 5, "test": 5, "dev": 5}
    assert browser.total == {"unlabelled": 24, "test": 12, "dev": 10}
    assert not browser.complete
    assert gather(finished).browser == browser
    whole = list(read_records(folder_of(finished, "problems") / "unlabelled.jsonl", Problem))
    wanted = choose({"unlabelled": whole}, 0)["unlabelled"]
    shown = [problem["id"] for problem in json.loads(browser.json)["problems"] if problem["s"] == 0]
    assert shown == [problem.id for problem in whole if problem.id in wanted]
    assert wanted != choose({"unlabelled": whole}, 1)["unlabelled"]
    assert wanted == choose({"unlabelled": whole[::-1]}, 0)["unlabelled"]


def test_the_file_ends_somewhere_and_every_split_has_its_share(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = len(gather(finished).browser.json)
    monkeypatch.setattr(solutions, "BUDGET", everything // 3)
    browser = gather(finished).browser
    assert everything // 4 < len(browser.json) < everything // 2
    assert max(browser.shown.values()) - min(browser.shown.values()) <= 1
    assert min(browser.shown.values()) > 2
