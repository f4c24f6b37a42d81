"""Models that talk a lot, and one that says what a script tells it."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OlmoConfig,
    OlmoForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

from selfstudy.generation.engine import Engine, Request, SamplingSettings
from selfstudy.generation.hooks import Forced
from selfstudy.judging.notation import ANGLE
from selfstudy.plugins import parse_spec
from selfstudy.types import Sample
from tests.fakes import byte_tokenizer, tiny_llama, tiny_t5

VOCABULARY = 400
LENGTHS = (5, 19, 1, 12, 12, 3, 8, 17, 2)  # of prompts
NO_HOOK = parse_spec("selfstudy.generation.hooks", "off")

_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "bos_token_id": None,
    "initializer_range": 0.3,
}
_GROUPED = _COMMON | {"num_key_value_heads": 2}
_GPT2 = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}

MODELS = {
    "llama": lambda: tiny_llama(VOCABULARY),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**_GROUPED)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**_GROUPED, head_dim=8)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**_GROUPED, sliding_window=7)),
    "gemma2": lambda: Gemma2ForCausalLM(
        Gemma2Config(**_GROUPED | {"initializer_range": 0.05}, head_dim=8, sliding_window=7, attn_logit_softcapping=2.0)
    ),
    "gemma3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**_GROUPED | {"initializer_range": 0.05}, head_dim=8, sliding_window=7)
    ),
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**_GROUPED, head_dim=8)),
    # SmolLM's shape: Llama with tied embeddings and three heads to a key.
    "smollm": lambda: tiny_llama(
        VOCABULARY, hidden_size=48, num_attention_heads=6, num_key_value_heads=2, tie_word_embeddings=True
    ),
    "smollm3": lambda: SmolLM3ForCausalLM(SmolLM3Config(**_GROUPED)),
    "olmo": lambda: OlmoForCausalLM(OlmoConfig(**_GROUPED)),
    "phi": lambda: PhiForCausalLM(PhiConfig(**_COMMON)),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(**_GPT2, eos_token_id=1, pad_token_id=0, bos_token_id=None, initializer_range=0.5)
    ),
    "gpt_neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**_COMMON)),
    "t5": lambda: tiny_t5(VOCABULARY),
    "bart": lambda: BartForConditionalGeneration(
        BartConfig(
            vocab_size=VOCABULARY,
            d_model=32,
            encoder_layers=2,
            decoder_layers=1,  # as distilled ones have fewer
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            max_position_embeddings=256,
            init_std=0.1,
            tie_word_embeddings=False,
            eos_token_id=1,
            pad_token_id=0,
            bos_token_id=None,
            decoder_start_token_id=0,
            forced_eos_token_id=None,
        )
    ),
    "t5_v1_1": lambda: tiny_t5(VOCABULARY, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
}


def make_model(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    return MODELS[name]().eval()


@pytest.fixture(scope="session")
def tokenizer():
    return byte_tokenizer(VOCABULARY)


@pytest.fixture(scope="session", params=list(MODELS))
def model(request) -> PreTrainedModel:
    return make_model(request.param)


@pytest.fixture(scope="session", params=["mistral", "t5"])
def some_model(request) -> PreTrainedModel:
    """Return one of each family: grouped queries and a window; relative positions."""
    return make_model(request.param)


def make_requests(lengths: Sequence[int], samples: int = 1) -> list[Request]:
    draw = random.Random(0)
    prompts = [tuple(draw.randrange(2, VOCABULARY) for _ in range(length)) for length in lengths]
    return [Request(f"p{i}", prompt, range(samples)) for i, prompt in enumerate(prompts)]


def make_engine(
    model,
    tokenizer,
    *,
    notation=ANGLE,
    seed=0,
    purpose="test",
    round=0,
    **settings,
) -> Engine:
    sampling = SamplingSettings(**{"hook": NO_HOOK} | settings)
    return Engine(model, tokenizer, sampling, notation=notation, seed=seed, purpose=purpose, round=round)


def scripted_model(script: Sequence[int], vocabulary: int, eos: int = 1) -> GPT2LMHeadModel:
    """Return a GPT-2 that says ``script[i]`` at position i of its text, whatever stands before; then ``eos``.

    Positions are one-hot, blocks add nothing, and the output layer reads the script off the position.
    """
    positions = len(script) + 80
    config = GPT2Config(
        vocab_size=vocabulary,
        n_embd=positions,
        n_layer=1,
        n_head=1,
        n_positions=positions,
        eos_token_id=eos,
        pad_token_id=0,
        bos_token_id=None,
        tie_word_embeddings=False,
    )
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.transformer.h.parameters():
            parameter.zero_()
        model.transformer.wte.weight.zero_()
        model.transformer.wpe.weight.copy_(torch.eye(positions))
        model.lm_head.weight.zero_()
        for position in range(positions):
            # The logits at a position are for the token at the next.
            token = script[position + 1] if position + 1 < len(script) else eos
            model.lm_head.weight[token, position] += 20.0
    return model


class Bar:
    seen = 0

    def advance(self, amount=1, **shown):
        self.seen += amount


def plain(samples: list[Sample]) -> list[tuple[str, int, tuple[int, ...]]]:
    return [(s.problem_id, s.index, s.completion.token_ids) for s in samples]


class Scribe:
    """Forces what a table says behind certain tokens."""

    counts = {}

    def __init__(self, table: dict[int, Forced]):
        self.table = table

    def start(self):
        return self

    def feed(self, token_id):
        return self.table.get(token_id)
