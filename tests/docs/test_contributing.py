"""The plug-ins in CONTRIBUTING.md keep the contracts of their families."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

from selfstudy.judging.verifiers import FAMILY as VERIFIERS
from selfstudy.judging.verifiers import load_verifier
from selfstudy.learning.losses import FAMILY as LOSSES
from selfstudy.learning.losses import load_loss
from selfstudy.plugins import parse_spec
from selfstudy.selection.candidates import Candidates
from selfstudy.selection.pairers import FAMILY as PAIRERS
from selfstudy.selection.pairers import load_pairer
from tests.docs.pages import ROOT, block_of, blocks
from tests.judging.verifiers import test_contract as contract
from tests.selection.builders import completion

PAGE = ROOT / "CONTRIBUTING.md"


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("yes_no.py", "hinge.py", "closest.py"):
        (tmp_path / name).write_text(block_of(PAGE, name).body, "utf-8")
    return tmp_path


def test_the_verifier_keeps_the_contract_with_the_line_that_is_shown(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (table,) = [block.body for block in blocks(PAGE, "python") if block.body.startswith("CONTRACT = ")]
    cases = ast.literal_eval(table.removeprefix("CONTRACT = "))
    assert list(cases) == ["yes_no"]
    monkeypatch.setattr(contract, "CONTRACT", {"yes_no": cases["yes_no"]})
    monkeypatch.setattr(
        contract,
        "make",
        lambda name, **settings: load_verifier(parse_spec(VERIFIERS, {"name": f"./{name}.py", **settings})),
    )
    family = contract.TestContract()
    family.test_each_outcome("yes_no")
    family.test_its_own_answer_is_right("yes_no")
    family.test_equal_answers_are_extracted_alike("yes_no")
    family.test_the_finder_is_a_setting("yes_no")


def test_the_loss_by_hand(written: Path) -> None:
    """β = 0.5: margins 0.5 · (2 − (−2)) = 2 and 0.5 · (1 − 0) = 0.5, so losses max(0, −1) = 0 and 0.5."""
    loss = load_loss(parse_spec(LOSSES, {"name": "./hinge.py", "beta": 0.5}))
    chosen, rejected = torch.tensor([-1.0, -2.0]), torch.tensor([-4.0, -3.0])
    reference_chosen, reference_rejected = torch.tensor([-3.0, -3.0]), torch.tensor([-2.0, -3.0])
    lengths = torch.tensor([5, 5])
    value = loss.loss(chosen, rejected, reference_chosen, reference_rejected, lengths, lengths)
    assert value.tolist() == [0.0, 0.5]
    assert loss.needs_reference


def test_the_pairer_takes_the_most_similar(written: Path) -> None:
    pairer = load_pairer(parse_spec(PAIRERS, {"name": "./closest.py", "per_problem": 1}))
    right, wrong = (completion("abcd"), completion("wxyz")), (completion("abce"), completion("lmno"))
    for first, second in ((right, wrong), (right[::-1], wrong[::-1])):
        (pair,) = pairer.pair(Candidates("p", None, first, second), seed=0)
        assert (pair.chosen.text, pair.rejected.text) == ("abcd", "abce")
