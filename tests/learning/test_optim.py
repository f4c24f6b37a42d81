from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfstudy.errors import ConfigError, TrainingError
from selfstudy.learning.optim import OptimSettings, make_optimizer
from selfstudy.learning.order import Order
from selfstudy.stages.preference import PreferenceSettings
from selfstudy.stages.sft import SftSettings
from tests.learning.conftest import make_model


def settings(**changes):
    return OptimSettings(**{"learning_rate": 1.0, "batch_size": 4, "max_steps": 10} | changes)


def test_schedule_worked_values():
    """10 steps, 2 of warm-up: ½, 1, then a cosine over 8 steps from 1 to 0.1, half way (0.55) at step 6."""
    schedule = settings(warmup_ratio=0.2, min_lr_ratio=0.1)
    rates = [schedule.rate(step, 10) for step in range(1, 11)]
    assert rates[:2] == [0.5, 1.0]
    assert rates[2] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + 0.9238795325))  # cos(π/8)
    assert rates[5] == pytest.approx(0.55)
    assert rates[9] == pytest.approx(0.1)
    assert rates[1:] == sorted(rates[1:], reverse=True)


def test_schedule_without_warm_up_and_with_a_constant_rate():
    assert settings(warmup_ratio=0, min_lr_ratio=0).rate(10, 10) == 0
    assert {settings(warmup_ratio=0, min_lr_ratio=1).rate(step, 7) for step in range(1, 8)} == {1.0}
    assert settings(warmup_ratio=1).rate(10, 10) == 1.0


@pytest.mark.parametrize("family", ["causal", "seq2seq"])
@pytest.mark.parametrize(("kind", "rate"), [(SftSettings, 0.25 / 32), (PreferenceSettings, 1.25e-3 / 32)])
def test_the_default_rate_falls_with_the_width(kind, rate, family):
    plan = kind(batch_size=4, max_steps=10)
    assert plan.learning_rate == "auto"
    assert plan.of(make_model(family)).learning_rate == pytest.approx(rate)
    wide = make_model(family, **({"hidden_size": 64} if family == "causal" else {"d_model": 64}))
    assert plan.of(wide).rate(1, 10) == pytest.approx(rate / 2)
    assert plan.identity()["learning_rate"] == f"{kind.rate_times_width} / width"  # another constant, another artifact
    assert plan.model_dump(mode="json")["learning_rate"] == "auto"
    stated = kind(batch_size=4, max_steps=10, learning_rate=0.5)
    assert stated.identity()["learning_rate"] == 0.5
    assert stated.of(wide) is stated


@pytest.mark.parametrize(
    ("epochs", "n", "batch_size", "steps"), [(2, 10, 4, 5), (1, 9, 4, 3), (0.1, 30, 3, 1), (1, 1, 8, 1)]
)
def test_epochs_become_steps(epochs, n, batch_size, steps):
    assert settings(max_steps=None, epochs=epochs, batch_size=batch_size).total_steps(n) == steps


@pytest.mark.parametrize("changes", [{"epochs": 1}, {"max_steps": None}])
def test_epochs_or_steps_but_not_both(changes):
    with pytest.raises(ConfigError, match="either epochs or max_steps"):
        OptimSettings.parse({"learning_rate": 1, "batch_size": 1, "max_steps": 3} | changes, "here")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sharding": "fsdp"}, "fsdp needs devices: 2 or more"),
        ({"sharding": "fsdp", "devices": 2, "lora": {}}, "and no lora"),
        ({"lora": {"dropout": 0.1}, "dropout": "off"}, "lora.dropout does nothing where dropout is off"),
    ],
)
def test_settings_that_do_not_go_together(changes, said):
    with pytest.raises(ConfigError, match=said):
        OptimSettings.parse({"learning_rate": 1, "batch_size": 1, "max_steps": 3} | changes, "here")


def test_norms_and_biases_do_not_decay(model):
    optimizer = make_optimizer(model, settings())
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(decay) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        assert decay[id(parameter)] == (0 if "norm" in name else 0.01)


def test_narrow_weights_are_refused():
    with pytest.raises(TrainingError, match="bfloat16"):
        make_optimizer(make_model("causal").to(torch.bfloat16), settings())
    with pytest.raises(TrainingError, match="requires a gradient"):
        make_optimizer(make_model("causal").requires_grad_(False), settings())


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.integers(1, 12), st.integers(0, 9))
def test_batches_walk_through_shuffled_epochs(owners, batch_size, seed):
    n = len(owners)
    steps = 3 * n // batch_size + 1
    order = Order(owners, seed)
    row = [index for step in range(steps) for index in order.batch(step, batch_size)]
    for epoch in range(3):
        whole = row[epoch * n : (epoch + 1) * n]
        assert sorted(whole) == list(range(n))
        walked = [owners[index] for index in whole]
        borders = sum(a != b for a, b in pairwise(walked))
        assert borders == len(set(owners)) - 1  # a group's items stand behind each other
    assert Order(owners, seed).batch(1, batch_size) == row[batch_size : 2 * batch_size] or steps == 1


def test_epochs_and_seeds_differ_in_order():
    orders = {tuple(Order(range(50), seed).batch(step, 50)) for seed in range(3) for step in range(3)}
    assert len(orders) == 9


def test_groups_in_order_keep_the_order_of_their_items():
    whole = Order([3, 1, 3, 1, 1], 0).batch(0, 5)
    assert [index for index in whole if index in (0, 2)] == [0, 2]
    assert [index for index in whole if index in (1, 3, 4)] == [1, 3, 4]


def test_without_a_seed_items_stay_as_they_are():
    assert Order(range(5), None).batch(1, 3) == [3, 4, 0]
