"""Packed weights: the same products, and nothing left behind."""

from __future__ import annotations

import pytest
import torch

from selfstudy.generation import packing
from selfstudy.generation.packing import packed
from tests.fakes import tiny_llama, tiny_t5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("make", [tiny_llama, tiny_t5])
def test_products_are_the_same_and_the_model_is_left_as_it_was(make, dtype, monkeypatch):
    monkeypatch.setattr(packing, "_WEIGHTS", 1)
    model = make(400).to(dtype).eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    inputs = {"input_ids": ids} | ({"decoder_input_ids": ids} if model.config.is_encoder_decoder else {})
    with torch.inference_mode():
        plain = model(**inputs).logits
        with packed(model):
            changed = sum("forward" in vars(module) for module in model.modules())
            fast = model(**inputs).logits
    torch.testing.assert_close(fast, plain, rtol=0.02, atol=1e-3 if dtype == torch.float32 else 0.1)
    assert changed > 10 or not packing._packable(model)
    assert not any("forward" in vars(module) for module in model.modules())


def test_new_weights_count(monkeypatch):
    monkeypatch.setattr(packing, "_WEIGHTS", 1)
    layer = torch.nn.Linear(8, 4)
    model = tiny_llama(400)
    model.extra = layer
    x = torch.randn(3, 8)
    with torch.no_grad():
        with packed(model):
            before = layer(x)
        layer.weight += 1
        with packed(model):
            torch.testing.assert_close(layer(x), before + x.sum(-1, keepdim=True))


def test_errors_leave_nothing_behind(monkeypatch):
    monkeypatch.setattr(packing, "_WEIGHTS", 1)
    model = tiny_llama(400)
    with pytest.raises(RuntimeError, match="stop"), packed(model):
        raise RuntimeError("stop")
    assert not any("forward" in vars(module) for module in model.modules())


def test_weights_that_cannot_be_packed_leave_nothing_behind(monkeypatch):
    monkeypatch.setattr(packing, "_WEIGHTS", 1)
    monkeypatch.setattr(packing, "_packable", lambda model: True)
    calls = []

    def fail(layer):
        calls.append(layer)
        if len(calls) == 3:
            raise RuntimeError("can't allocate memory")
        return layer.forward

    monkeypatch.setattr(packing, "_packed_forward", fail)
    model = tiny_llama(400)
    with pytest.raises(RuntimeError, match="can't allocate"), packed(model):
        pass
    assert not any("forward" in vars(module) for module in model.modules())


def test_models_too_large_for_a_second_copy_go_without(monkeypatch):
    monkeypatch.setattr(packing, "_WEIGHTS", 1)
    monkeypatch.setattr(packing, "_BYTES", 1000)
    model = tiny_llama(400)
    with packed(model):
        assert not any("forward" in vars(module) for module in model.modules())
