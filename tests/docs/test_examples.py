"""The examples are planned and run as they are, with small overrides."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import selfstudy
from selfstudy.judging.verifiers import FAMILY, Verifier, load_verifier
from selfstudy.plugins import parse_spec
from selfstudy.problems.sources.tabular import Tabular
from selfstudy.running import show_plan
from selfstudy.types import Problem
from tests.docs.pages import ROOT
from tests.docs.small import SHORTER

FOLDER = ROOT / "examples" / "own_problems"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a copy, as its README says."""
    copy = tmp_path / "own_problems"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("selfstudy-runs"))
    monkeypatch.chdir(copy)
    return copy


def test_it_is_planned(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_plan("mine.yaml")
    shown = capsys.readouterr().out
    assert "test 10" in shown
    assert "unlabelled 27" in shown
    assert not (folder / "selfstudy-runs" / "artifacts").exists()


def test_it_runs(folder: Path) -> None:
    results = selfstudy.run("mine.yaml", SHORTER, name="mine", quiet=True)
    assert results.models == ["sft", "dpo-1", "dpo-st-1"]
    assert results.scores["dpo-st-1", "test"]["accuracy"]["n"] == 10


def test_every_solution_in_the_table_is_right_by_its_own_verifier() -> None:
    verifier = checked()
    problems = [problem for problem in Tabular(path=str(FOLDER / "train.csv"), solution="solution").read()]
    assert len(problems) == 30
    solved = [problem for problem in problems if isinstance(problem, Problem) and problem.solution]
    assert len(solved) == 20
    for problem in solved:
        assert verifier.verify(problem, problem.solution or "").outcome == "right"


@pytest.mark.parametrize(
    ("text", "outcome", "reason"),
    [
        ("3+4=<<3+4=7>>7\n#### 7", "right", "7, by 1 checked steps"),
        ("[ 3+4 = 7 ] 7 #### 7", "right", "7, by 1 checked steps"),
        ("3+4=<<3+4=8>>8, less 1\n#### 7", "wrong", "3+4 is 7, not 8"),
        ("3+4=<<3+=7>>7\n#### 7", "wrong", "3+ is None, not 7"),
        ("3+4=<<3+4=seven>>7\n#### 7", "wrong", "3+4 is 7, not seven"),
        ("I guess\n#### 7", "wrong", "0 annotations, 1 are needed"),
        ("3+4=<<3+4=7>>7\n#### 8", "wrong", "8 is not 7"),
        ("7", "unparsed", "no line '#### number'"),
    ],
)
def test_what_the_verifier_decides(text: str, outcome: str, reason: str) -> None:
    judgement = checked().verify(Problem("mine/00000", "How many?", "7"), text)
    assert (judgement.outcome, judgement.reason) == (outcome, reason)
    assert (judgement.extracted is None) == (outcome == "unparsed")


def checked() -> Verifier:
    return load_verifier(parse_spec(FAMILY, str(FOLDER / "checked.py")))
