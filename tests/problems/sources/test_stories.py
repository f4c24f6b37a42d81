"""Word problems of many families: solved anew step by step, and wordings that never cross from test to training."""

from __future__ import annotations

import re
from collections import Counter
from string import Formatter
from typing import Any

import pytest

from selfstudy.errors import ConfigError, DataError
from selfstudy.judging.expressions import evaluate
from selfstudy.problems.families import FAMILIES, PEOPLE, PLACES, THINGS, WORDINGS
from selfstudy.problems.sources import read_problems
from selfstudy.problems.sources.stories import SPLIT_WORDINGS, Stories
from selfstudy.types import Problem

SPLITS = ("pretrain", "train", "dev", "test")


def problems(**settings: Any) -> list[Problem]:
    return read_problems(Stories(**settings), on_bad_rows="refuse")[0]


_DRAWN = re.compile(rf"\b(?:{'|'.join((*PEOPLE, *THINGS, *PLACES))}|[Hh]e|[Ss]he|his|her|him)\b|\d+")


def template(question: str) -> str:
    """Blank out what is drawn: numbers, people, their pronouns, things and places."""
    return _DRAWN.sub("_", question)


def test_there_are_enough_families_and_wordings() -> None:
    assert len(FAMILIES) >= 12
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert len(set(family.wordings)) == len(family.wordings) == WORDINGS
        assert all(len(set(step.texts)) >= 2 for step in family.steps)
        for text in family.wordings:
            used = {field for _, field, _, _ in Formatter().parse(text) if field}
            assert set(family.numbers) <= used, (family.name, text)  # each says all that is needed
            assert text.count("{who}") or text.count("{he}") + text.count("{He}") + text.count("{his}") == 0
    homes = Counter(family.home for family in FAMILIES)
    assert homes["pretrain"] >= 5
    assert homes["train"] >= 5
    assert homes["transfer"] >= 2


@pytest.mark.parametrize("split", SPLITS)
def test_every_step_holds_and_starts_from_what_is_known(split: str) -> None:
    families = [family.name for family in FAMILIES]
    for problem in problems(split=split, count=400, families=families):
        assert problem.solution is not None
        *steps, last = problem.solution.splitlines()
        assert last == f"#### {problem.answer}"
        known = {*re.findall(r"\d+", problem.question), "2", "100"}  # a rectangle's sides, per cent
        for step in steps:
            left, symbol, right, result = re.search(r"<<(\d+)([-+*/])(\d+)=(\d+)>>", step).groups()  # type: ignore[union-attr]
            assert {left, right} <= known
            assert evaluate(f"{left}{symbol}{right}") == int(result)
            known.add(result)
        assert steps[-1].count(f">>{problem.answer}") == 1


def test_no_wording_of_a_test_is_learnt_from() -> None:
    found = {
        split: {template(p.question) for p in problems(split=split, count=1500, distractors=0)} for split in SPLITS
    }
    assert not found["test"] & (found["pretrain"] | found["train"] | found["dev"])
    assert not found["pretrain"] & found["train"]
    assert found["dev"] <= found["train"]
    used = [set(numbers) for split, numbers in SPLIT_WORDINGS.items() if split != "dev"]
    assert sum(map(len, used)) == len(set().union(*used)) == WORDINGS


def test_splits_share_no_question() -> None:
    questions = [{p.question for p in problems(split=split, count=1000)} for split in SPLITS]
    assert sum(map(len, questions)) == len(set().union(*questions)) == 4000


def test_pretraining_knows_fewer_families_and_transfer_is_asked_for() -> None:
    seen = {split: {str(p.meta["family"]) for p in problems(split=split, count=600)} for split in SPLITS}
    homes = {home: {f.name for f in FAMILIES if f.home == home} for home in ("pretrain", "train", "transfer")}
    assert seen["pretrain"] == homes["pretrain"]
    assert seen["train"] == seen["test"] == homes["pretrain"] | homes["train"]
    asked = problems(split="test", count=100, families=sorted(homes["transfer"]))
    assert {p.meta["family"] for p in asked} == homes["transfer"]


def test_a_larger_count_extends_a_smaller_one_and_seeds_differ() -> None:
    assert problems(count=40)[:10] == problems(count=10)
    assert problems(count=10, seed=1) != problems(count=10)


def test_asides_are_where_they_are_asked_for() -> None:
    assert not any(p.meta["distractor"] for p in problems(count=200, distractors=0))
    always = problems(count=200, distractors=1)
    assert all(p.meta["distractor"] for p in always)
    plain = {p.question for p in problems(count=600, distractors=0)}
    assert not any(p.question in plain for p in always)
    assert all(re.match(r"(It is|The road|There are|The clock)[^.]* \d+ [^.]*\. ", p.question) for p in always)


def test_train_and_dev_share_no_numbers_of_a_family() -> None:
    """Whatever the names and the asides."""
    found = {
        split: {
            (p.meta["family"], tuple(re.findall(r"<<(.+?)>>", p.solution or "")))
            for seed in range(2)
            for p in problems(split=split, count=500, seed=seed, families=["ages", "groups"])
        }
        for split in ("train", "dev")
    }
    assert len(found["dev"]) > 200
    assert not found["train"] & found["dev"]


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is no family 'combin'; did you mean 'combine'"):
        Stories.parse({"families": ["combin"]}, "here")


def test_more_than_there_are_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfstudy.problems.generated.PATIENCE", 50)
    monkeypatch.setattr(
        "selfstudy.problems.sources.stories._words",
        lambda draw: dict.fromkeys(("who", "he", "He", "his", "him", "friend", "things", "others", "place"), "x"),
    )
    with pytest.raises(DataError, match=r"hardly more than \d+ .* name more families"):
        problems(count=5000, families=["ages"])
