"""Both directions, idempotent, and nothing but annotations and newlines changes."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from selfstudy.judging.notation import ANGLE, BRACKET, NOTATIONS

SOLUTION = "Tom has 3+4 = <<3+4=7>>7 apples.\nHe sells 7*$2 = $<<7*2=14>>14.\n#### 14"
ONE_LINE = "Tom has 3+4 = [ 3+4 = 7 ]7 apples. He sells 7*$2 = $[ 7*2 = 14 ]14. #### 14"

# Text in which every piece of either notation is likely, whole or broken.
pieces = st.sampled_from(
    ["<<", ">>", "<", ">", "[ ", " ]", "[", "]", "=", " = ", "1+2", "3", " ", "\n", "\r\n", "\t", "a"]
)
texts = st.lists(pieces | st.text(max_size=2), max_size=25).map("".join)
words = st.text(
    st.characters(exclude_characters="<>[]=\r\n", exclude_categories=["Zs", "Cs", "Cc"]), min_size=1, max_size=6
)


def test_both_directions() -> None:
    assert BRACKET.rewrite(SOLUTION) == ONE_LINE
    assert ANGLE.rewrite(ONE_LINE) == SOLUTION.replace("\n", " ")
    assert ANGLE.rewrite(SOLUTION) == SOLUTION


def test_spaces_in_an_annotation_are_its_own() -> None:
    assert BRACKET.rewrite("<< 3 + 4 = 7 >>") == "[ 3 + 4 = 7 ]"
    assert ANGLE.rewrite("[ 3 + 4 = 7 ]") == "<<3 + 4=7>>"


def test_several_newlines_become_one_space() -> None:
    assert BRACKET.rewrite("a \n\n \r\n b  c") == "a b  c"


@pytest.mark.parametrize("text", ["see [1] = 2", "1 << 2 and 3 >> 4", "[x = 1]", "a <<b>> c", "[ ]", "<<1+1>>"])
def test_what_is_no_annotation_stays(text: str) -> None:
    assert BRACKET.rewrite(text) == text
    assert ANGLE.rewrite(text) == text


@pytest.mark.parametrize("notation", NOTATIONS.values(), ids=list(NOTATIONS))
@given(text=texts)
@example("<<1=\n2>>")  # a newline inside an annotation
@example("[  1 = 2 ]")  # more space than the notation's own
def test_idempotent(notation, text: str) -> None:
    once = notation.rewrite(text)
    assert notation.rewrite(once) == once


def _residue(text: str) -> str:
    """What must survive: all but white space, brackets and the equals signs."""
    return re.sub(r"[\s<>\[\]=]", "", text)


@pytest.mark.parametrize("notation", NOTATIONS.values(), ids=list(NOTATIONS))
@given(text=texts)
def test_changes_annotations_and_newlines_only(notation, text: str) -> None:
    assert _residue(notation.rewrite(text)) == _residue(text)


@given(st.lists(st.tuples(words, words, words), max_size=5))
def test_every_annotation_is_found(steps: list[tuple[str, str, str]]) -> None:
    angle = "".join(f"{text} {ANGLE.annotate(left, right)}\n" for text, left, right in steps)
    bracket = "".join(f"{text} {BRACKET.annotate(left, right)} " for text, left, right in steps)
    assert BRACKET.rewrite(angle) == bracket
    assert ANGLE.rewrite(bracket) == angle.replace("\n", " ")


def test_long_blanks_take_linear_time() -> None:
    assert BRACKET.rewrite(" " * 300_000 + "x") == " " * 300_000 + "x"


def test_gsm8k(data) -> None:
    for split in ("train", "dev"):
        for line in (data / "gsm8k" / f"{split}.jsonl").open(encoding="utf-8"):
            solution = json.loads(line)["answer"]
            bracket = BRACKET.rewrite(solution)
            assert "\n" not in bracket
            assert "<<" not in bracket
            assert BRACKET.rewrite(bracket) == bracket
            # Back again, only the newlines (with the blanks around them) are other than they were.
            assert ANGLE.rewrite(bracket) == re.sub(r"[ \t]*\n\s*", " ", solution)
            outside = re.split(r"<<[^<>]*>>", re.sub(r"[ \t]*\n\s*", " ", solution))
            position = 0
            for part in outside:
                assert part in bracket[position:]
                position = bracket.index(part, position) + len(part)
