from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfstudy.evaluation.metrics import (
    Interval,
    accuracy,
    maj_at_k,
    mcnemar,
    mean_count,
    paired_bootstrap,
    pass_at_k,
    proportion,
    wilson,
)
from selfstudy.types import Outcome, Verdict


def verdicts(answers: list[str | None], right: str = "R") -> list[Verdict]:
    """Judge answers: ``right`` is right, None unparsed."""
    return [
        Verdict("p", index, "unparsed" if one is None else "right" if one.startswith(right) else "wrong", one, "")
        for index, one in enumerate(answers)
    ]


# --- intervals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        (5, 10, 0.2366, 0.7634),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_published_values(right: int, n: int, low: float, high: float) -> None:
    assert wilson(right / n, n) == pytest.approx((low, high), abs=6e-5)
    outcomes: list[Outcome] = ["right"] * right + ["wrong"] * (n - right)
    interval = accuracy(outcomes)
    assert (interval.low, interval.high) == wilson(right / n, n)
    assert (interval.value, interval.n) == (right / n, n)


@given(st.integers(0, 400), st.integers(1, 400))
def test_wilson_solves_its_equation(right: int, n: int) -> None:
    # The ends are where |p̂ − p| = z √(p(1 − p)/n).
    share = min(right, n) / n
    for end in wilson(share, n):
        assert (share - end) ** 2 == pytest.approx(1.959963984540054**2 * end * (1 - end) / n, abs=1e-12)


def test_unparsed_is_not_right() -> None:
    assert accuracy(["right", "unparsed", "wrong", "unparsed"]).value == 0.25


@given(st.lists(st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.75, 1.0]), min_size=1, max_size=30), st.randoms())
def test_proportion_properties(values: list[float], random) -> None:
    interval = proportion(values)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.low < interval.high
    shuffled = random.sample(values, len(values))
    assert proportion(shuffled) == interval
    # Never wider than for coins of the same mean.
    low, high = wilson(interval.value, len(values))
    assert low - 1e-12 <= interval.low
    assert interval.high <= high + 1e-12


def test_proportion_worked() -> None:
    # Four values of 1/2 with 0, 0, 1, 1 added: p = 1/2, s² = (4·¼)/8 = 1/8, so n = 4 · (1/4)/(1/8) = 8.
    assert proportion([0.5] * 4) == Interval(0.5, *wilson(0.5, 8), 4)


@pytest.mark.parametrize("shape", [(0.3, 0.6), (2.0, 1.0), (0.1, 3.0)])
def test_proportion_covers_the_truth(shape: tuple[float, float]) -> None:
    # Problems differ in difficulty (beta), samples of one problem share it: 95% of intervals hold the mean difficulty.
    rng = np.random.default_rng(3)
    truth = shape[0] / sum(shape)
    runs, covered = 800, 0
    for _ in range(runs):
        shares = rng.binomial(5, rng.beta(*shape, size=60)) / 5
        interval = proportion(shares.tolist())
        covered += interval.low <= truth <= interval.high
    assert 0.93 <= covered / runs <= 0.99


@pytest.mark.parametrize("values", [[], [1.1], [0.5, -0.1], [float("nan")]])
def test_proportion_refuses(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"all in \[0, 1\]"):
        proportion(values)


@pytest.mark.parametrize("at_most", [4, 64])
def test_mean_count_is_a_share_of_what_could_be(at_most: int) -> None:
    top = min(at_most, 5)
    shares = proportion([1 / top, 2 / top, 2 / top, 4 / top])
    assert mean_count([1, 2, 2, 4], at_most) == Interval(2.25, top * shares.low, top * shares.high, 4)


@pytest.mark.parametrize("at_most", [10, 64])
def test_mean_count_is_neither_too_narrow_nor_too_wide(at_most: int) -> None:
    """Of 100 counts it holds the mean as often as it should, at about the normal interval's width."""
    rng = np.random.default_rng(0)
    held, widths = [], []
    for _ in range(400):
        counts = np.minimum(rng.poisson(1.0, 100), at_most)
        found = mean_count(counts.tolist(), at_most)
        held.append(found.low <= 1.0 <= found.high)
        widths.append((found.high - found.low) / (2 * 1.96 * counts.std(ddof=1) / math.sqrt(100)))
    assert 0.93 <= float(np.mean(held)) <= 0.99
    assert 0.95 <= float(np.mean(widths)) <= 1.25


@pytest.mark.parametrize("counts", [[0] * 5, [0, 0, 0, 1], [8] * 5, [3]])
def test_mean_count_stays_in_its_range(counts: list[int]) -> None:
    found = mean_count(counts, 8)
    assert 0 <= found.low <= found.value <= found.high <= 8
    assert found.low < found.high


@pytest.mark.parametrize("counts", [[], [9], [-1]])
def test_mean_count_refuses(counts: list[int]) -> None:
    with pytest.raises(ValueError, match=r"all in \[0, 8\]"):
        mean_count(counts, 8)


# --- pass@k and maj@k --------------------------------------------------------------------------------------------


def test_pass_at_k_equals_enumeration() -> None:
    for n in range(1, 8):
        for correct, k in product(range(n + 1), range(1, n + 1)):
            draws = list(combinations([True] * correct + [False] * (n - correct), k))
            assert pass_at_k(n, correct, k) == float(Fraction(sum(map(any, draws)), len(draws)))


def test_pass_at_k_is_exact_for_many_samples() -> None:
    assert pass_at_k(10_000, 1, 1) == 1e-4
    assert pass_at_k(10_000, 1, 5_000) == 0.5
    assert pass_at_k(20_000, 2, 10_000) == float(1 - Fraction(10_000 * 9_999, 20_000 * 19_999))
    assert pass_at_k(100, 100, 3) == pass_at_k(100, 98, 3) == 1.0
    assert pass_at_k(100, 0, 100) == 0.0


@pytest.mark.parametrize("bad", [(5, 2, 6), (5, 6, 1), (5, 2, 0), (5, -1, 1)])
def test_pass_at_k_refuses(bad: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="1 ≤ k ≤ n"):
        pass_at_k(*bad)


def test_maj_at_k_equals_enumeration() -> None:
    """Draw every leader in turn: a leader is an answer that no other answer outnumbers."""
    for answers in product(["R", "R2", "a", "b", None], repeat=5):
        for k in (1, 3, 4, 5):
            voters = [one for one in answers[:k] if one is not None]
            leaders = {one for one in voters if all(voters.count(one) >= voters.count(other) for other in voters)}
            expected = Fraction(sum(one[0] == "R" for one in leaders), len(leaders)) if leaders else Fraction(0)
            assert maj_at_k(verdicts(list(answers)), k) == float(expected)


def test_maj_at_k_takes_the_first_by_index() -> None:
    judged = verdicts(["a", "R", "R"])
    assert maj_at_k(judged[::-1], 1) == 0.0
    assert maj_at_k(judged[::-1], 2) == 0.5
    assert maj_at_k(judged[::-1], 3) == 1.0


def test_unparsed_samples_do_not_vote() -> None:
    assert maj_at_k(verdicts([None, None, None, "R"]), 4) == 1.0
    assert maj_at_k(verdicts([None, None]), 2) == 0.0


def test_maj_at_k_where_the_verifier_looks_at_more_than_the_answer() -> None:
    judged = [Verdict("p", 0, "right", "5", ""), Verdict("p", 1, "wrong", "5", ""), Verdict("p", 2, "wrong", "6", "")]
    assert maj_at_k(judged, 3) == 0.5


@pytest.mark.parametrize("k", [0, 3])
def test_maj_at_k_refuses(k: int) -> None:
    with pytest.raises(ValueError, match=f"k={k} and 2 samples"):
        maj_at_k(verdicts(["a", "b"]), k)


# --- paired tests ------------------------------------------------------------------------------------------------


def ids(values: list[float]) -> dict[str, float]:
    return {f"p/{number:04}": value for number, value in enumerate(values)}


def test_bootstrap_equals_enumeration() -> None:
    """Of three problems there are 27 equally likely resamples; the quantiles of their means are known."""
    differences = [0.0, 1.0, 4.0]
    means = sorted(sum(drawn) / 3 for drawn in product(differences, repeat=3))
    interval = paired_bootstrap(ids([1.0, 2.0, 6.0]), ids([1.0, 1.0, 2.0]), seed=0, resamples=20_000)
    # 1/27 of the resamples are (0, 0, 0), as many (4, 4, 4): more than 2.5% at either end.
    assert interval == Interval(5 / 3, means[0], means[-1], 3)


def test_bootstrap_agrees_with_the_normal_interval_for_many_problems() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(800), rng.random(800)
    mean, half = (a - b).mean(), 1.96 * (a - b).std(ddof=1) / math.sqrt(800)
    interval = paired_bootstrap(ids(a.tolist()), ids(b.tolist()), seed=1)
    assert interval.value == pytest.approx(mean)
    assert (interval.low, interval.high) == pytest.approx((mean - half, mean + half), abs=2e-3)


def test_bootstrap_is_seeded_by_seed_and_problems_alone() -> None:
    rng = np.random.default_rng(2)
    a, b = ids(rng.random(7).tolist()), ids(rng.random(7).tolist())
    first = paired_bootstrap(a, b, seed=4)
    assert paired_bootstrap(dict(reversed(a.items())), b, seed=4) == first
    assert any(
        paired_bootstrap(a, b, seed=s, resamples=50) != paired_bootstrap(a, b, seed=4, resamples=50) for s in (5, 6)
    )
    assert paired_bootstrap(a, a, seed=4) == Interval(0, 0, 0, 7)


def test_bootstrap_pieces_are_joined() -> None:
    # More indices than fit in one piece; every mean must be filled in.
    interval = paired_bootstrap(ids([1.0] * 3000), ids([0.0] * 3000), seed=0, resamples=1000)
    assert interval == Interval(1.0, 1.0, 1.0, 3000)


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (6, 0, 0.03125), (0, 6, 0.03125), (8, 2, 0.109375), (5, 5, 1.0), (12, 3, 0.03515625)],
)
def test_mcnemar_worked(only_a: int, only_b: int, p: float) -> None:
    # 8 against 2: 2 (C(10,0) + C(10,1) + C(10,2)) / 2¹⁰ = 2 · 56 / 1024.
    a = [True] * only_a + [False] * only_b + [True, False]
    b = [False] * only_a + [True] * only_b + [True, False]
    assert mcnemar(ids(a), ids(b)) == (only_a, only_b, p)


@given(st.integers(0, 12), st.integers(0, 12))
@settings(max_examples=40)
def test_mcnemar_equals_enumeration(only_a: int, only_b: int) -> None:
    coins = only_a + only_b
    extreme = sum(
        math.comb(coins, heads) for heads in range(coins + 1) if abs(2 * heads - coins) >= abs(only_a - only_b)
    )
    a, b = [True] * only_a + [False] * only_b + [True], [False] * only_a + [True] * only_b + [True]
    assert mcnemar(ids(a), ids(b)).p_value == extreme / 2**coins


def test_mcnemar_of_many_problems_does_not_overflow() -> None:
    a, b = [True] * 3000 + [False] * 2700, [False] * 3000 + [True] * 2700
    # The normal approximation with continuity correction: z = (300 − 1)/√5700.
    assert mcnemar(ids(a), ids(b)).p_value == pytest.approx(math.erfc(299 / math.sqrt(2 * 5700)), rel=1e-2)


@pytest.mark.parametrize("other", [{}, {"p/0000": 1.0}, {"p/0000": 1.0, "q": 0.0}])
def test_other_problems_are_refused(other: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="the same problems"):
        paired_bootstrap(ids([1.0, 0.0]), other, seed=0)
    with pytest.raises(ValueError, match="the same problems"):
        mcnemar(ids([True, False]), other)


def test_no_problems_are_refused() -> None:
    with pytest.raises(ValueError, match="received 0 and 0"):
        mcnemar({}, {})
