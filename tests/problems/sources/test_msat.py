"""Generated arithmetic: every item is solved anew from its text, and every step of its solution holds."""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction
from typing import Any

import pytest

from selfstudy.errors import DataError
from selfstudy.problems.sources import read_problems
from selfstudy.problems.sources.msat import Msat
from selfstudy.types import Problem


def items(**settings: Any) -> list[Problem]:
    return read_problems(Msat(**settings), on_bad_rows="refuse")[0]


def equations(question: str) -> list[tuple[str, str]]:
    found = [tuple(part.split(" = ")) for part in question.rsplit(". What is ", 1)[0].split(". ")]
    assert all(len(pair) == 2 for pair in found)
    return found  # type: ignore[return-value]


def value(expression: str, known: dict[str, Fraction]) -> Fraction:
    """Evaluate with exact fractions; KeyError where a name is not known yet."""
    literal = re.sub(r"\d+", lambda number: f"Fraction({number[0]})", expression)
    names = {name: known[name] for name in re.findall(r"\b[A-Z]\b", expression)}
    return eval(literal, {"Fraction": Fraction, **names})


def follow(told: list[tuple[str, str]], known: dict[str, Fraction]) -> bool:
    """Work out what follows; return whether nothing contradicts."""
    for _ in told:
        for name, expression in told:
            try:
                found = value(expression, known)
            except KeyError:
                continue
            except ZeroDivisionError:
                return False
            if known.setdefault(name, found) != found:
                return False
    return True


def test_every_answer_solves_its_equations_and_no_other_number_does() -> None:
    for item in items(count=600, max_number=30):
        told = equations(item.question)
        asked = item.question[-2]
        known: dict[str, Fraction] = {}
        assert follow(told, known)
        if item.meta["asked"] != "number":
            assert known[asked] == int(item.answer)
            continue
        assert asked not in known
        assert follow(told, {asked: Fraction(item.answer)})
        for other in (int(item.answer) - 1, int(item.answer) + 1, 2 * int(item.answer)):
            assert not follow(told, {asked: Fraction(other or 97)})


def test_every_step_holds_and_leads_to_the_answer() -> None:
    for item in items(count=400):
        assert item.solution is not None
        *steps, last = item.solution.splitlines()
        assert last == f"#### {item.answer}"
        assert len(steps) <= int(str(item.meta["operators"]))
        for step in steps:
            left, expression, stated, shown = re.fullmatch(
                r"(?:[A-Z] = )?(\d+ [-+*/] \d+) = <<([^=]+)=(\d+)>>(\d+)", step
            ).groups()  # type: ignore[union-attr]
            assert left.replace(" ", "") == expression
            assert value(expression, {}) == int(stated) == int(shown)
        assert steps[-1].startswith(f"{item.question[-2]} = ")
        assert steps[-1].endswith(f">>{item.answer}")


def test_what_is_drawn_is_what_is_asked_for() -> None:
    found = items(count=2000)
    templates = Counter(str(item.meta["template"]) for item in found)
    assert {template.count("n") - 1 for template in templates} == {1, 2, 3}
    assert {symbol for template in templates for symbol in template if symbol in "+-*/"} == set("+-*/")
    # 4 templates of one operator, 4² · 2 of two, 4³ · 5 of three; a few of these hardly ever come out even
    assert len(templates) > 300
    shares = Counter(item.meta["asked"] for item in found)
    assert 0.3 < shares["number"] / len(found) < 0.6
    assert shares["part"] > 100
    divisions = [re.findall(r"<<(\d+)/(\d+)=", item.solution or "") for item in found]
    assert sum(map(len, divisions)) > 500
    signs = Counter(template.split()[0] for template in templates.elements())
    assert min(signs.values()) > 0.15 * len(found)  # no operator is rare
    assert {item.meta["distractors"] for item in found} == {0, 1, 2, 3, 4}
    simple = items(count=200, max_operators=1, backwards=0, distractors=0, literals=0)
    assert all(len(equations(item.question)) == 3 for item in simple)


def test_no_stated_number_is_larger_than_asked_for() -> None:
    """But for the result, which is stated where a number is asked for."""
    for item in items(count=3000, max_number=20):
        backwards = item.meta["asked"] == "number"
        assert sum(int(number) > 20 for number in re.findall(r"\d+", item.question)) <= backwards, item.question
        assert not backwards or int(item.answer) <= 20


def problem_of(item: Problem) -> tuple[object, ...]:
    """Return what has to be worked out, whatever the names, the order and the equations that do not matter."""
    expressions = re.findall(r"<<(.+?)>>", item.solution or "")
    backwards = item.meta["template"] if item.meta["asked"] == "number" else None
    return backwards, tuple(expressions)


@pytest.mark.parametrize(
    ("count", "plan"),
    [
        (60, {"max_operators": 1, "max_number": 20}),
        # Parts of different wholes. (Numbers found backwards by the same steps need not be the same problem.)
        (150, {"min_operators": 2, "max_operators": 3, "max_number": 20, "parts": 0.7, "backwards": 0}),
    ],
)
def test_splits_share_no_problem_whatever_seeds_and_names(count: int, plan: dict[str, Any]) -> None:
    """Small numbers, so that the same problem is drawn often."""
    drawn = {
        split: {problem_of(item) for seed in range(3) for item in items(split=split, count=count, seed=seed, **plan)}
        for split in ("train", "dev", "test")
    }
    assert all(len(found) > count for found in drawn.values())
    assert not drawn["train"] & drawn["dev"]
    assert not drawn["train"] & drawn["test"]
    assert not drawn["dev"] & drawn["test"]


def test_no_split_holds_a_problem_twice() -> None:
    once = [problem_of(item) for item in items(count=100, max_operators=1, max_number=20)]
    assert len(set(once)) == len(once)


def test_a_larger_count_extends_a_smaller_one_and_seeds_differ() -> None:
    assert items(count=50)[:20] == items(count=20)
    assert items(count=20, seed=1) != items(count=20)


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(DataError, match=r"hardly more than .* raise max_operators"):
        items(count=10_000, max_operators=1, max_number=5, distractors=0, split="dev")


def test_settings_that_contradict_are_refused() -> None:
    with pytest.raises(ValueError, match="min_operators: 3 is larger than max_operators: 2"):
        Msat(min_operators=3, max_operators=2)
