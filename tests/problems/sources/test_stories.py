"""Word problems of many families: solved anew step by step, and wordings that never cross from test to training."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from string import Formatter
from typing import Any

import pytest

from selfstudy.errors import ConfigError, DataError
from selfstudy.judging.expressions import evaluate
from selfstudy.problems.families import FAMILIES
from selfstudy.problems.families.family import Family
from selfstudy.problems.families.nouns import PEOPLE, PLACES, SINGULAR, THINGS, UNITS
from selfstudy.problems.sources import read_problems
from selfstudy.problems.sources.msat import Msat
from selfstudy.problems.sources.stories import SPLIT_WORDINGS, Stories
from selfstudy.problems.sources.word_problems import WordProblems
from selfstudy.storage.artifacts import digest_paths
from selfstudy.types import Problem

SPLITS = ("pretrain", "train", "dev", "test")

# Numbers that are stated in words, if at all: "twice", "a third", the sides of a rectangle, per cent.
LITERALS = {
    family.name: {side for step in family.steps for side in (step.left, step.right) if side.isdecimal()}
    for family in FAMILIES
}


def problems(**settings: Any) -> list[Problem]:
    return read_problems(Stories(**settings), on_bad_rows="refuse")[0]


_UNITS = [name for names in UNITS.values() for name in names]
_DRAWN = re.compile(
    rf"\b(?:{'|'.join((*PEOPLE, *THINGS, *PLACES, *_UNITS, *SINGULAR.values()))}|[Hh]e|[Ss]he|his|her|him)\b|\d+"
)


def template(question: str) -> str:
    """Blank out what is drawn: numbers, people, their pronouns, things, places and units."""
    return _DRAWN.sub("_", question)


def test_there_are_enough_families_and_wordings() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert len(set(family.wordings)) == len(family.wordings) == sum(map(len, SPLIT_WORDINGS[family.home].values()))
        assert all(len(set(step.texts)) >= 2 for step in family.steps)
        for text in family.wordings:
            used = {field for _, field, _, _ in Formatter().parse(text) if field}
            assert set(family.numbers) <= used, (family.name, text)  # each says all that is needed
            assert text.count("{who}") or text.count("{he}") + text.count("{He}") + text.count("{his}") == 0
    homes = Counter(family.home for family in FAMILIES)
    assert homes["pretrain"] >= 24
    assert homes["all"] >= 5
    assert homes["train"] >= 5
    assert homes["transfer"] >= 2


def test_units_vary_and_stay_the_same_in_a_problem() -> None:
    """A price in euros is paid in euros, and all units come up."""
    told = [f"{p.question} {p.solution}" for p in problems(split="train", count=2000, families=["fence", "recipe"])]
    for names in ("dollars", "cups", "feet"):
        seen = [frozenset(name for name in UNITS[names] if re.search(rf"\b{name}\b", text)) for text in told]
        assert set().union(*seen) == set(UNITS[names])
        assert all(len(found) <= 1 for found in seen)


@pytest.mark.parametrize("split", SPLITS)
def test_every_step_holds_and_starts_from_what_is_known(split: str) -> None:
    families = [family.name for family in FAMILIES if split in SPLIT_WORDINGS[family.home]]
    for problem in problems(split=split, count=400, families=families):
        assert problem.solution is not None
        *steps, last = problem.solution.splitlines()
        assert last == f"#### {problem.answer}"
        known = set(re.findall(r"\d+", problem.question)) | LITERALS[str(problem.meta["family"])]
        for step in steps:
            left, symbol, right, result = re.search(r"<<(\d+)([-+*/])(\d+)=(\d+)>>", step).groups()  # type: ignore[union-attr]
            assert {left, right} <= known
            assert evaluate(f"{left}{symbol}{right}") == int(result) >= 2
            known.add(result)
        assert steps[-1].count(f">>{problem.answer}") == 1


def test_no_wording_of_a_test_is_learnt_from() -> None:
    found = {
        split: {template(p.question) for p in problems(split=split, count=1500, distractors=0)} for split in SPLITS
    }
    assert sum(map(len, found.values())) == len(set().union(*found.values()))
    for wordings in SPLIT_WORDINGS.values():
        numbers = sorted(number for numbers in wordings.values() for number in numbers)
        assert numbers == list(range(len(numbers)))
    for source in (Msat(count=1000), WordProblems(count=3000, max_steps=4)):
        others = "\n".join(template(p.question) for p in read_problems(source, on_bad_rows="refuse")[0])
        assert not [told for told in found["test"] if told in others]


def words(wording: str) -> set[str]:
    return set(re.findall("[a-z]+", re.sub(r"\{\w+\}('s)?", " ", wording).lower()))


_LEARNT = [
    (family.name, wording)
    for family in FAMILIES
    for split, numbers in SPLIT_WORDINGS[family.home].items()
    if split in ("pretrain", "train")
    for wording in (family.wordings[number] for number in numbers)
]


@pytest.mark.parametrize("family", [f for f in FAMILIES if "test" in SPLIT_WORDINGS[f.home]], ids=lambda f: f.name)
def test_no_wording_of_a_test_is_near_to_one_that_is_learnt(family: Family) -> None:
    """Jaccard similarity of the words, which is 0.48 at most when this is written."""
    for number in SPLIT_WORDINGS[family.home]["test"]:
        mine = words(family.wordings[number])
        for name, wording in _LEARNT:
            theirs = words(wording)
            assert len(mine & theirs) / len(mine | theirs) < 0.5, (number, name, wording)


def test_splits_share_no_question() -> None:
    questions = [{p.question for p in problems(split=split, count=1000)} for split in SPLITS]
    assert sum(map(len, questions)) == len(set().union(*questions)) == 4000


def test_pretraining_knows_other_families_and_transfer_is_asked_for() -> None:
    seen = {split: {str(p.meta["family"]) for p in problems(split=split, count=600)} for split in SPLITS}
    homes = {home: {f.name for f in FAMILIES if f.home == home} for home in SPLIT_WORDINGS}
    assert seen["pretrain"] == homes["pretrain"] | homes["all"]
    assert seen["train"] == seen["test"] == homes["all"] | homes["train"]
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


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is no family 'combin'; did you mean 'combine'"):
        Stories.parse({"families": ["combin"]}, "here")


@pytest.mark.parametrize("name", ["ages", "recipe"])
def test_families_are_kept_from_pretraining(name: str) -> None:
    with pytest.raises(ConfigError, match=f"family '{name}' is not for split pretrain"):
        Stories.parse({"split": "pretrain", "families": ["combine", name]}, "here")


def test_more_than_there_are_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfstudy.problems.generated.PATIENCE", 50)
    monkeypatch.setattr(
        "selfstudy.problems.sources.stories._words",
        lambda draw: dict.fromkeys(("who", "he", "He", "his", "him", "friend", "things", "others", "place"), "x"),
    )
    with pytest.raises(DataError, match=r"hardly more than \d+ .* name more families"):
        problems(split="dev", count=5000, families=["ages"])


def test_other_wordings_are_other_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is told stands in code, so the code counts among the files on which a plan depends."""
    files = Stories().files()
    assert [file.name for file in files] == [
        *("stories.py", "generated.py", "counting.py", "measuring.py", "longer.py"),
        *("tested.py", "family.py", "nouns.py"),
    ]
    before = digest_paths(files, tmp_path / "digests.json")
    edited = tmp_path / "nouns.py"
    edited.write_text(files[-1].read_text(encoding="utf-8") + "# other nouns\n", encoding="utf-8")
    monkeypatch.setattr("selfstudy.problems.families.nouns.__file__", str(edited))
    assert digest_paths(Stories().files(), tmp_path / "digests.json") != before
