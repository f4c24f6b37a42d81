from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from selfstudy.plugins import available, parse_spec
from selfstudy.selection.candidates import Candidates
from selfstudy.selection.pairers import FAMILY, Pairer, PairerSpec, default_pairer, load_pairer
from selfstudy.selection.pairers.least_similar import LeastSimilar
from selfstudy.selection.pairers.random import Random
from tests.selection import naive
from tests.selection.builders import candidates, completion, shuffled

EVERY = available(FAMILY)
winners = st.sampled_from(["all", "gold", "sample"])


def make(name: str, **changes: Any) -> Pairer:
    return load_pairer(parse_spec(FAMILY, {"name": name, **changes}))


def naive_pairs(problem: Candidates, who: str, threshold: float) -> list[tuple]:
    """List every allowed pair with its exact similarity."""
    gold = [problem.gold] if problem.gold else []
    right = {"all": gold + list(problem.right), "gold": gold, "sample": list(problem.right)}[who]
    chosen = naive.deduplicate(right, Fraction(str(threshold)))
    rejected = naive.deduplicate(list(problem.wrong), Fraction(str(threshold)))
    return [(naive.similarity(won, lost), won.text, lost.text) for won, lost in product(chosen, rejected)]


def shown(pairs: list) -> list[tuple]:
    return [(pair.similarity, pair.chosen.text, pair.rejected.text) for pair in pairs]


@given(candidates(), winners, st.sampled_from([0.0, 0.5, 0.7, 1.0]), st.integers(1, 5))
@settings(max_examples=200)
def test_least_similar_equals_brute_force(problem: Candidates, who: str, threshold: float, most: int) -> None:
    expected = sorted(naive_pairs(problem, who, threshold))[:most]
    pairer = LeastSimilar(per_problem=most, threshold=threshold, winners=who)
    assert shown(pairer.pair(problem, seed=0)) == [(float(alike), won, lost) for alike, won, lost in expected]


@pytest.mark.parametrize("name", EVERY)
@given(data=st.data())
def test_contract(name: str, data: st.DataObject) -> None:
    problem, again = data.draw(shuffled())
    seed = data.draw(st.integers(0, 3))
    pairer = make(name)
    pairs = pairer.pair(problem, seed)
    assert pairs == pairer.pair(again, seed)
    assert bool(pairs) == bool(problem.wrong and problem.solutions)
    assert len(set(shown(pairs))) == len(pairs) <= 3
    allowed = naive_pairs(problem, "all", 0.7)
    for pair in pairs:
        assert pair.problem_id == problem.problem_id
        assert (naive.similarity(pair.chosen, pair.rejected), pair.chosen.text, pair.rejected.text) in allowed
        assert pair.similarity == float(naive.similarity(pair.chosen, pair.rejected))
        assert pair.chosen in problem.solutions
        assert pair.rejected in problem.wrong
        assert pair.chosen_from == ("gold" if pair.chosen is problem.gold else "sample")


@pytest.mark.parametrize("name", EVERY)
def test_settings_of_every_pairer(name: str) -> None:
    problem = Candidates(
        "p",
        completion("abc", finish="gold"),
        (completion("def"), completion("ghi")),
        (completion("xy"), completion("zw")),
    )
    assert len(make(name, per_problem=100).pair(problem, 0)) == 6
    assert {p.chosen_from for p in make(name, per_problem=100, winners="gold").pair(problem, 0)} == {"gold"}
    assert {p.chosen_from for p in make(name, per_problem=100, winners="sample").pair(problem, 0)} == {"sample"}
    with pytest.raises(ValueError, match="per_problem"):
        parse_spec(FAMILY, {"name": name, "per_problem": 0})
    with pytest.raises(ValueError, match="did you mean 'threshold'"):
        parse_spec(FAMILY, {"name": name, "treshold": 0.5})


def test_without_gold_a_gold_only_pairer_has_nothing_to_pair() -> None:
    problem = Candidates("p", None, (completion("abc"),), (completion("x"),))
    assert LeastSimilar(winners="gold").pair(problem, 0) == []


def test_ties_go_by_chosen_then_rejected_text() -> None:
    # All similarities are 0. The gold solution comes first in deduplication, not here.
    problem = Candidates(
        "p", completion("z", finish="gold"), (completion("b"), completion("a")), (completion("y"), completion("x"))
    )
    pairs = LeastSimilar(per_problem=6).pair(problem, 0)
    assert [pair.chosen.text + pair.rejected.text for pair in pairs] == ["ax", "ay", "bx", "by", "zx", "zy"]


def test_candidates_refuse_a_gold_solution_that_is_none() -> None:
    with pytest.raises(ValueError, match="problem p: finish must be 'gold'"):
        Candidates("p", completion("a"))
    with pytest.raises(ValueError, match="problem p: finish must be 'gold'"):
        Candidates("p", None, (), (completion("a", finish="gold"),))


def test_unfinished_losers_take_part() -> None:
    cut = completion("xyz", finish="length")
    (pair,) = LeastSimilar().pair(Candidates("p", completion("ab", finish="gold"), (), (cut,)), 0)
    assert pair.rejected is cut
    assert pair.similarity == 0.0


def test_random_draws_every_pair_equally_often_and_by_problem() -> None:
    right = tuple(map(completion, ["ab", "cd", "ef"]))
    wrong = tuple(map(completion, ["uv", "wx"]))
    pairer = Random(per_problem=2)
    seen: Counter[tuple[str, str]] = Counter()
    first = []
    draws = 3000
    for number in range(draws):
        pairs = pairer.pair(Candidates(f"p/{number}", None, right, wrong), seed=7)
        first.append(shown(pairs)[0])
        seen.update((pair.chosen.text, pair.rejected.text) for pair in pairs)
    # Each of 6 pairs is in a draw of 2 with chance 1/3: 1000 ± 26 times; 5 standard deviations.
    assert set(seen) == set(product(["ab", "cd", "ef"], ["uv", "wx"]))
    assert all(abs(count - draws / 3) < 130 for count in seen.values())
    again = [shown(pairer.pair(Candidates(f"p/{n}", None, right, wrong), seed=8))[0] for n in range(50)]
    assert again != first[:50]


def test_the_default_is_the_papers() -> None:
    assert load_pairer(default_pairer()) == LeastSimilar(per_problem=3, threshold=0.7, winners="all")
    assert default_pairer().identity() == {
        "name": "least_similar", "per_problem": 3, "threshold": 0.7, "winners": "all"
    }  # fmt: skip


def test_unknown_pairer_lists_what_there_is() -> None:
    with pytest.raises(ValidationError, match="did you mean 'least_similar'"):
        TypeAdapter(PairerSpec).validate_python("most_similar")
