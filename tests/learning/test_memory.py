"""Memory that runs out in training: the step is split, comes to the same, and says so."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from selfstudy.errors import TrainingError
from selfstudy.learning import step as step_module
from selfstudy.learning.logprobs import logprobs
from selfstudy.learning.trainer import train
from tests.learning.conftest import KILLED, as_bytes, dpo, make_model, settings, sft


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_where_memory_runs_out_steps_are_split_and_come_to_the_same(tmp_path, ctx, compute, kind, where, monkeypatch):
    """Memory for 60 tokens at a time, found out once steps and parts of gradients are there."""
    found = []
    taken = []

    class Backward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, logps):
            return logps.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise torch.OutOfMemoryError("out of memory, for this test")

    def little_memory(model, groups):
        taken.append(sum(len(g.prompt_ids) + sum(map(len, g.completions)) for g in groups))
        logps = logprobs(model, groups)
        if len(taken) > 3 and taken[-1] > 60:
            if where == "forward":
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
            return replace(logps, logps=Backward.apply(logps.logps))
        return logps

    for name in ("enough", "little"):
        model = make_model("causal")
        objective = sft() if kind == "sft" else dpo(model, compute, ctx)
        (tmp_path / name).mkdir()
        if name == "little":
            monkeypatch.setattr(step_module, "logprobs", little_memory)
        plan = settings(tokens_per_batch=150, batch_size=12, dropout="off")
        facts = train(model, objective, plan, compute=compute, seed=0, workdir=tmp_path / name, ctx=ctx)
        lines = [json.loads(line) for line in (tmp_path / name / "train_log.jsonl").read_text().splitlines()]
        found.append((facts, lines))
    (enough, wanted), (little, lines) = found
    assert "degraded" not in enough.cost
    degraded = {"degraded": True, "degraded_steps": sum("halved" in line for line in lines)}
    assert little.cost == {**little.cost, **degraded}
    assert 0 < little.halved < 6
    assert max(taken[-3:]) <= 60
    assert [line["tokens"] for line in lines] == [line["tokens"] for line in wanted]
    for name in ("loss", "grad_norm"):
        assert [line[name] for line in lines] == pytest.approx([line[name] for line in wanted], rel=1e-5)


def test_resumed_after_memory_ran_out_once_equals_straight(tmp_path, make_ctx, compute, monkeypatch):
    """It ran out in step 3, and would not again: what is resumed keeps to the smaller parts, and to the mark."""

    def run(workdir, kill_after=None):
        workdir.mkdir(exist_ok=True)
        model = make_model("causal")

        def after(step):
            if step == kill_after:
                raise KILLED
            return False

        plan = settings(tokens_per_batch=150, batch_size=12)
        shared = {"compute": compute, "seed": 3, "workdir": workdir, "ctx": make_ctx(1), "after_step": after}
        facts = train(model, sft(), plan, **shared)
        return as_bytes(model), (workdir / "train_log.jsonl").read_bytes(), facts

    def once_short(calls):
        def short(model, groups):
            calls.append(groups)
            if len(calls) == 3:
                raise torch.OutOfMemoryError("out of memory, for this test")
            return logprobs(model, groups)

        return short

    enough = run(tmp_path / "enough")
    monkeypatch.setattr(step_module, "logprobs", once_short([]))
    straight = run(tmp_path / "straight")
    assert straight[2].halved == 4
    assert straight[1] != enough[1]
    monkeypatch.setattr(step_module, "logprobs", once_short([]))
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path / "killed", kill_after=4)
    monkeypatch.setattr(step_module, "logprobs", logprobs)
    assert run(tmp_path / "killed") == straight


def test_what_no_split_makes_small_enough_is_named(tmp_path, ctx, compute, monkeypatch):
    def no_memory(model, groups):
        if any(group.problem_id == "p/2" for group in groups):
            raise MemoryError
        return logprobs(model, groups)

    monkeypatch.setattr(step_module, "logprobs", no_memory)
    with pytest.raises(TrainingError, match=r"^p/2: memory is too small to learn from \d+ tokens at once"):
        train(
            make_model("causal"),
            sft(),
            settings(batch_size=12, max_steps=1),
            compute=compute,
            seed=0,
            workdir=tmp_path,
            ctx=ctx,
        )
