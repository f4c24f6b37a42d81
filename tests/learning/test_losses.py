from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfstudy.learning.groups import Item
from selfstudy.learning.losses import FAMILY, PreferenceLoss, default_loss, load_loss
from selfstudy.learning.losses.dpo import Dpo
from selfstudy.learning.losses.ipo import Ipo
from selfstudy.learning.losses.simpo import Simpo
from selfstudy.learning.objectives import Preference
from selfstudy.plugins import available, parse_spec
from selfstudy.types import Group

logp = st.floats(-50, 0)


def columns(*values: float) -> list[torch.Tensor]:
    return [torch.tensor([value], dtype=torch.float64, requires_grad=True) for value in values]


def test_dpo_worked_by_hand():
    """β = 0.5, log ratios −1 − (−3) = 2 and −4 − (−2) = −2: margin 0.5 · 4 = 2; −log σ(2) = log(1 + e⁻²) = 0.126928."""
    loss = Dpo(beta=0.5).loss(*columns(-1, -4, -3, -2, 5, 5))
    assert loss.item() == pytest.approx(0.12692801, abs=1e-7)


@given(logp, logp, logp, logp, st.floats(0.01, 2), st.floats(0, 0.4), st.floats(0, 3), st.integers(1, 90))
def test_dpo_value_and_gradient_equal_the_closed_form(w, lo, rw, rl, beta, eps, alpha, length):
    inputs = columns(w, lo, rw, rl, length, 7)
    loss = Dpo(beta=beta, label_smoothing=eps, nll_weight=alpha).loss(*inputs)
    loss.sum().backward()
    margin = beta * ((w - rw) - (lo - rl))

    def softplus(x):  # −log σ(−x)
        return max(x, 0) + math.log1p(math.exp(-abs(x)))

    sigmoid = 1 / (1 + math.exp(-margin))
    value = (1 - eps) * softplus(-margin) + eps * softplus(margin) - alpha * w / length
    slope = beta * (sigmoid - (1 - eps))  # d loss / d log π(y_w): β (σ(m) − 1 + ε)
    assert loss.item() == pytest.approx(value, rel=1e-9, abs=1e-9)
    assert inputs[0].grad.item() == pytest.approx(slope - alpha / length, rel=1e-9, abs=1e-9)
    assert inputs[1].grad.item() == pytest.approx(-slope, rel=1e-9, abs=1e-9)


def test_limit_case_policy_is_reference():
    inputs = columns(-3, -5, -3, -5, 4, 4)
    loss = Dpo(beta=0.1).loss(*inputs)
    loss.sum().backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert inputs[0].grad.item() == pytest.approx(-0.05)
    assert inputs[1].grad.item() == pytest.approx(0.05)


def test_ipo_worked_by_hand():
    """β = 0.25: target 2; log ratios 2 and −2: h = 4; (4 − 2)² = 4, slope 2 · (4 − 2) = 4 = −that of the rejected."""
    inputs = columns(-1, -4, -3, -2, 5, 5)
    loss = Ipo(beta=0.25).loss(*inputs)
    loss.sum().backward()
    assert loss.item() == pytest.approx(4)
    assert inputs[0].grad.item() == pytest.approx(4)
    assert inputs[1].grad.item() == pytest.approx(-4)


def test_ipo_limit_cases():
    inputs = columns(-3, -5, -3, -5, 4, 4)
    loss = Ipo(beta=0.1).loss(*inputs)
    loss.sum().backward()
    assert loss.item() == pytest.approx(25)  # 1 / (4 · 0.01)
    assert inputs[0].grad.item() == pytest.approx(-10)
    assert Ipo(beta=0.1).loss(*columns(-3 + 2, -5 - 3, -3, -5, 4, 4)).item() == pytest.approx(0)  # h = 5


def test_simpo_worked_by_hand():
    """β = 2: rewards 2 · (−6/3) = −4 and 2 · (−10/4) = −5; margin 1, γ = 0.5: −log σ(0.5) = 0.474077."""
    inputs = columns(-6, -10, 0, 0, 3, 4)
    loss = Simpo(beta=2, gamma=0.5).loss(*inputs)
    loss.sum().backward()
    assert loss.item() == pytest.approx(0.47407698)
    assert inputs[0].grad.item() == pytest.approx(-2 / 3 / (1 + math.exp(0.5)))


def test_simpo_limit_case():
    inputs = columns(-6, -8, 0, 0, 3, 4)  # −2 a token, both
    loss = Simpo(beta=2, gamma=1).loss(*inputs)
    loss.sum().backward()
    assert loss.item() == pytest.approx(math.log(1 + math.e))
    assert inputs[0].grad.item() == pytest.approx(-2 / 3 / (1 + math.exp(-1)))


@pytest.mark.parametrize("name", available(FAMILY))
def test_the_nll_term_is_the_same_for_all(name):
    inputs = columns(-6, -8, -7, -7, 3, 4)
    plain, with_term = (load_loss(parse_spec(FAMILY, {"name": name, "nll_weight": w})).loss(*inputs) for w in (0, 1.5))
    assert (with_term - plain).item() == pytest.approx(1.5 * 6 / 3)


@pytest.mark.parametrize("name", ["dpo", "simpo"])
def test_half_the_labels_smoothed_teach_nothing(name):
    loss = load_loss(parse_spec(FAMILY, {"name": name, "label_smoothing": 0.499999}))
    margin = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    loss.of_margin(margin + getattr(loss, "gamma", 0)).sum().backward()
    assert abs(margin.grad.item()) < 1e-5


def test_rewards_are_measured_from_the_reference():
    policy, reference, lengths = columns(-3, -5, 9)
    assert Dpo(beta=0.1).reward(policy, reference, lengths).item() == pytest.approx(0.2)


@pytest.mark.parametrize("name", available(FAMILY))
def test_every_loss_keeps_the_contract(name):
    loss = load_loss(parse_spec(FAMILY, name))
    assert isinstance(loss, PreferenceLoss)
    assert isinstance(loss.needs_reference, bool)
    torch.manual_seed(0)
    policy_chosen, policy_rejected = (-10 * torch.rand(6)).requires_grad_(), (-10 * torch.rand(6)).requires_grad_()
    reference = torch.stack([policy_chosen, policy_rejected]).detach()
    lengths = torch.arange(1, 7)
    value = loss.loss(policy_chosen, policy_rejected, reference[0], reference[1], lengths, lengths)
    assert value.shape == (6,)
    value.sum().backward()
    assert (policy_chosen.grad < 0).all()  # at the reference a likelier chosen completion is better
    assert (policy_rejected.grad > 0).all()
    assert loss.reward(policy_chosen, reference[0], lengths).shape == (6,)


def test_a_loss_of_ones_own_gets_one_value_for_each_pair():
    """From the trainer as well: rewards are measured as losses are."""
    shapes = set()

    class Noting(Dpo):
        def reward(self, policy, reference, lengths):
            shapes.update({policy.shape, reference.shape, lengths.shape})
            return super().reward(policy, reference, lengths)

    groups = (Group("p", (1,), ((2, 3), (4,), (5,))),)
    objective = Preference(groups, (Item(0, (0, 1)), Item(0, (2, 1))), torch.zeros(3), Noting())
    found = objective.measure(torch.tensor([-1.0, -2.0, -4.0]))
    assert shapes == {(2,)}
    assert found["rewards/chosen"] == pytest.approx(0.1 * (-1 - 4) / 2)
    assert found["rewards/margins"] == pytest.approx(0.1 * (1 - 2) / 2)


def test_default_is_the_papers():
    assert load_loss(default_loss()) == Dpo(beta=0.1, nll_weight=0.0, label_smoothing=0.0)
