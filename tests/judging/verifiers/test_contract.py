"""What every verifier keeps: each outcome reachable, deterministic, frozen, total; and what each decides."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from selfstudy.errors import DataError
from selfstudy.judging.verifiers import (
    FAMILY,
    Judgement,
    Verifier,
    default_verifier,
    load_verifier,
)
from selfstudy.plugins import available, parse_spec
from selfstudy.types import Problem

# For every verifier: a gold answer, and texts that are right, wrong and unparsed. A new verifier needs a line here.
CONTRACT: dict[str, tuple[str, list[str], list[str], list[str]]] = {
    "numeric": (
        "1800",
        ["so\n#### 1,800", "#### 5 #### $1800.00", "#### 1800.00001 km", "[ 900*2 = 1800 ]1800. #### 1800"],
        ["#### 1801", "#### -1800", "#### 1800.0001", "#### 1800 #### 0"],
        ["", "1800", "#### eighteen", "#### 1800 or 1801", "#### " + "9" * 60],
    ),
    "exact": (
        "New York",
        ["#### New York", "####  new\tYORK "],
        ["#### York", "#### New York.", "#### Boston"],
        ["", "New York", "#### "],
    ),
    "choice": (
        "B",
        [
            *("#### B", "#### b.", "#### (B)", "#### Answer: b", "#### **B**", "#### B) 42 apples", "#### option B"),
            *("#### [b]", "#### the correct answer is (B).", "#### (B) salt and pepper", "#### $B$", "#### ( B )"),
            r"#### \text{B}",
        ],
        ["#### A", "#### (c)", "#### B #### D"],
        ["", "B", "#### F", "#### Bob", "#### a dog", "#### (A) or (B)", "#### A, B", "#### 5", "#### A) or b."],
    ),
    "math_verify": (
        "1/2",
        ["#### 1/2", "#### 0.5", r"#### \frac{1}{2}", r"#### $\frac{2}{4}$", r"#### \frac12", "#### 0.50000001"],
        ["#### 1/3", "#### 2", r"#### \frac{2}{1}", "#### x/2", "#### 1/2 #### 0"],
        ["", "1/2", "#### "],
    ),
}


def make(name: str, **settings: object) -> Verifier:
    if name == "math_verify":
        pytest.importorskip("math_verify", reason="the extra math is not installed")
    return load_verifier(parse_spec(FAMILY, {"name": name, **settings}))


def problem(answer: str) -> Problem:
    return Problem("mine/train/00001", "Which one?", answer)


def test_the_table_is_complete() -> None:
    assert sorted(CONTRACT) == available(FAMILY)


@pytest.mark.parametrize("name", available(FAMILY))
class TestContract:
    def test_each_outcome(self, name: str) -> None:
        verifier = make(name)
        answer, *texts = CONTRACT[name]
        for outcome, cases in zip(("right", "wrong", "unparsed"), texts, strict=True):
            assert cases
            for text in cases:
                judgement = verifier.verify(problem(answer), text)
                assert isinstance(judgement, Judgement)
                assert judgement.outcome == outcome, (text, judgement)
                assert (judgement.extracted is None) == (outcome == "unparsed")
                assert judgement.reason

    def test_its_own_answer_is_right(self, name: str) -> None:
        answer = CONTRACT[name][0]
        assert make(name).verify(problem(answer), f"#### {answer}").outcome == "right"

    def test_equal_answers_are_extracted_alike(self, name: str) -> None:
        """Majority votes and distinct answers count what is extracted."""
        if name not in ("numeric", "math_verify"):  # where right is equal, not near or another form
            answer, right, _, _ = CONTRACT[name]
            assert len({make(name).verify(problem(answer), text).extracted for text in right}) == 1

    @given(text=st.text() | st.text("#### AbC(5).-,", max_size=20).map("#### ".__add__))
    def test_total_and_deterministic(self, name: str, text: str) -> None:
        first, second = (make(name).verify(problem(CONTRACT[name][0]), text) for _ in range(2))
        assert first == second
        assert first.outcome in ("right", "wrong", "unparsed")

    def test_frozen_and_strict(self, name: str) -> None:
        verifier = make(name)
        field = next(iter(type(verifier).model_fields))
        with pytest.raises(ValidationError):
            setattr(verifier, field, None)
        with pytest.raises(ValueError, match=f"{name}: findr is not a setting; did you mean 'finder'"):
            make(name, findr="####")

    def test_the_finder_is_a_setting(self, name: str) -> None:
        answer = CONTRACT[name][0]
        verifier = make(name, finder="The answer is")
        assert verifier.verify(problem(answer), f"The answer is {answer}.").outcome == "right"
        assert verifier.verify(problem(answer), f"#### {answer}").outcome == "unparsed"

    def test_identity_says_every_setting(self, name: str) -> None:
        assert make(name).identity()["finder"] == {"pattern": "####"}
        assert parse_spec(FAMILY, name).identity() == {"name": name, **make(name).identity()}


@pytest.mark.parametrize(
    ("name", "answer", "message"),
    [
        ("numeric", "Paris", "mine/train/00001: its answer 'Paris' is not a number; set verifier: exact, or choice"),
        ("exact", " ", "mine/train/00001: its answer is empty"),
        ("choice", "F", "mine/train/00001: its answer 'F' is none of the letters ABCDE"),
    ],
)
def test_a_bad_gold_answer_is_a_fault_not_a_verdict(name: str, answer: str, message: str) -> None:
    for text in ("#### 5", "nothing"):
        with pytest.raises(DataError, match="^" + message):
            make(name).verify(problem(answer), text)


@pytest.mark.parametrize(
    ("name", "settings", "answer", "text", "outcome"),
    [
        ("numeric", {"tolerance": 0.5}, "5", "#### 5.4", "right"),
        ("numeric", {"tolerance": 0.5}, "5", "#### 5.5", "wrong"),
        ("numeric", {"tolerance": 0}, "1/3", "#### 2/6", "right"),
        ("numeric", {"tolerance": 0}, "1/3", "#### 0.3333333333", "wrong"),
        ("numeric", {"finder": r"\boxed{}"}, "0.5", r"so \boxed{\frac{1}{2}}", "right"),
        ("exact", {"ignore_case": False}, "Paris", "#### paris", "wrong"),
        ("exact", {"ignore_case": False}, "Paris", "#### Paris", "right"),
        ("choice", {"letters": "ABCDEF"}, "F", "#### f", "right"),
        ("choice", {"letters": "AB"}, "A", "#### C", "unparsed"),
    ],
)
def test_settings(name: str, settings: Mapping[str, object], answer: str, text: str, outcome: str) -> None:
    assert make(name, **settings).verify(problem(answer), text).outcome == outcome


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "numeric", "tolerance": -1}, "numeric: tolerance: .* greater than or equal to 0"),
        (
            {"name": "numeric", "finder": "answer"},
            "numeric: finder.pattern: a regular expression with exactly one group",
        ),
        ({"name": "choice", "letters": "abc"}, "choice: letters: "),
        ("numerical", "unknown name 'numerical'; did you mean 'numeric'"),
        ("magic", f"unknown name 'magic'; known: {', '.join(available(FAMILY))}"),
        (5, f"name one of: {', '.join(available(FAMILY))}; or the path of a .py file"),
    ],
)
def test_bad_settings(settings: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_spec(FAMILY, settings)


def test_default_is_the_papers() -> None:
    verifier = load_verifier(default_verifier())
    assert verifier.identity() == {"tolerance": 1e-4, "finder": {"pattern": "####"}}
