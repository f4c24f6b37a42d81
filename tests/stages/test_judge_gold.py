"""The verifier is tried on the worked solutions and on every answer, before any compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selfstudy.errors import DataError, PluginError
from selfstudy.stages.judge_gold import JudgeGold
from selfstudy.storage.records import read_records
from selfstudy.types import SILENT, Problem, Verdict
from tests.stages.builders import artifact, problem


def run(splits: Mapping[str, Sequence[Problem]], folder: Path, verifier: Any = "numeric") -> dict[str, Any]:
    out = folder / "out"
    out.mkdir()
    given = {"problems": (artifact(folder / "problems", splits),)}
    return JudgeGold(verifier=verifier).run(given, out, SILENT)


def test_solutions_that_are_not_right_are_listed(tmp_path: Path) -> None:
    labelled = [problem(n) for n in range(4)]
    labelled[2] = replace(labelled[2], answer="8")  # its solution says 7
    assert run({"labelled": labelled, "dev": [problem(9)]}, tmp_path) == {
        "solutions": 4, "right": 3, "wrong": 1, "unparsed": 0,
    }  # fmt: skip
    (odd,) = read_records(tmp_path / "out" / "not_right.jsonl", Verdict)
    assert (odd.problem_id, odd.outcome, odd.extracted) == ("p/002", "wrong", "7")


def test_a_verifier_that_calls_most_solutions_wrong_is_refused(tmp_path: Path) -> None:
    labelled = [replace(problem(n), answer="8") for n in range(4)]  # their solutions say 7
    labelled[0] = problem(0)
    with pytest.raises(DataError, match=r"verifier numeric calls wrong 3 of 4 worked solutions, such as that of p/001"):
        run({"labelled": labelled}, tmp_path)


def test_a_verifier_that_reads_no_solution_is_refused(tmp_path: Path) -> None:
    boxed = {"name": "numeric", "finder": {"pattern": r"\\boxed\{([^}]*)\}"}}
    with pytest.raises(DataError, match="finds no answer in 4 of 4 worked solutions, such as that of p/000"):
        run({"labelled": [problem(n) for n in range(4)]}, tmp_path, boxed)


@pytest.mark.parametrize("split", ["labelled", "unlabelled", "dev", "test", "transfer-x"])
def test_an_answer_that_the_verifier_cannot_read_is_refused_in_every_split(split: str, tmp_path: Path) -> None:
    splits = {"labelled": [problem(1)], split: [problem(1), replace(problem(5), answer="Paris")]}
    with pytest.raises(DataError, match="p/005: its answer 'Paris' is not a number; set verifier: exact"):
        run(splits, tmp_path)


def test_a_verifier_that_raises_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from selfstudy.judging.verifiers import Judgement, Verifier\n\n\n"
        "class Mine(Verifier):\n    def verify(self, problem, text):\n        return text[0]\n"
    )
    with pytest.raises(PluginError, match="verifier Mine: problem p/001, sample 0: raised IndexError"):
        run({"labelled": [problem(1)]}, tmp_path, str(path))
