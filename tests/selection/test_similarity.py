from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfstudy.selection.similarity import deduplicate, distinct, jaccard, token_set
from tests.selection import naive
from tests.selection.builders import completion, drawn, gold

thresholds = st.sampled_from([0.0, 0.25, 0.5, 0.7, 1.0])
sets = st.frozensets(st.integers(0, 12), max_size=8)


def test_jaccard_worked() -> None:
    # {1,2,3} and {2,3,4,5}: 2 shared of 5.
    assert jaccard(frozenset({1, 2, 3}), frozenset({2, 3, 4, 5})) == 0.4
    assert jaccard(frozenset(), frozenset()) == 1.0
    assert jaccard(frozenset(), frozenset({1})) == 0.0


@given(sets, sets)
def test_jaccard_properties(a: frozenset[int], b: frozenset[int]) -> None:
    value = jaccard(a, b)
    assert value == jaccard(b, a)
    assert 0 <= value <= 1
    assert (value == 1) == (a == b)


@pytest.mark.parametrize("finish", ["stop", "gold"])
def test_end_of_sequence_is_no_part_of_a_finished_completion(finish: str) -> None:
    assert token_set(completion("ab", finish=finish)) == {ord("a"), ord("b")}


def test_cut_completion_keeps_its_last_token() -> None:
    assert token_set(completion("ab", finish="length")) == {ord("a"), ord("b")}


def test_threshold_must_be_exceeded() -> None:
    # 7 shared tokens of 10: exactly 0.7, so both stay; 8 of 10 exceed it.
    base = completion("abcdefgh")
    at = completion("abcdefgxy", tokens="abcdefgxy")
    assert naive.similarity(base, at) == Fraction(7, 10)
    assert deduplicate([at, base], 0.7) == [base, at]
    above = completion("abcdefghxy")
    assert naive.similarity(base, above) == Fraction(8, 10)
    assert deduplicate([above, base], 0.7) == [base]


def test_only_kept_completions_drop_others() -> None:
    # b is too like a, c is too like b but not like a: c stays, since b is gone.
    a, b, c = completion("aaa", "abcd"), completion("bbb", "abcde"), completion("ccc", "bcdef")
    assert naive.similarity(a, b) == Fraction(4, 5)
    assert naive.similarity(b, c) == Fraction(4, 6)
    assert naive.similarity(a, c) == Fraction(3, 6)
    assert deduplicate([c, b, a], 0.6) == [a, c]


def test_gold_comes_first_and_replaces_a_sample_of_the_same_text() -> None:
    best = completion("zz", finish="gold")
    assert deduplicate([completion("zz"), completion("aa"), best], 0.7) == [best, completion("aa")]


def test_one_completion_stands_for_a_text() -> None:
    cut = completion("a", "a", "length")
    long_way, short_way = completion("a", "bb"), completion("a", "ba")
    assert distinct([cut, long_way, short_way]) == [short_way]
    assert distinct([cut]) == [cut]


def test_code_point_order() -> None:
    texts = ["é", "z", "Z", "😀", "\uffff", "a b", "a\nb"]
    assert [one.text for one in distinct(map(completion, texts))] == ["Z", "a\nb", "a b", "z", "é", "\uffff", "😀"]


@given(st.lists(drawn | gold, max_size=9), thresholds)
def test_equals_the_naive_rule(pool: list, threshold: float) -> None:
    assert deduplicate(pool, threshold) == naive.deduplicate(pool, Fraction(str(threshold)))


@given(st.lists(drawn | gold, max_size=8), st.data())
def test_order_and_repeats_do_not_matter(pool: list, data: st.DataObject) -> None:
    again = data.draw(st.permutations(pool + pool[:3]))
    assert deduplicate(again) == deduplicate(pool)
    assert distinct(again) == distinct(pool)


@given(st.lists(drawn, max_size=8), thresholds)
def test_twice_is_once(pool: list, threshold: float) -> None:
    once = deduplicate(pool, threshold)
    assert deduplicate(once, threshold) == once
    assert all(naive.similarity(a, b) <= Fraction(str(threshold)) for a in once for b in once if a is not b)
