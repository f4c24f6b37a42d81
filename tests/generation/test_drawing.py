"""Uniforms, filters and the inverse of the distribution function."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfstudy.generation.drawing import draw, uniforms

_MASK = 2**64 - 1


def splitmix64(key: int, position: int) -> int:
    """Steele, Lea and Flood (2014), in plain integers."""
    z = (key + (position + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


@given(st.integers(0, 2**63 - 1), st.integers(0, 100_000))
def test_uniforms_are_splitmix64(key, position):
    (number,) = uniforms([key], [position])
    assert number == ((splitmix64(key, position) >> 12) + 0.5) / 2**52
    assert 0 < number < 1


def test_known_first_value_of_splitmix64():
    assert splitmix64(0, 0) == 0xE220A8397B1DCDAF


def test_uniforms_look_uniform():
    numbers = uniforms(list(range(100)), [3] * 100).tolist() + uniforms([7] * 9900, list(range(9900))).tolist()
    counts = np.histogram(numbers, bins=20, range=(0, 1))[0]
    assert ((counts - 500) ** 2 / 500).sum() < 43.8  # chi-square, 19 degrees of freedom, p = 0.001


@pytest.mark.parametrize("size", [7, 256, 600])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_follow_the_tempered_softmax(size, temperature):
    n = 20_000
    logits = torch.randn(size, generator=torch.Generator().manual_seed(0)) * 2
    numbers = torch.from_numpy(uniforms([5] * n, list(range(n))))
    tokens, logps = draw(logits.expand(n, size), numbers, temperature)
    expected = (logits.double() / temperature).softmax(-1) * n
    counts = torch.bincount(tokens, minlength=size).double()
    common = expected >= 5
    observed = torch.cat([counts[common], counts[~common].sum()[None]])
    wanted = torch.cat([expected[common], expected[~common].sum()[None].clamp(min=1e-9)])
    statistic = ((observed - wanted) ** 2 / wanted).sum().item()
    freedom = len(observed) - 1
    assert statistic < freedom + 4 * math.sqrt(2 * freedom)
    torch.testing.assert_close(logps, logits.log_softmax(-1)[tokens])  # untempered


@settings(max_examples=60)
@given(st.data())
def test_a_token_is_the_first_at_which_the_distribution_function_exceeds_the_uniform(data):
    size = data.draw(st.integers(1, 700))
    seed = data.draw(st.integers(0, 1000))
    u = data.draw(st.floats(2**-53, 1 - 2**-53))
    logits = torch.randn(size, generator=torch.Generator().manual_seed(seed)) * 3
    token = draw(logits[None], torch.tensor([u], dtype=torch.float64), 1.0)[0].item()
    through = logits.double().softmax(-1).cumsum(-1)
    before = through[token - 1].item() if token else 0.0
    assert before - 1e-6 <= u <= through[token].item() + 1e-6


@pytest.mark.parametrize("u", [2.0**-53, 0.5, 1 - 2.0**-53])
def test_the_ends_never_reach_a_token_without_probability(u):
    logits = torch.full((1, 1000), -torch.inf)
    logits[0, [300, 301, 520]] = torch.tensor([0.0, 1.0, -3.0])
    token = draw(logits, torch.tensor([u], dtype=torch.float64), 1.0)[0].item()
    assert token == (300 if u < 0.1 else 301 if u < 0.9 else 520)


def reachable(logits: torch.Tensor, **how) -> set[int]:
    numbers = torch.linspace(0, 1, 4001, dtype=torch.float64)[1:-1]
    return set(draw(logits.expand(len(numbers), -1), numbers, **how)[0].tolist())


@pytest.mark.parametrize("how", [{"temperature": 1.0, "top_p": 1e-8}, {"temperature": 1e-40}, {"temperature": 1e-9}])
def test_next_to_nothing_is_the_most_likely_token(how):
    """Some write so what others write as temperature 0."""
    logits = torch.randn(300, generator=torch.Generator().manual_seed(0)) * 30
    assert reachable(logits, **how) == {int(logits.argmax())}


def test_filters_keep_what_they_say():
    logits = torch.tensor([0.1, 0.4, 0.05, 0.25, 0.2]).log()
    assert reachable(logits, temperature=1.0) == {0, 1, 2, 3, 4}
    assert reachable(logits, temperature=1.0, top_k=2) == {1, 3}
    assert reachable(logits, temperature=1.0, top_k=9) == {0, 1, 2, 3, 4}
    assert reachable(logits, temperature=1.0, top_p=0.39) == {1}
    assert reachable(logits, temperature=1.0, top_p=0.41) == {1, 3}
    assert reachable(logits, temperature=1.0, top_p=0.7) == {1, 3, 4}
    assert reachable(logits, temperature=1.0, top_p=1.0) == {0, 1, 2, 3, 4}
    # Of the top 3 (0.4, 0.25, 0.2 of 0.85), the first two have 0.76.
    assert reachable(logits, temperature=1.0, top_k=3, top_p=0.75) == {1, 3}
    # Tempered first: at T = 0.5 the squares count, 0.16 of 0.275 for token 1.
    assert reachable(logits, temperature=0.5, top_p=0.5) == {1}


def test_filtered_frequencies_are_renormalised():
    logits = torch.tensor([0.1, 0.4, 0.05, 0.25, 0.2]).log()
    numbers = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    tokens = draw(logits.expand(1000, -1), numbers, 1.0, top_k=2)[0]
    assert torch.bincount(tokens, minlength=5).tolist() == [0, 615, 0, 385, 0]


def test_greedy_takes_the_first_of_the_most_likely():
    logits = torch.tensor([[0.0, 2.0, 2.0], [1.0, 0.0, -1.0]])
    tokens, logps = draw(logits, None, 0.0)
    assert tokens.tolist() == [1, 0]
    torch.testing.assert_close(logps, logits.log_softmax(-1)[[0, 1], tokens])
