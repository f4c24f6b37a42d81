from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfstudy.errors import PluginError
from selfstudy.plugins import available, parse_spec
from selfstudy.selection.candidates import Candidates
from selfstudy.selection.selectors import (
    FAMILY,
    Selector,
    default_selector,
    examples,
    limit,
    load_selector,
    survey,
)
from selfstudy.selection.selectors.dedup_jaccard import DedupJaccard, floor_percentile
from selfstudy.selection.selectors.keep_all import KeepAll
from selfstudy.types import Completion, Example
from tests.selection import naive
from tests.selection.builders import candidates, completion, shuffled

EVERY = available(FAMILY)


def make(name: str, **changes: Any) -> Selector:
    return load_selector(parse_spec(FAMILY, {"name": name, **changes}))


@st.composite
def many(draw: st.DrawFn) -> list[Candidates]:
    count = draw(st.integers(0, 6))
    return [draw(candidates(f"p/{number}")) for number in range(count)]


def naive_cap(counts: list[int], percentile: int) -> int | None:
    """The floor of the percentile, from the sorted list, in fractions."""
    counts = sorted(count for count in counts if count)
    if not counts:
        return None
    rank = Fraction(percentile, 100) * (len(counts) - 1)
    lower = counts[floor(rank)]
    upper = counts[min(floor(rank) + 1, len(counts) - 1)]
    return floor(lower + (rank - floor(rank)) * (upper - lower))


@given(many(), st.sampled_from([0, 30, 50, 90, 100]), st.sampled_from([0.3, 0.7]), st.integers(0, 3))
@settings(max_examples=150)
def test_dedup_jaccard_equals_brute_force(
    problems: list[Candidates], percentile: int, threshold: float, seed: int
) -> None:
    selector = DedupJaccard(threshold=threshold, cap_percentile=percentile)
    facts = survey(selector, problems)
    chosen = list(examples(selector, problems, facts.cap, seed))

    kept = {p.problem_id: naive.deduplicate(list(p.solutions), Fraction(str(threshold))) for p in problems}
    cap = naive_cap([len(solutions) for solutions in kept.values()], percentile)
    assert facts.cap == cap
    labels = {p.problem_id: [e.completion for e in chosen if e.problem_id == p.problem_id] for p in problems}
    for problem in problems:
        samples = [one for one in kept[problem.problem_id] if one.finish != "gold"]
        room = max(0, (cap or 0) - (problem.gold is not None))
        assert len(labels[problem.problem_id]) == min(room, len(samples))
        assert [one for one in samples if one in labels[problem.problem_id]] == labels[problem.problem_id]

    distinct = sum(one.finish != "gold" for solutions in kept.values() for one in solutions)
    right = sum(len(problem.right) for problem in problems)
    assert dataclasses.asdict(facts) == {
        "cap": cap,
        "problems": len(problems),
        "covered": sum(bool(label) for label in labels.values()),
        "right": right,
        "unsound": 0,
        "duplicates": right - distinct,
        "over_cap": distinct - len(chosen),
        "kept": len(chosen),
    }


@pytest.mark.parametrize("name", EVERY)
@given(data=st.data())
def test_contract(name: str, data: st.DataObject) -> None:
    problem, again = data.draw(shuffled())
    selector = make(name)
    kept = selector.keep(problem)
    assert kept == selector.keep(again)
    assert set(kept) <= set(problem.solutions)
    assert len({one.text for one in kept}) == len(kept)
    assert bool(kept) == bool(problem.solutions)
    if problem.gold:
        assert kept[0] == problem.gold
    facts = survey(selector, [problem])
    chosen = list(examples(selector, [problem], facts.cap, 5))
    assert chosen == list(examples(selector, [again], facts.cap, 5))
    assert facts.kept == len(chosen)
    assert all(one == Example("p/1", one.completion, "pseudo") and one.completion in problem.right for one in chosen)
    assert selector.cap_from({}) is None


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(0, 100))
def test_percentile_equals_numpy(numbers: list[int], percentile: int) -> None:
    # numpy interpolates in floating point: 2.9999… means 3.
    expected = floor(float(np.percentile(numbers, percentile)) + 1e-9)
    assert floor_percentile(Counter(numbers), percentile) == expected == naive_cap(numbers, percentile)


def test_percentile_worked() -> None:
    # Ranks 0 … 9; the 90th percentile lies at 8.1: between 4 and 8, 4.4, so 4.
    assert floor_percentile({1: 5, 4: 4, 8: 1}, 90) == 4
    # Rank 29 exactly, where floating point says 28.999999999999996.
    assert floor_percentile({number: 1 for number in range(1, 102)}, 29) == 30
    assert floor_percentile({number: 1 for number in range(1, 1002)}, 99.8) == 999
    # Eleven problems: rank 9 exactly.
    assert floor_percentile({1: 9, 7: 1, 9: 1}, 90) == 7


def test_problems_without_solutions_do_not_lower_the_cap() -> None:
    rich = Candidates("rich", None, tuple(map(completion, ["ab", "cd", "ef", "gh"])))
    poor = [Candidates(f"poor/{number}", None) for number in range(50)]
    assert survey(DedupJaccard(), [rich, *poor]).cap == 4
    assert survey(DedupJaccard(), poor).cap is None
    assert list(examples(DedupJaccard(), poor, None, 0)) == []


def test_gold_counts_in_the_cap_but_is_no_label() -> None:
    gold = completion("zz", finish="gold")
    problem = Candidates("p", gold, tuple(map(completion, ["ab", "cd", "ef"])))
    selector = DedupJaccard(cap=2)
    facts = survey(selector, [problem])
    assert (facts.cap, facts.kept, facts.over_cap, facts.covered) == (2, 1, 2, 1)
    (label,) = examples(selector, [problem], 2, 0)
    assert label.completion.finish == "stop"
    assert list(examples(selector, [problem], 1, 0)) == []
    assert survey(DedupJaccard(cap=1), [problem]).covered == 0


def test_a_sample_like_the_gold_solution_is_a_duplicate() -> None:
    problem = Candidates(
        "p", completion("abcd", finish="gold"), (completion("abcd"), completion("abcdd"), completion("xy"))
    )
    facts = survey(DedupJaccard(), [problem])
    assert (facts.right, facts.duplicates, facts.kept) == (3, 2, 1)
    # Verbatim repeats only: the second has other text.
    assert survey(KeepAll(), [problem]).duplicates == 1


def test_the_draw_under_the_cap_is_uniform_and_seeded() -> None:
    kept = list(map(completion, ["ab", "cd", "ef", "gh"]))
    seen: Counter[str] = Counter()
    draws = 3000
    for number in range(draws):
        seen.update(one.text for one in limit(f"p/{number}", kept, 2, seed=1))
    # Each of 4 is in a draw of 2 with chance 1/2: 1500 ± 27 times; 5 standard deviations.
    assert all(abs(count - draws / 2) < 137 for count in seen.values())
    by_seed = {tuple(one.text for one in limit("p/1", kept, 2, seed)) for seed in range(100)}
    assert len(by_seed) == 6
    assert limit("p/1", kept, 2, 3) == limit("p/1", kept, 2, 3)


def test_a_raised_cap_keeps_what_was_drawn() -> None:
    kept = list(map(completion, ["ab", "cd", "ef", "gh", "ij"]))
    for cap in range(5):
        assert set(limit("p", kept, cap, 0)) <= set(limit("p", kept, cap + 1, 0))


def test_both_passes_take_streams() -> None:
    def problems():
        for number in range(200):
            right = tuple(completion(chr(97 + i) * 2) for i in range(number % 4))
            yield Candidates(f"p/{number}", None, right)

    facts = survey(DedupJaccard(), problems())
    assert facts.kept == sum(1 for _ in examples(DedupJaccard(), problems(), facts.cap, 0)) == 300
    assert (facts.problems, facts.covered, facts.cap) == (200, 150, 3)


def test_a_selector_that_loses_the_gold_solution_is_a_fault() -> None:
    class Forgetful(Selector):
        def keep(self, candidates: Candidates) -> list[Completion]:
            return list(candidates.right)

        def cap_from(self, counts: Mapping[int, int]) -> int | None:
            return None

    problem = Candidates("p/7", completion("a", finish="gold"), (completion("b"),))
    with pytest.raises(PluginError, match=r"Forgetful: problem p/7: keep\(\) must return the gold solution first"):
        survey(Forgetful(), [problem])


def test_the_default_is_the_papers() -> None:
    assert load_selector(default_selector()) == DedupJaccard(threshold=0.7, cap_percentile=90, cap=None)


@pytest.mark.parametrize("change", [{"cap": 0}, {"cap_percentile": 101}, {"threshold": -0.1}])
def test_settings_out_of_range(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        parse_spec(FAMILY, {"name": "dedup_jaccard", **change})


@pytest.mark.parametrize("required", [False, True])
def test_solutions_with_wrong_steps_are_dropped_where_valid_ones_are_required(required: bool) -> None:
    texts = ["2 + 3 = <<2+3=5>>5 pens\n#### 5", "3 * 2 = <<3*2=5>>5 nuts\n#### 5", "9 - 4 = <<9-4=5>>5 cups\n#### 5"]
    gold = completion("5 it is\n#### 5", finish="gold")
    problem = Candidates("p", gold, tuple(map(completion, texts)), (), "Tom has 2 pens and gets 3 more. How many?")
    selector = KeepAll(require_valid_steps=required)
    facts = survey(selector, [problem])
    kept = [example.completion.text for example in examples(selector, [problem], facts.cap, 0)]
    assert set(kept) == set(texts[:1] if required else texts)
    assert (facts.unsound, facts.duplicates, facts.kept) == ((2, 0, 1) if required else (0, 0, 3))
