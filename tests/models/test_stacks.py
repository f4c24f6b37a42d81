"""What the ledger estimates against what a forward pass, and a backward one behind it, are counted to take."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
)

from selfstudy.evaluation.ledger import forward_flops, training_flops
from selfstudy.models.lora import Adapter, LoraSettings
from selfstudy.models.stacks import stacks
from tests.fakes import tiny_llama, tiny_t5

WIDE = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 8, "num_key_value_heads": 2}
BART = {"vocab_size": 300, "d_model": 128, "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 4}
BART |= {"decoder_attention_heads": 4, "encoder_ffn_dim": 256, "decoder_ffn_dim": 256}
MODELS = {
    "llama": lambda: tiny_llama(300, **WIDE),
    "tied": lambda: tiny_llama(300, **WIDE, tie_word_embeddings=True),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=300, n_embd=128, n_layer=3, n_head=4)),
    "t5": lambda: tiny_t5(300, d_model=128, d_kv=16, d_ff=256, num_heads=8, num_layers=3, num_decoder_layers=2),
    "bart": lambda: BartForConditionalGeneration(BartConfig(**BART)),
}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", list(MODELS))
def test_estimates_are_what_is_counted_to_5_per_cent(name: str, training: bool) -> None:
    """The library counts attention between all positions; causal attention needs half of that between its own."""
    model: PreTrainedModel = MODELS[name]().eval()
    model.set_attn_implementation("eager")
    prompt, completion = 9, 6
    decoder, encoder = stacks(model)
    with torch.set_grad_enabled(training), FlopCounterMode(display=False) as counted:
        if encoder is None:
            found = model(input_ids=torch.ones(1, prompt + completion, dtype=torch.long), logits_to_keep=completion)
            own = prompt + completion
        else:
            inputs = torch.ones(1, prompt, dtype=torch.long)
            found = model(input_ids=inputs, decoder_input_ids=torch.ones(1, completion, dtype=torch.long))
            own = completion
        if training:
            found.logits.sum().backward()
    times, estimate = (3, training_flops) if training else (1, forward_flops)
    beyond = times * 4 * decoder.width * decoder.layers * (own**2 - own * (own + 1) // 2)
    estimated = estimate(decoder, prompt, [completion], encoder)
    assert estimated == pytest.approx(counted.get_total_flops() - beyond, rel=0.05)
    matrices = times * 2 * decoder.parameters * (own if encoder is None else completion)
    assert matrices > 0.3 * estimated  # so that attention alone does not pass


def test_experts_count_as_far_as_a_token_sees_them() -> None:
    """The library's counter does not know their product."""
    size = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 8}
    size |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    router = 32 * 8
    for seen in (2, 8):
        config = MixtralConfig(**size, num_local_experts=8, num_experts_per_tok=seen)
        decoder, _ = stacks(MixtralForCausalLM(config))
        attention = 32 * 32 + 2 * 16 * 32 + 32 * 32
        assert decoder.parameters == 2 * (attention + router + seen * 3 * 32 * 64)


@pytest.mark.parametrize("name", ["llama", "t5", "bart"])
def test_lora_adds_its_own_matrices_alone(name: str) -> None:
    """The library's wrapper has the weight that it wraps, which is to be counted once."""
    model: PreTrainedModel = MODELS[name]()
    before = stacks(model)
    Adapter(model, LoraSettings(rank=2), seed=0)
    added = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    after = stacks(model)
    assert sum(s.parameters for s in after if s) == sum(s.parameters for s in before if s) + added
    if before[1] is not None and after[1] is not None:
        assert before[1].parameters < after[1].parameters < 1.2 * before[1].parameters
