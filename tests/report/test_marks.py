"""Solutions cut into parts: the calculator's, and the first step that cannot be right."""

from __future__ import annotations

from selfstudy.report.marks import CALCULATOR, FAULT, mark
from selfstudy.types import Completion

WORDS = [b"", " a é".encode()[:3], " a é".encode()[3:], b" has", b" 3*4=<<3*4=", b"12", b">>", b"12", b"9", b" pens"]
QUESTION = "He has 3 boxes of 4 pens."


def completion(*ids: int, forced: tuple[tuple[int, int], ...] = ()) -> Completion:
    text = b"".join(WORDS[i] for i in ids).decode().removeprefix(" ")
    return Completion(text, ids, forced)


def test_forced_tokens_are_the_calculators_whatever_bytes_come_before() -> None:
    found = completion(1, 2, 3, 4, 5, 6, 7, 9, 0, forced=((4, 6),))
    parts, fault = mark(QUESTION, found, WORDS)
    assert parts == [(0, "a é has 3*4=<<3*4="), (CALCULATOR, "12>>"), (0, "12 pens")]
    assert fault is None
    assert "".join(text for _, text in parts) == found.text


def test_the_first_faulty_step_and_what_is_wrong_with_it() -> None:
    found = completion(3, 4, 5, 6, 8, 9, 3, 4, 5, 6, 8, 0, forced=((2, 4), (8, 10)))
    parts, fault = mark(QUESTION, found, WORDS)
    assert [text for flag, text in parts if flag & FAULT] == ["<<3*4=", "12>>", "9"]
    assert [flag for flag, text in parts if text == "12>>"] == [CALCULATOR | FAULT, CALCULATOR]
    assert fault == "12 is computed and 9 written"
    assert "".join(text for _, text in parts) == found.text


def test_unused_numbers_are_no_fault_and_an_empty_text_has_no_parts() -> None:
    assert mark(QUESTION, completion(9), WORDS) == ([(0, "pens")], None)
    assert mark(QUESTION, Completion("", ()), WORDS) == ([], None)


def test_tokens_that_do_not_spell_the_text_mark_nothing() -> None:
    for vocabulary in (None, WORDS[:5], [b"x"] * 20):
        parts, _ = mark(QUESTION, completion(3, 4, 5, 6, forced=((2, 4),)), vocabulary)
        assert parts == [(0, "has 3*4=<<3*4=12>>")]
