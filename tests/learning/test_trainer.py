"""The loop: what a step computes, what is logged, and what stops it."""

from __future__ import annotations

import copy
import json
import math

import pytest
import torch
from torch.nn import functional as F

from selfstudy.errors import ModelError, TrainingError
from selfstudy.learning.modes import without_dropout
from selfstudy.learning.objectives import Imitation
from selfstudy.learning.reference import reference_logps
from selfstudy.learning.trainer import train
from selfstudy.models.compute import Compute
from tests.learning.conftest import GROUPS, VOCAB, dpo, make_model, settings, sft, weights


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def plain_sums(model, groups):
    """Return (groups, completions) the log-probabilities of completions, written out for T5."""
    rows = []
    for group in groups:
        row = []
        for completion in group.completions:
            labels = torch.tensor([completion])
            logits = model(input_ids=torch.tensor([group.prompt_ids]), labels=labels).logits
            row.append(-F.cross_entropy(logits[0], labels[0], reduction="sum"))
        rows.append(torch.stack(row))
    return torch.stack(rows)


def test_t5_dpo_step_equals_a_plain_computation(tmp_path, ctx, compute):
    """AdamW hides the gradient's scale from the first step's weights, so the norm is compared as well."""
    model = make_model("seq2seq")
    plain = copy.deepcopy(model)
    objective = dpo(model, compute, ctx, beta=0.3, nll_weight=0.5)
    options = settings(batch_size=8, max_steps=3, warmup_ratio=0, min_lr_ratio=1, max_grad_norm=1e9, weight_decay=0)
    train(
        model,
        objective,
        options.model_copy(update={"dropout": "off"}),
        compute=compute,
        seed=0,
        workdir=tmp_path,
        ctx=ctx,
    )

    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3, weight_decay=0)
    with torch.no_grad():
        reference = plain_sums(plain, GROUPS)
    expected = []
    for _ in range(3):
        policy = plain_sums(plain, GROUPS)
        margin = 0.3 * ((policy - reference)[:, :1] - (policy - reference)[:, 1:])
        lengths = torch.tensor([[len(group.completions[0])] for group in GROUPS])
        loss = (-F.logsigmoid(margin) - 0.5 * policy[:, :1] / lengths).mean()
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in plain.parameters()])
        expected.append((loss.item(), norm.item()))
        optimizer.step()
    logged = [json.loads(line) for line in (tmp_path / "train_log.jsonl").read_text().splitlines()]
    assert [(line["loss"], line["grad_norm"]) for line in logged] == [
        pytest.approx(pair, rel=1e-5) for pair in expected
    ]
    for name, parameter in plain.named_parameters():
        assert torch.allclose(model.get_parameter(name), parameter, atol=2e-5), name


def test_sft_loss_is_the_mean_over_the_steps_tokens(tmp_path, ctx, compute):
    model = make_model("seq2seq")
    with torch.no_grad():
        total = -plain_sums(model, GROUPS).sum().item()
    tokens = sum(len(c) for group in GROUPS for c in group.completions)
    facts = train(
        model,
        sft(),
        settings(batch_size=12, max_steps=1, dropout="off"),
        compute=compute,
        seed=0,
        workdir=tmp_path,
        ctx=ctx,
    )
    assert facts.last["loss"] == pytest.approx(total / tokens, rel=1e-5)
    assert facts.tokens == tokens


@pytest.mark.parametrize("kind", ["sft", "dpo"])
@pytest.mark.parametrize("batch_size", [7, 30])  # 30: every item stands in the step more than once
def test_gradients_do_not_depend_on_micro_batches(tmp_path, ctx, compute, family, kind, batch_size):
    found = []
    for tokens in (1, 40, 100_000):
        model = make_model(family)
        objective = sft() if kind == "sft" else dpo(model, compute, ctx)
        options = settings(
            tokens_per_batch=tokens, max_steps=1, batch_size=batch_size, dropout="off", max_grad_norm=1e9
        )
        (tmp_path / str(tokens)).mkdir()
        facts = train(model, objective, options, compute=compute, seed=0, workdir=tmp_path / str(tokens), ctx=ctx)
        found.append((facts.last["loss"], [p.grad for p in model.parameters()], facts.last["grad_norm"]))
    for loss, gradients, norm in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-6)
        for mine, theirs in zip(gradients, found[0][1], strict=True):
            assert (mine - theirs).abs().max() <= 2e-6 * norm


def test_a_rate_that_is_not_stated_follows_from_the_model(tmp_path, ctx, compute):
    plan = settings(learning_rate="auto", max_steps=2, warmup_ratio=0, min_lr_ratio=1)
    facts = train(make_model("causal"), sft(), plan, compute=compute, seed=0, workdir=tmp_path, ctx=ctx)
    assert facts.last["learning_rate"] == pytest.approx(0.25 / 32)


def test_dropout_is_on_in_training_only_where_asked(tmp_path, ctx, compute):
    losses = {}
    for mode in ("model", "off"):
        model = make_model("seq2seq", dropout_rate=0.3)
        (tmp_path / mode).mkdir()
        options = settings(dropout=mode, max_steps=1)
        losses[mode] = train(model, sft(), options, compute=compute, seed=0, workdir=tmp_path / mode, ctx=ctx).last[
            "loss"
        ]
        assert not model.training
        assert model.encoder.dropout.p == 0.3
    assert losses["model"] != pytest.approx(losses["off"], rel=1e-3)


@pytest.mark.parametrize("dropout", ["model", "off"])
def test_gradient_checkpointing_changes_nothing(tmp_path, ctx, compute, family, dropout):
    found = []
    for checkpointing in (False, True):
        model = make_model(family, **({"attention_dropout": 0.2} if family == "causal" else {"dropout_rate": 0.2}))
        (tmp_path / str(checkpointing)).mkdir()
        options = settings(gradient_checkpointing=checkpointing, dropout=dropout, max_steps=2)
        train(model, sft(), options, compute=compute, seed=0, workdir=tmp_path / str(checkpointing), ctx=ctx)
        found.append(weights(model))
        assert not model.is_gradient_checkpointing
    for name, value in found[0].items():
        assert torch.allclose(value, found[1][name], atol=1e-5), name


def test_non_finite_loss_names_problems_and_keeps_the_weights(tmp_path, ctx, compute):
    model = make_model("causal")
    objective = dpo(model, compute, ctx)
    with torch.no_grad():  # a token that only p/2 uses
        rare = next(t for t in range(VOCAB) if {g.problem_id for g in GROUPS if _uses(g, t)} == {"p/2"})
        model.get_input_embeddings().weight[rare] = math.nan
    before = weights(model)
    with pytest.raises(TrainingError, match=r"step 1: .*not finite.*: p/2\. ") as caught:
        train(
            model,
            objective,
            settings(batch_size=8, tokens_per_batch=1, learning_rate=0.25),
            compute=compute,
            seed=0,
            workdir=tmp_path,
            ctx=ctx,
        )
    assert "0.25" in str(caught.value)
    after = weights(model)
    assert all(torch.equal(before[name].nan_to_num(), after[name].nan_to_num()) for name in before)
    assert (tmp_path / "train_log.jsonl").read_text() == ""


def _uses(group, token):
    """Whether the token is an input of the first two completions, or of the third."""
    return token in group.prompt_ids or any(token in completion[:-1] for completion in group.completions)


def test_after_step_ends_the_training(tmp_path, ctx, compute, recorder):
    steps = []

    def after(step):
        steps.append(step)
        return step == 3

    facts = train(
        make_model("causal"), sft(), settings(), compute=compute, seed=0, workdir=tmp_path, ctx=ctx, after_step=after
    )
    assert (facts.steps, facts.stopped) == (3, True)
    assert steps == [1, 2, 3]
    assert [fields["step"] for event, fields in recorder.events if event == "train_step"] == [1, 2, 3]


def test_after_step_sees_the_model_without_dropout_and_changes_nothing(tmp_path, ctx, compute):
    model, plain = (make_model("causal", attention_dropout=0.3) for _ in range(2))
    modes = []

    def after(step):
        modes.append(model.training)
        torch.rand(3)  # draws of its own
        return False

    for name in ("watched", "plain"):
        (tmp_path / name).mkdir()
    arguments = {"compute": compute, "seed": 0, "ctx": ctx}
    train(model, sft(), settings(), workdir=tmp_path / "watched", after_step=after, **arguments)
    train(plain, sft(), settings(), workdir=tmp_path / "plain", **arguments)
    assert modes == [False] * 6
    assert equal(weights(model), weights(plain))


def test_preference_metrics(tmp_path, ctx, compute):
    model = make_model("causal")
    facts = train(
        model,
        dpo(model, compute, ctx),
        settings(max_steps=1, batch_size=8),
        compute=compute,
        seed=0,
        workdir=tmp_path,
        ctx=ctx,
    )
    last = facts.last
    assert last["loss"] == pytest.approx(math.log(2), rel=1e-5)  # the policy is still the reference
    assert last["rewards/margins"] == pytest.approx(0, abs=1e-5)
    sums = reference_logps(make_model("causal"), GROUPS, 100, compute, ctx).view(4, 3)
    assert last["logps/chosen"] == pytest.approx(sums[:, 0].mean().item(), rel=1e-5)
    assert last["logps/rejected"] == pytest.approx(sums[:, 1:].mean().item(), rel=1e-5)
    assert set(last) == {
        *(
            "step",
            "loss",
            "learning_rate",
            "grad_norm",
            "tokens",
            "positions",
            "flops",
            "rewards/chosen",
            "rewards/rejected",
        ),
        *("rewards/margins", "rewards/accuracies", "logps/chosen", "logps/rejected"),
    }


def test_training_learns(tmp_path, ctx, compute, family):
    model = make_model(family)
    options = settings(max_steps=60, learning_rate=3e-3, batch_size=8, tokens_per_batch=1000)
    facts = train(model, dpo(model, compute, ctx), options, compute=compute, seed=0, workdir=tmp_path, ctx=ctx)
    last = facts.last
    first = json.loads((tmp_path / "train_log.jsonl").read_text().splitlines()[0])
    assert last["loss"] < 0.3 * first["loss"]
    assert last["rewards/accuracies"] == 1
    assert last["rewards/margins"] == pytest.approx(last["rewards/chosen"] - last["rewards/rejected"], rel=1e-4)


def test_two_trainings_in_one_process(tmp_path, ctx):
    torch.manual_seed(11)
    state = torch.get_rng_state()
    results = []
    for number, dtype in enumerate(["float32", "bfloat16", "float32"]):
        (tmp_path / str(number)).mkdir()
        model = make_model("causal")
        torch.set_rng_state(state)
        compute = Compute(device="cpu", dtype=dtype, threads=1)
        train(model, sft(), settings(max_steps=2), compute=compute, seed=0, workdir=tmp_path / str(number), ctx=ctx)
        assert torch.equal(torch.get_rng_state(), state)  # the caller's random state is left alone
        assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
        results.append(weights(model))
    assert equal(results[0], results[2])
    assert not equal(results[0], results[1])


def test_a_launchers_variables_mean_nothing(tmp_path, ctx, compute, monkeypatch):
    """``devices`` says how many processes there are; a cluster's job has these set for others."""
    launcher = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in launcher.items():
        monkeypatch.setenv(name, value)
    options = settings(max_steps=1, devices=2)
    train(make_model("causal"), sft(), options, compute=compute, seed=0, workdir=tmp_path, ctx=ctx)


def test_memory_that_the_optimizer_is_the_first_to_want_is_told(tmp_path, ctx, compute, monkeypatch):
    def starve(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.optim.AdamW, "step", starve)
    with pytest.raises(TrainingError, match=r"optimizer's two moments of [\d,]+ weights .*; set lora, or"):
        train(make_model("causal"), sft(), settings(), compute=compute, seed=0, workdir=tmp_path, ctx=ctx)


def test_checkpointing_that_an_architecture_does_not_know_is_refused(tmp_path, ctx, compute, monkeypatch):
    model, options = make_model("causal"), settings(gradient_checkpointing=True)
    monkeypatch.setattr(type(model), "supports_gradient_checkpointing", False)
    with pytest.raises(ModelError, match="knows no gradient checkpointing; set gradient_checkpointing: false"):
        train(model, sft(), options, compute=compute, seed=0, workdir=tmp_path, ctx=ctx)


def test_nothing_to_learn_from(tmp_path, ctx, compute):
    with pytest.raises(TrainingError, match="not one example"):
        train(make_model("causal"), Imitation((), ()), settings(), compute=compute, seed=0, workdir=tmp_path, ctx=ctx)


def test_every_dropout_rate_is_found():
    model = make_model("seq2seq", dropout_rate=0.4).train()
    ids = torch.tensor([[3, 4, 5]])
    with without_dropout(model):
        once, twice = (model(input_ids=ids, labels=ids).loss.item() for _ in range(2))
    assert once == twice
    assert model(input_ids=ids, labels=ids).loss.item() != once
