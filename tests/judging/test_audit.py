"""The audit: each kind of fault where it is and nowhere else, in both notations, on any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfstudy.judging.audit import audit
from selfstudy.judging.notation import ANGLE, BRACKET

QUESTION = "Tom has 12 boxes with 4 pens each. He gives 15% of the pens to Ann and half of the rest to Ben. How many?"
SOUND = """Tom has 12 * 4 = <<12*4=48>>48 pens.
Ann gets 48 * 0.15 = <<48*.15=7.2>>7.2 of them, so 48 - 7.2 = <<48-7.2=40.8>>40.8 are left.
Ben gets 40.8 / 2 = <<40.8/2=20.4>>20.4.
#### 20.4"""


def kinds(solution: str, question: str = QUESTION) -> list[str]:
    return [fault.kind for fault in audit(question, solution)]


@pytest.mark.parametrize("notation", [ANGLE, BRACKET])
def test_a_sound_solution_has_no_fault(notation) -> None:
    assert audit(QUESTION, notation.rewrite(SOUND)) == []


@pytest.mark.parametrize("notation", [ANGLE, BRACKET])
@pytest.mark.parametrize(
    ("old", "new", "kind", "says"),
    [
        ("<<12*4=48>>48", "<<12*4=46>>46", "equation", "12*4 is not 46"),
        ("40.8 / 2 = <<40.8/2=20.4>>20.4", "40.8 / 2 = 25", "equation", "40.8 / 2 is not 25"),
        ("<<12*4=48>>48", "<<12*4=48>>84", "contradiction", "48 is computed and 84 written"),
        ("12 * 4 = <<", "12 * 5 = <<", "contradiction", "12 * 5 is written, 12*4 computed"),
        ("40.8 / 2 = <<40.8/2=20.4>>20.4", "40.8 / 17 = <<40.8/17=2.4>>2.4", "unknown", "17 stands neither"),
    ],
)
def test_each_kind_of_fault(notation, old: str, new: str, kind: str, says: str) -> None:
    solution = notation.rewrite(SOUND.replace(old, new))
    assert solution != notation.rewrite(SOUND)
    first = audit(QUESTION, solution)[0]
    assert first.kind == kind
    assert says in first.message
    assert 0 <= first.start < first.stop <= len(solution)


def test_a_result_ends_with_its_line() -> None:
    assert audit("Tom has 3 boxes of 4 pens and 5 more.", "3*4 = <<3*4=12>>\n5 more, <<12+5=17>>17\n#### 17") == []


def test_a_line_ends_what_stands_in_it() -> None:
    question = "Ann has 12 pens, Bob 5, Tim 2."
    assert audit(question, "Ann has 12\n- 5 + 2 = 7\n- 12 - 7 = 5") == []
    assert kinds("Ann has 12\n5 + 2 = 8\n12 - 7 = 5", question) == ["equation"]


@pytest.mark.parametrize("blanks", [" " * 20_000, "\t " * 10_000])
def test_blanks_are_read_once(blanks: str) -> None:
    """Where they are tried in every split this takes minutes."""
    assert audit("One pen and 1 cup", f"<<1+1=2>>{blanks}x") == []


def test_a_given_number_that_no_step_mentions() -> None:
    # Here 7 stands in the solution, if for another reason.
    assert audit("Tom has 12 pens and 7 cups. Ann takes 5 pens. How many pens?", "12-5 = <<12-5=7>>7 pens") == []
    (fault,) = audit("Tom has 12 pens and 9 cups. Ann takes 5 pens. How many pens?", "12-5 = <<12-5=7>>7 pens")
    assert (fault.kind, fault.start, fault.stop) == ("unused", 20, 21)


@pytest.mark.parametrize(
    ("question", "solution"),
    [
        ("She runs twenty-five laps in 2 hours.", "25 * 60 / 2 = <<25*60/2=750>>750"),  # words, and what an hour is
        ("A third of 1,200 people left.", "1200 * 2/3 = <<1200*2/3=800>>800"),  # what a part leaves
        ("A $40 hat is 25% off.", "40 * .75 = <<40*.75=30>>30"),  # what a per cent leaves
        ("Pens cost 90 cents. He buys 3.", "3 * $.90 = $<<3*.9=2.70>>2.70"),  # dollars and cents
        ("He eats 10 nuts in 3 days.", "10 / 3 = <<10/3=3.33>>3.33"),  # rounded
        ("He eats 10 nuts in 3 days.", "10 / 3 = <<10/3=3>>3"),
        ("4 dozen eggs.", "4 * 12 = <<4*12=48>>48"),
        ("Two hundred and five pears, 5 of them bad.", "205 - 5 = <<205-5=200>>200"),
        ("15 of 60 came. What per cent?", "15/60 x 100% = <<15/60*100=25>>25%"),
        ("He has 5 - 3 = 2 pens", "So 5 - 3 = 2 and 2 + 3 = 5."),
        ("On the 21st he ate 3 of 8.", "8 - 3 = <<8-3=5>>5"),  # an ordinal is no amount
    ],
)
def test_what_people_write_is_not_held_against_them(question: str, solution: str) -> None:
    assert audit(question, solution) == []


@pytest.mark.parametrize("spaces", [" ", "  "])
@pytest.mark.parametrize("end", ["", " =", " = <<1+1=2>>2", " = x"])
def test_a_sum_without_an_end_is_read_in_no_time(spaces: str, end: str) -> None:
    """A model in a loop writes such; where a space between two numbers can be read in two ways, 30 terms take hours."""
    text = f"{spaces}+{spaces}".join(["3"] * 500) + end
    assert {fault.kind for fault in audit("Two pens", text)} <= {"contradiction"}


@pytest.mark.parametrize(
    "text", ["9" * 5000, "1/" + "9" * 5000, "9" * 5000 + "/1", "." + "1" * 5000, f"<<{'9' * 5000}+1=2>>"]
)
def test_a_number_of_thousands_of_digits_is_none(text: str) -> None:
    assert audit(f"He has {text} pens", f"So {text} = 2") == []


@given(st.text(alphabet="0123456789.,<>=+-*/x$%[] \nabc½·", max_size=120), st.text(max_size=60))
def test_any_text_can_be_audited(solution: str, question: str) -> None:
    for fault in audit(question, solution):
        assert 0 <= fault.start < fault.stop
