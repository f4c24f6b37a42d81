"""Completions and candidates for the tests of selection: small alphabets, so that repeats and ties are common."""

from __future__ import annotations

from hypothesis import strategies as st

from selfstudy.selection.candidates import Candidates
from selfstudy.types import Completion, Finish

EOS = 99


def completion(text: str, tokens: str | None = None, finish: Finish = "stop") -> Completion:
    """Make a completion whose tokens are the characters of ``tokens``, by default of the text."""
    ids = tuple(ord(character) for character in (text if tokens is None else tokens))
    return Completion(text, ids if finish == "length" else (*ids, EOS), finish=finish)


words = st.text("abcdefgh", max_size=7)
# Text and tokens are drawn apart: the same text may come with other tokens.
drawn = st.builds(completion, words, st.none() | words, st.sampled_from(["stop", "length"]))
gold = st.builds(completion, words, st.none(), st.just("gold"))


@st.composite
def candidates(draw: st.DrawFn, problem_id: str = "p/1") -> Candidates:
    """Draw the candidates of one problem."""
    right = draw(st.lists(drawn, max_size=7))
    wrong = draw(st.lists(drawn, max_size=7))
    return Candidates(problem_id, draw(st.none() | gold), tuple(right), tuple(wrong))


@st.composite
def shuffled(draw: st.DrawFn) -> tuple[Candidates, Candidates]:
    """Draw candidates twice: in two orders, with repeats added to the second."""
    first = draw(candidates())
    right = draw(st.permutations(first.right + first.right[:2]))
    wrong = draw(st.permutations(first.wrong + first.wrong[:2]))
    return first, Candidates(first.problem_id, first.gold, tuple(right), tuple(wrong))
