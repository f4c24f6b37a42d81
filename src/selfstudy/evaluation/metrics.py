"""Scores of a model, how sure they are, and paired tests of two models on the same problems.

Problems are the independent units; samples of one problem are not. So pass@k and maj@k are functions of one problem's
samples, and intervals and tests take one value a problem.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from selfstudy.storage.seeding import derive
from selfstudy.types import Outcome, Verdict

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, its 95% interval, and the number of problems behind it."""

    value: float
    low: float
    high: float
    n: int


def wilson(share: float, n: float) -> tuple[float, float]:
    """Return Wilson's (1927) 95% interval of a ``share`` seen in ``n`` independent trials; ``n`` need not be whole."""
    centre = share + _Z**2 / (2 * n)
    half = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    scale = 1 + _Z**2 / n
    # The ends are exactly 0 and 1 at a share of 0 and 1; rounding must not put the share outside.
    return max(0.0, min(share, (centre - half) / scale)), min(1.0, max(share, (centre + half) / scale))


def proportion(values: Sequence[float]) -> Interval:
    """Return the mean of one value in [0, 1] a problem, such as its pass@k, with Wilson's interval.

    For values of 0 and 1 this is the plain interval. Others vary less than a coin with the same mean does, as if there
    were more problems: the interval is Wilson's at that effective number, n · p(1 − p) / s². Mean p and variance s²
    are taken with two values of 0 and two of 1 added (as by Agresti and Coull, 1998), so that values that happen to be
    alike never make the interval collapse.

    Raises:
        ValueError: There is no value, or one outside [0, 1].
    """
    if not values or not all(0 <= value <= 1 for value in values):
        raise ValueError(f"expected at least one value, all in [0, 1], received {list(values)[:10]}")
    n = len(values)
    mean = math.fsum(values) / n
    p = (math.fsum(values) + 2) / (n + 4)
    # s² = p(1 − p) − E[v(1 − v)]; the last term is exactly 0 for values of 0 and 1, the added ones among them.
    spread = p * (1 - p) - math.fsum(value * (1 - value) for value in values) / (n + 4)
    return Interval(mean, *wilson(mean, n * (p * (1 - p) / spread)), n)


def mean_count(values: Sequence[float], at_most: int) -> Interval:
    """Return the mean of one count a problem, such as its distinct right solutions of ``at_most`` samples.

    The interval is that of the share which the counts are of what a problem is taken to have at most: one more than any
    has here, if ``at_most`` allows it. It stays in [0, ``at_most``].

    Raises:
        ValueError: There is no value, or one outside [0, ``at_most``].
    """
    if not values or not all(0 <= value <= at_most for value in values):
        raise ValueError(f"expected at least one value, all in [0, {at_most}], received {list(values)[:10]}")
    top = min(at_most, max(values) + 1)
    share = proportion([value / top for value in values])
    mean = math.fsum(values) / share.n
    return Interval(mean, min(mean, top * share.low), max(mean, top * share.high), share.n)


def accuracy(outcomes: Iterable[Outcome]) -> Interval:
    """Return the share of problems answered right, one outcome a problem, with Wilson's 95% interval."""
    return proportion(array("d", (outcome == "right" for outcome in outcomes)))


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Return the chance that k of a problem's n samples hold a right one: 1 − C(n − correct, k) / C(n, k).

    Source: Chen et al. 2021 (arXiv 2107.03374), equation 1. Whole numbers up to the one division, so exact for any n.

    Raises:
        ValueError: Not 1 ≤ k ≤ n and 0 ≤ correct ≤ n.
    """
    if not (1 <= k <= n and 0 <= correct <= n):
        raise ValueError(f"pass@k needs 1 ≤ k ≤ n and 0 ≤ correct ≤ n, received n={n}, correct={correct}, k={k}")
    every = math.comb(n, k)
    return (every - math.comb(n - correct, k)) / every


def maj_at_k(verdicts: Sequence[Verdict], k: int) -> float:
    """Return whether the most frequent answer of a problem's first k samples is right.

    Answers vote as the verifier extracted them; samples without an answer do not vote, and without any vote the result
    is 0. Where several answers lead, one of them is drawn: the result is the expected value, so a right one of two
    gives 1/2.

    Args:
        verdicts: Of one problem, in any order; the first k by sample index count.
        k: At most the number of verdicts.

    Raises:
        ValueError: There are fewer than k verdicts.
    """
    if not 1 <= k <= len(verdicts):
        raise ValueError(f"maj@k needs 1 ≤ k ≤ number of samples, received k={k} and {len(verdicts)} samples")
    votes: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for verdict in sorted(verdicts, key=lambda verdict: verdict.index)[:k]:
        if verdict.extracted is not None:
            votes[verdict.extracted] += 1
            right[verdict.extracted] += verdict.outcome == "right"
    most = max(votes.values(), default=0)
    leaders = [answer for answer, number in votes.items() if number == most]
    # All votes for an answer are judged alike, unless a verifier looks at more than the answer: then the share counts.
    return sum(right[answer] for answer in leaders) / (most * len(leaders)) if leaders else 0.0


def paired_bootstrap(a: Mapping[str, float], b: Mapping[str, float], seed: int, resamples: int = 10_000) -> Interval:
    """Return the mean of ``a`` minus ``b`` over problems, with its percentile bootstrap interval.

    Args:
        a: One model's value for each problem id.
        b: The other's, for the same problems.
        seed: Of the resampling; the order of the mappings does not matter.
        resamples: How often the problems are drawn anew.

    Raises:
        ValueError: The problems differ, or there are none.
    """
    differences = np.array([a[problem] - b[problem] for problem in _shared(a, b)], dtype=np.float64)  # (N,)
    n = len(differences)
    rng = np.random.Generator(np.random.PCG64(derive(seed, "bootstrap")))
    means = np.empty(resamples)
    step = max(1, 1_000_000 // n)  # so that the indices take a few megabytes, not gigabytes
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        means[start : start + rows] = differences[rng.integers(n, size=(rows, n))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(math.fsum(differences) / n, float(low), float(high), n)


class McNemar(NamedTuple):
    """How many problems one model alone solves, how many the other, and the p-value of McNemar's exact test."""

    only_a: int
    only_b: int
    p_value: float


def mcnemar(a: Mapping[str, bool], b: Mapping[str, bool]) -> McNemar:
    """Test, two-sided, that two models solve equally many problems.

    Under the hypothesis, each problem that only one of them solves is a fair coin.

    Args:
        a: Whether one model solves each problem, by problem id.
        b: The other's, for the same problems.

    Raises:
        ValueError: The problems differ, or there are none.
    """
    shared = _shared(a, b)
    only_a = sum(a[problem] and not b[problem] for problem in shared)
    only_b = sum(b[problem] and not a[problem] for problem in shared)
    coins = only_a + only_b
    term = tail = 1  # whole numbers: C(coins, i) and their sum
    for i in range(min(only_a, only_b)):
        term = term * (coins - i) // (i + 1)
        tail += term
    return McNemar(only_a, only_b, min(1.0, 2 * tail / 2**coins))


def _shared(a: Mapping[str, float], b: Mapping[str, float]) -> list[str]:
    if not a or a.keys() != b.keys():
        odd = sorted(a.keys() ^ b.keys())
        raise ValueError(
            f"expected the same problems on both sides, received {len(a)} and {len(b)}; differing: {odd[:5]}"
        )
    return sorted(a)
