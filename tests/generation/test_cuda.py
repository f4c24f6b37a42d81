"""The engine on a GPU: the same completions as on the CPU."""

from __future__ import annotations

import pytest
import torch

from selfstudy.generation.decoder import Decoder
from tests.generation.conftest import make_engine, make_model, make_requests

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and a torch that was built for it"),
]

LENGTHS = (5, 19, 1, 12, 12, 3, 8, 17, 2)


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2", "t5", "bart"])
def test_greedy_equals_the_cpu(name, tokenizer):
    settings = {"temperature": 0, "max_new_tokens": 24, "max_batch_tokens": 4 * 44}
    here = make_engine(make_model(name), tokenizer, **settings).generate(make_requests(LENGTHS))
    there = make_engine(make_model(name).cuda(), tokenizer, **settings).generate(make_requests(LENGTHS))
    assert [s.completion for s in there] == [s.completion for s in here]


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_draws_are_those_of_the_cpu_up_to_float_noise(name, tokenizer):
    settings = {"temperature": 1.0, "top_p": 0.95, "max_new_tokens": 16}
    here = make_engine(make_model(name), tokenizer, **settings).generate(make_requests(LENGTHS, samples=4))
    there = make_engine(make_model(name).cuda(), tokenizer, **settings).generate(make_requests(LENGTHS, samples=4))
    same = sum(a.completion == b.completion for a, b in zip(here, there, strict=True))
    assert same >= 0.9 * len(here)


@pytest.mark.parametrize("top_p", [None, 0.9])
def test_deterministic_kernels_can_draw(top_p, tokenizer):
    torch.use_deterministic_algorithms(True)
    try:
        settings = {"temperature": 1.0, "top_p": top_p, "max_new_tokens": 16}
        samples = make_engine(make_model("llama").cuda(), tokenizer, **settings).generate(make_requests(LENGTHS))
    finally:
        torch.use_deterministic_algorithms(False)
    assert len(samples) == len(LENGTHS)


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_step_does_not_wait_for_the_device(name, tokenizer, monkeypatch):
    step = Decoder.step

    def strict(self, rows):
        torch.cuda.set_sync_debug_mode("error")
        try:
            return step(self, rows)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Decoder, "step", strict)
    engine = make_engine(make_model(name).cuda(), tokenizer, temperature=1.0, max_new_tokens=12)
    assert len(engine.generate(make_requests(LENGTHS, samples=3))) == 3 * len(LENGTHS)


def test_bfloat16(tokenizer):
    model = make_model("llama").to("cuda", torch.bfloat16)
    samples = make_engine(model, tokenizer, temperature=1.0, max_new_tokens=8).generate(make_requests(LENGTHS))
    assert all(sample.logprob < 0 for sample in samples)
