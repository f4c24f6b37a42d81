"""LoRA: nothing changes at first, few weights learn, and merged weights need no peft."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from selfstudy.errors import ConfigError
from selfstudy.generation.probe import probe
from selfstudy.learning.logprobs import check_logprobs, logprobs
from selfstudy.models.lora import Adapter, LoraSettings
from selfstudy.types import Group
from tests.fakes import tiny_llama, tiny_t5

GROUPS = [Group("a", (5, 6, 7), ((8, 9), (10, 11, 12)))]


@pytest.fixture(params=[tiny_llama, tiny_t5], ids=["causal", "seq2seq"])
def model(request):
    return request.param(60)


def test_matrices_learn_and_are_merged(model, tmp_path):
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    first = logprobs(model, GROUPS).logps.detach()
    adapter = Adapter(model, LoraSettings(rank=2), seed=1)
    torch.testing.assert_close(logprobs(model, GROUPS).logps.detach(), first)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert 0 < sum(p.numel() for p in trained) < 0.5 * sum(p.numel() for p in model.parameters())
    optimizer = torch.optim.AdamW(trained, lr=0.05)
    for _ in range(3):
        (-logprobs(model, GROUPS).logps.sum()).backward()
        optimizer.step()
    learnt = logprobs(model, GROUPS).logps.detach()
    assert learnt.sum() > first.sum() + 0.5
    check_logprobs(model)  # with matrices an architecture is what it was, in training and in sampling
    probe(model)
    adapter.merge(tmp_path)
    torch.testing.assert_close(logprobs(model, GROUPS).logps.detach(), learnt, rtol=1e-4, atol=1e-4)
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    assert all(p.requires_grad for p in after.values())
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not any("norm" in name or "embed" in name or "shared" in name for name in changed)
    matrices = load_file(tmp_path / "adapter.safetensors")
    assert len(matrices) == 2 * len(changed)
    assert json.loads((tmp_path / "adapter.json").read_text())["r"] == 2


def test_a_seed_makes_the_same_matrices(model, tmp_path):
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed + 100)
        Adapter(model, LoraSettings(rank=2), seed).merge(tmp_path)
        found.append(load_file(tmp_path / "adapter.safetensors"))
    same = [all(torch.equal(found[0][name], other[name]) for name in other) for other in found]
    assert same == [True, True, False]


def test_unknown_targets_are_refused(model):
    with pytest.raises(ConfigError, match=r"lora.targets=\['nowhere'\]"):
        Adapter(model, LoraSettings(targets=("nowhere",)), 0)
