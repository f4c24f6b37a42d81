"""Training with several processes: the same losses as with one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfstudy.errors import TrainingError
from selfstudy.learning import logprobs as logprobs_module
from selfstudy.learning.groups import shares
from selfstudy.learning.losses import FAMILY, load_loss
from selfstudy.learning.losses.dpo import Dpo
from selfstudy.learning.objectives import Imitation, Preference
from selfstudy.learning.optim import OptimSettings
from selfstudy.learning.reference import reference_logps
from selfstudy.learning.trainer import train
from selfstudy.models.lora import Adapter
from selfstudy.plugins import parse_spec
from selfstudy.types import Group
from tests.learning.conftest import VOCAB, all_items, all_pairs, make_model, random_groups

GROUPS = random_groups(6, 3)


def settings(devices, **changes):
    plan = {"learning_rate": 1e-2, "batch_size": 5, "max_steps": 5, "dropout": "off", "devices": devices}
    return OptimSettings(**plan | changes)


def log(folder):
    return [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]


@given(st.integers(0, 99), st.integers(1, 4), st.lists(st.integers(0, 11), min_size=1, max_size=20), st.booleans())
def test_shares_are_the_batch_with_groups_whole(seed, size, batch, seq2seq):
    groups = random_groups(6, 3, seed=seed)
    items = all_pairs(groups)
    found = shares(groups, items, batch, size, seq2seq)
    assert len(found) == size
    assert sorted(index for share in found for index in share) == sorted(batch)
    owners = [{items[index].group for index in share} for share in found]
    assert sum(map(len, owners)) == len(set().union(*owners))
    if size == 1:
        assert sorted(found[0]) == sorted(batch)


def test_two_processes_learn_preferences_as_one_does(tmp_path, ctx, compute):
    items = all_pairs(GROUPS)
    logs = []
    for devices in (1, 2):
        model = make_model("causal")
        reference = reference_logps(model, GROUPS, 500, compute, ctx)
        # Not the policy's own, or rounding would decide at the first step which of two equal rewards is larger.
        reference += torch.linspace(-0.5, 0.5, len(reference))
        objective = Preference(GROUPS, items, reference, Dpo(nll_weight=0.5))
        (tmp_path / f"{devices}").mkdir()
        train(model, objective, settings(devices), compute=compute, seed=0, workdir=tmp_path / f"{devices}", ctx=ctx)
        logs.append(log(tmp_path / f"{devices}"))
    assert len(logs[0]) == 5
    for one, two in zip(*logs, strict=True):
        assert one.keys() == two.keys()
        for name in one:
            assert two[name] == pytest.approx(one[name], rel=1e-5, abs=1e-6), name


def test_two_processes_stop_and_go_on_together(tmp_path, make_ctx, compute):
    """Killed at step 3 in the middle of a checkpoint interval, resumed, and stopped by a look after step 4."""
    looks = []

    def straight(step):
        looks.append(step)
        return step == 4

    def killed(step):
        if step == 3:
            raise KeyboardInterrupt
        return False

    weights = []
    for name, attempts in (("one", [(1, straight)]), ("two", [(2, killed), (2, straight)])):
        (tmp_path / name).mkdir()
        for devices, look in attempts:
            model = make_model("seq2seq")
            # As Flan-T5 is, and every preset, whatever the library's config says.
            model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach() * 0.5)
            try:
                facts = train(
                    model,
                    Imitation(GROUPS, all_items(GROUPS)),
                    settings(devices, eps=1e-5),  # so that rounding cannot turn steps whose gradient is near zero
                    compute=compute,
                    seed=0,
                    workdir=tmp_path / name,
                    ctx=make_ctx(2),
                    after_step=look,
                )
            except KeyboardInterrupt:
                assert (tmp_path / name / "step-000002").is_dir()
        assert (facts.steps, facts.stopped) == (4, True)
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert looks == [1, 2, 3, 4, 3, 4]
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-4, atol=1e-5)
    for one, two in zip(log(tmp_path / "one"), log(tmp_path / "two"), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)


@pytest.mark.parametrize("family", ["causal", "seq2seq"])
def test_a_sharded_model_learns_as_a_whole_one_does(family, tmp_path, make_ctx, compute, monkeypatch):
    """With checkpoints, killed and resumed, with steps in which one process has no share, and logits in chunks."""
    # Another process reads the code anew: only the first computes in chunks.
    monkeypatch.setattr(logprobs_module, "_LOGITS", 5 * VOCAB)

    def log_of(name, devices, deaths, **changes):
        folder = tmp_path / name
        folder.mkdir()
        for death in deaths:
            model, ctx = make_model(family), make_ctx(2)

            def emit(event, fields, death=death):
                if fields.get("step") == death:
                    raise KeyboardInterrupt

            try:
                train(
                    model,
                    Imitation(GROUPS, all_items(GROUPS)),
                    settings(devices, batch_size=2, tokens_per_batch=20, learning_rate=1e-3, **changes),
                    compute=compute,
                    seed=0,
                    workdir=folder,
                    ctx=replace(ctx, emit=emit),
                )
            except KeyboardInterrupt:
                assert (folder / "step-000002").is_dir()
        return log(folder), torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    whole, weights = log_of("whole", 1, [None])
    sharded, gathered = log_of("sharded", 2, [3, None], sharding="fsdp")
    for one, two in zip(whole, sharded, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-3)
    start = torch.cat([parameter.detach().flatten() for parameter in make_model(family).parameters()])
    assert (gathered - weights).norm() < 0.01 * (weights - start).norm()


HINGE = """
from selfstudy.learning.losses import PreferenceLoss


class Hinge(PreferenceLoss):
    @property
    def needs_reference(self):
        return False

    def reward(self, policy, reference, lengths):
        return policy / lengths

    def of_margin(self, margin):
        return (1 - margin).clamp(min=0)
"""


def test_a_loss_of_the_users_own_is_known_to_all(tmp_path, ctx, compute):
    (tmp_path / "hinge.py").write_text(HINGE)
    loss = load_loss(parse_spec(FAMILY, str(tmp_path / "hinge.py")))
    objective = Preference(GROUPS, all_pairs(GROUPS), torch.zeros(18), loss)
    facts = train(
        make_model("causal"), objective, settings(2, max_steps=1), compute=compute, seed=0, workdir=tmp_path, ctx=ctx
    )
    assert facts.steps == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"hidden_act": "nonsense"}, "in a worker(.|\n)*KeyError: .*nonsense"),
        ({"vocab_size": VOCAB + 1}, r"LlamaForCausalLM: .* is not what its config says; train with devices: 1"),
    ],
)
def test_a_process_that_cannot_take_part_is_not_waited_for(wrong, said, tmp_path, ctx, compute):
    """Another process builds what the config says."""
    model = make_model("causal")
    model.config.update(wrong)
    with pytest.raises((TrainingError, RuntimeError), match=said):
        train(
            model,
            Imitation(GROUPS, all_items(GROUPS)),
            settings(2),
            compute=compute,
            seed=0,
            workdir=tmp_path,
            ctx=ctx,
        )


def test_two_processes_train_an_adapter(tmp_path, ctx, compute):
    logs = []
    for devices in (1, 2):
        model, plan = make_model("causal"), settings(devices, max_steps=3, lora={"rank": 2})
        Adapter(model, plan.lora, 0)
        (tmp_path / f"{devices}").mkdir()
        objective = Imitation(GROUPS, all_items(GROUPS))
        train(model, objective, plan, compute=compute, seed=0, workdir=tmp_path / f"{devices}", ctx=ctx)
        logs.append(log(tmp_path / f"{devices}"))
    assert [one["loss"] for one in logs[1]] == pytest.approx([one["loss"] for one in logs[0]], rel=1e-5)


def test_another_processs_bad_problem_is_named(tmp_path, ctx, compute):
    """The shorter of two groups is the second process's, and it alone has a token whose embedding is not a number."""
    groups = (
        Group("good", (5, 6, 7, 8), ((9, 10, 11), (12, 9, 8))),
        Group("bad", (13,), ((9, 9), (10, 9))),
    )
    model = make_model("causal", tie_word_embeddings=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[13] = torch.nan
    with pytest.raises(TrainingError, match=r"the loss is not finite; problems in the batch: bad\. "):
        train(
            model,
            Imitation(groups, all_items(groups)),
            settings(2, batch_size=4, order="given"),
            compute=compute,
            seed=0,
            workdir=tmp_path,
            ctx=ctx,
        )


SHORT = """
import torch
from selfstudy.learning.losses.dpo import Dpo


class Short(Dpo):
    \"\"\"Runs out of memory in every process but the first, where it gets more than one pair.\"\"\"

    def of_margin(self, margin):
        if len(margin) > 1 and torch.distributed.get_rank() > 0:
            raise torch.OutOfMemoryError("out of memory, for this test")
        return super().of_margin(margin)
"""


def test_all_processes_halve_where_one_is_short_of_memory(tmp_path, ctx, compute):
    (tmp_path / "short.py").write_text(SHORT)
    loss = load_loss(parse_spec(FAMILY, str(tmp_path / "short.py")))
    logs = []
    for devices, used in ((1, Dpo()), (2, loss)):
        objective = Preference(GROUPS, all_pairs(GROUPS), torch.full((18,), -20.0), used)
        (tmp_path / f"{devices}").mkdir()
        plan = settings(devices, max_steps=3)
        facts = train(
            make_model("causal"), objective, plan, compute=compute, seed=0, workdir=tmp_path / f"{devices}", ctx=ctx
        )
        logs.append(log(tmp_path / f"{devices}"))
    assert facts.halved == 3
    assert [one["loss"] for one in logs[1]] == pytest.approx([one["loss"] for one in logs[0]], rel=1e-5)


def test_what_another_process_says_is_reported(tmp_path, ctx, compute):
    """The shorter of two groups is the second process's, and it has a token that is in no vocabulary."""
    groups = (random_groups(1, 3, longest=9)[0], replace(GROUPS[1], prompt_ids=(VOCAB + 7,), completions=((1,),)))
    objective = Imitation(groups, all_items(groups))
    with pytest.raises(RuntimeError, match=r"in a worker(.|\n)*IndexError"):
        train(
            make_model("causal"),
            objective,
            settings(2, batch_size=4),
            compute=compute,
            seed=0,
            workdir=tmp_path,
            ctx=ctx,
        )
