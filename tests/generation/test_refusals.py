"""What the engine does not draw from, and how it says so."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    UMT5Config,
    UMT5ForConditionalGeneration,
)

from selfstudy.errors import ModelError, PluginError
from selfstudy.generation.engine import Request
from selfstudy.generation.hooks import Forced
from selfstudy.generation.rows import Row
from tests.fakes import tiny_llama
from tests.generation.conftest import VOCABULARY, Scribe, make_engine, make_model, make_requests


def test_over_long_and_empty_prompts_are_refused_by_id(tokenizer):
    engine = make_engine(tiny_llama(VOCABULARY, max_position_embeddings=64), tokenizer, max_new_tokens=50)
    fits, over = make_requests([14, 15])
    engine.check([fits])
    with pytest.raises(ModelError, match=r"p1 \(15\): .* 64 positions of .*; lower sampling\.max_new_tokens"):
        engine.generate([fits, over])
    with pytest.raises(ModelError, match=r"empty: the prompt has no tokens"):
        engine.check([Request("empty", (), range(1))])


def test_positions_of_bart_are_not_exceeded(tokenizer):
    model = make_model("bart")
    limit = model.config.max_position_embeddings
    with pytest.raises(ModelError, match=rf"p1 \({limit + 1}\): prompt .* or max_new_tokens=5 need more than"):
        make_engine(model, tokenizer, max_new_tokens=5).generate(make_requests([4, limit + 1]))
    with pytest.raises(ModelError, match="p0"):
        make_engine(model, tokenizer, max_new_tokens=limit + 1).generate(make_requests([4]))


def test_a_window_nobody_passes_on_is_refused(tokenizer):
    model = tiny_llama(VOCABULARY)
    model.config.sliding_window = 32
    engine = make_engine(model, tokenizer, max_new_tokens=30)
    engine.check(make_requests([2]))
    with pytest.raises(ModelError, match=r"sliding_window=32, .*; lower sampling\.max_new_tokens, or take"):
        engine.check(make_requests([3]))


def test_frequencies_that_change_for_the_whole_batch_are_refused(tokenizer):
    rotary = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4, "original_max_position_embeddings": 40}
    engine = make_engine(tiny_llama(VOCABULARY, rope_parameters=rotary), tokenizer, max_new_tokens=30)
    engine.check(make_requests([10]))
    with pytest.raises(ModelError, match="exceed 40, where its rotary frequencies change"):
        engine.check(make_requests([11]))


def test_architectures_that_fail_the_probe_are_refused(tokenizer):
    umt5 = {"vocab_size": VOCABULARY, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    with pytest.raises(ModelError, match="UMT5ForConditionalGeneration is not supported"):
        make_engine(UMT5ForConditionalGeneration(UMT5Config(**umt5, decoder_start_token_id=0)), tokenizer)
    bloom = BloomForCausalLM(BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4))
    with pytest.raises(
        ModelError, match="BloomForCausalLM keeps its attention to itself; take a model of another architecture"
    ):
        make_engine(bloom, tokenizer)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=1, n_head=4, n_positions=64))
    wpe = model.transformer.wpe
    # Positions that depend on the place in the batch, as some architectures have them.
    wpe.forward = lambda positions: torch.nn.functional.embedding(
        torch.arange(positions.shape[1])[None] % 64, wpe.weight * 50
    )
    model.generation_config.eos_token_id = 1
    with pytest.raises(ModelError, match=r"ragged rows differ .*; take a model of another architecture"):
        make_engine(model, tokenizer)


def test_layers_that_do_not_attend_are_refused(tokenizer):
    """Such as those of a state space model, which remember a row in another way."""
    model = tiny_llama(VOCABULARY)
    model.generation_config.eos_token_id = 1
    skipped = model.model.layers[1]
    skipped.forward = lambda hidden, *_, **__: hidden
    with pytest.raises(ModelError, match=r"1 of 2 layers attend; what others remember of a row cannot be kept"):
        make_engine(model, tokenizer)


def test_logits_that_are_not_finite_stop_the_run(tokenizer):
    model = tiny_llama(VOCABULARY)
    engine = make_engine(model, tokenizer, max_new_tokens=4)
    with torch.no_grad():
        model.lm_head.weight[5] = torch.nan
    with pytest.raises(
        ModelError, match=r"p0: the model's logits are not finite: .*; set it to float32, or use another"
    ):
        engine.generate(make_requests([4]))


@pytest.mark.parametrize("replace_last", [False, True])
def test_a_hook_that_forces_forces_something(replace_last):
    row = Row(0, 0, 0, 0, 0, [0], Scribe({5: Forced((), replace_last=replace_last)}))
    with pytest.raises(PluginError, match="hook Scribe forces no token; return None where it forces none"):
        row.accept(5, 0.0, {1}, 10)


def test_a_hook_may_not_end_a_completion(tokenizer):
    row = Row(0, 0, 0, 0, 0, [0], Scribe({5: Forced((7, 1))}))
    with pytest.raises(
        PluginError, match=r"hook Scribe forces \[7, 1\], and one of these ends a completion, .*; leave that token out"
    ):
        row.accept(5, 0.0, {1}, 10)
