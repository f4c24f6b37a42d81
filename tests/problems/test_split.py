"""Splits depend on ids, seed and purpose alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfstudy.errors import ConfigError, DataError
from selfstudy.problems.split import hold_out, split_labelled
from selfstudy.types import Problem

PROBLEMS = [Problem(f"p/{n:03d}", f"q{n}", "1", "s\n#### 1" if n % 4 else None) for n in range(100)]


@given(st.permutations(PROBLEMS), st.integers(0, 5))
def test_row_order_does_not_matter(shuffled: list[Problem], seed: int) -> None:
    assert split_labelled(shuffled, 30, "rest", seed) == split_labelled(PROBLEMS, 30, "rest", seed)
    held = {p.id for p in hold_out(shuffled, 0.2, seed, "dev")[1]}
    assert held == {p.id for p in hold_out(PROBLEMS, 0.2, seed, "dev")[1]}


@given(st.integers(1, 75), st.integers(0, 3))
def test_labelled_have_solutions_and_rest_is_the_complement(count: int, seed: int) -> None:
    solved = {p.id for p in PROBLEMS if p.solution}
    chosen, rest = split_labelled(PROBLEMS, count, "rest", seed)
    assert len(chosen) == count
    assert set(chosen) <= solved
    assert set(chosen).isdisjoint(rest)
    assert set(chosen) | set(rest) == {p.id for p in PROBLEMS}
    again, everyone = split_labelled(PROBLEMS, count, "all", seed)
    assert again == chosen
    assert everyone == tuple(sorted(p.id for p in PROBLEMS))
    assert set(split_labelled(PROBLEMS, max(1, count - 1), "all", seed)[0]) <= set(chosen)


def test_fraction_and_all() -> None:
    assert len(split_labelled(PROBLEMS, 0.25, "all", 0)[0]) == 25
    assert len(split_labelled(PROBLEMS, "all", "all", 0)[0]) == 75


def test_seeds_and_purposes_choose_independently() -> None:
    dev = {p.id for p in hold_out(PROBLEMS, 50, 0, "dev")[1]}
    for other in (hold_out(PROBLEMS, 50, 1, "dev")[1], hold_out(PROBLEMS, 50, 0, "guard")[1]):
        assert 10 < len(dev & {p.id for p in other}) < 40  # 25 are expected


def test_hold_out_keeps_the_order_given() -> None:
    rest, held = hold_out(PROBLEMS, 10, 0, "dev")
    assert (len(rest), len(held)) == (90, 10)
    assert sorted(rest + held, key=lambda p: p.id) == PROBLEMS
    assert [p.id for p in held] == sorted(p.id for p in held)


def test_the_choice_is_pinned() -> None:
    """A change of this choice would change every run: it needs a reason and a new stage version."""
    assert split_labelled(PROBLEMS, 4, "all", 0)[0] == PINNED


PINNED = ("p/005", "p/014", "p/021", "p/077")


@pytest.mark.parametrize("bad", [0, -1, 0.0, 1.5])
def test_sizes_out_of_range_are_refused(bad: float) -> None:
    with pytest.raises(ConfigError, match="neither a count"):
        split_labelled(PROBLEMS, bad, "all", 0)
    with pytest.raises(ConfigError, match="dev: "):
        hold_out(PROBLEMS, bad, 0, "dev")


def test_too_few_solutions_are_refused_with_the_numbers() -> None:
    with pytest.raises(DataError, match="needs 76 problems with solutions, but only 75 of 100"):
        split_labelled(PROBLEMS, 76, "all", 0)
    with pytest.raises(DataError, match="only 0 of 1"):
        split_labelled([Problem("a", "q", "1")], "all", "all", 0)
    with pytest.raises(DataError, match="leaves none"):
        hold_out(PROBLEMS, 100, 0, "dev")
