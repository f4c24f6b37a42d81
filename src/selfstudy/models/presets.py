"""Architecture presets: shapes as data, and fresh models of them with seeded weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5Config,
    T5ForConditionalGeneration,
)

from selfstudy.errors import ModelError, did_you_mean
from selfstudy.models.load import fill_id, keep_untied, plain_generation_config
from selfstudy.models.tokenizers import Family


@dataclass(frozen=True, slots=True)
class Preset:
    """A shape.

    Attributes:
        family: Decides the class: Llama for ``causal``, T5 for ``seq2seq``.
        vocab_size: The published one, or what suits the shape; a run trains its tokenizer with its config's.
        shape: Arguments of the config class.
    """

    family: Family
    vocab_size: int
    shape: Mapping[str, Any]


_UNSEEN = -20.0  # a bias with which a token hardly counts
_T5_V1_1 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}  # untied, outputs not scaled

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        # From scratch on a CPU in minutes: most parameters in the layers, few in the embeddings. No dropout, since
        # the text that such a model is trained on is as plentiful as its capacity is small.
        "llama-tiny": Preset(
            "causal",
            1024,
            {
                "hidden_size": 128,
                "intermediate_size": 384,
                "num_hidden_layers": 4,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "max_position_embeddings": 1024,
                "initializer_range": 0.05,  # about half of width^-0.5, as 0.02 is at the widths that chose it
                "tie_word_embeddings": True,
            },
        ),
        "t5-tiny": Preset(
            "seq2seq",
            1024,
            {"d_model": 128, "d_kv": 16, "d_ff": 256, "num_layers": 3, "num_heads": 8, "dropout_rate": 0.0, **_T5_V1_1},
        ),
        # What benchmarks run on: large enough that matrix products count, small enough for a CPU.
        "llama-20m": Preset(
            "causal",
            4096,
            {
                "hidden_size": 512,
                "intermediate_size": 1408,
                "num_hidden_layers": 6,
                "num_attention_heads": 8,
                "num_key_value_heads": 4,
                "max_position_embeddings": 1024,
                "tie_word_embeddings": True,
            },
        ),
        "llama-100m": Preset(
            "causal",
            16384,
            {
                "hidden_size": 768,
                "intermediate_size": 2048,
                "num_hidden_layers": 14,
                "num_attention_heads": 12,
                "num_key_value_heads": 4,
                "max_position_embeddings": 1024,
                "tie_word_embeddings": True,
            },
        ),
        "t5-20m": Preset(
            "seq2seq",
            4096,
            {
                "d_model": 384,
                "d_kv": 64,
                "d_ff": 1024,
                "num_layers": 4,
                "num_heads": 6,
                "dropout_rate": 0.0,
                **_T5_V1_1,
            },
        ),
        # Published shapes: arXiv 2401.02385, table 1; google/flan-t5-*.
        "tinyllama-1.1b": Preset(
            "causal",
            32000,
            {
                "hidden_size": 2048,
                "intermediate_size": 5632,
                "num_hidden_layers": 22,
                "num_attention_heads": 32,
                "num_key_value_heads": 4,
                "max_position_embeddings": 2048,
                "rms_norm_eps": 1e-5,
                "tie_word_embeddings": False,
            },
        ),
        "flan-t5-base": Preset(
            "seq2seq",
            32128,
            {"d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_heads": 12, **_T5_V1_1},
        ),
        "flan-t5-large": Preset(
            "seq2seq",
            32128,
            {"d_model": 1024, "d_kv": 64, "d_ff": 2816, "num_layers": 24, "num_heads": 16, **_T5_V1_1},
        ),
    }
)


def find_preset(name: str) -> Preset:
    """Return the preset called ``name``.

    Raises:
        ModelError: There is none; the nearest is named.
    """
    if name not in PRESETS:
        raise ModelError(f"no architecture preset '{name}'{did_you_mean(name, PRESETS)}")
    return PRESETS[name]


def create(name: str, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """Make a model of a preset's shape for ``tokenizer``: float32, on the CPU, in evaluation mode.

    The embedding has exactly one row for each token. The same seed gives the same weights, whatever was drawn before,
    and the caller's random state is left as it was.

    Raises:
        ModelError: There is no such preset, or the tokenizer has no EOS.
    """
    if tokenizer.eos_token_id is None:
        raise ModelError("the tokenizer has no EOS token, so a model could never end a solution; give it one")
    rows = max(tokenizer.get_vocab().values()) + 1
    fill = fill_id(tokenizer)
    tokens = {"pad_token_id": fill, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(find_preset(name), rows, tokens)
    model.generation_config = plain_generation_config(model)
    return model.eval()


def build(preset: Preset, vocab_size: int, tokens: Mapping[str, int | None]) -> PreTrainedModel:
    """Make the module on the current default device (``meta`` counts parameters without memory)."""
    if preset.family == "causal":
        llama = LlamaForCausalLM(LlamaConfig(vocab_size=vocab_size, **preset.shape, **tokens))
        _scale_residuals(llama)
        return llama
    starts = {"decoder_start_token_id": tokens.get("pad_token_id", 0)}
    model = T5ForConditionalGeneration(T5Config(vocab_size=vocab_size, **preset.shape, **tokens, **starts))
    _untie(model, std=0.5 * model.config.d_model**-0.5)
    _draw_positions(model)
    return model


@torch.no_grad()
def _scale_residuals(model: LlamaForCausalLM) -> None:
    """Shrink what each layer adds to the residual stream by √(2 · layers), as GPT-2 does; measured to learn faster."""
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.mul_((2 * len(model.model.layers)) ** -0.5)
        layer.mlp.down_proj.weight.mul_((2 * len(model.model.layers)) ** -0.5)


@torch.no_grad()
def _draw_positions(model: T5ForConditionalGeneration) -> None:
    """Draw the relative position biases anew, so that heads look at different distances from the start.

    They are all that a T5 knows of order. As in ALiBi (Press et al. 2022, arXiv 2108.12409) distance counts against a
    token by a slope that each head has of its own; the last has none. The decoder's other heads do not see the token
    itself, which the residual stream holds anyway. docs/log.md has what this is worth.
    """
    for stack in (model.encoder, model.decoder):
        attention: Any = stack.block[0].layer[0].SelfAttention
        bias = attention.relative_attention_bias.weight  # (buckets, heads)
        reach = 2 * attention.relative_attention_max_distance
        offsets = torch.arange(-reach, 1 if stack.is_decoder else reach + 1)
        bucket = attention._relative_position_bucket(
            offsets, not stack.is_decoder, len(bias), attention.relative_attention_max_distance
        )
        none = torch.zeros(len(bias))
        members = none.index_add(0, bucket, torch.ones(len(offsets))).clamp(min=1)
        distance = none.index_add(0, bucket, offsets.abs().float()) / members
        slopes = 2.0 ** (1 - 1.5 * torch.arange(bias.shape[1]))
        slopes[-1] = 0
        bias.normal_(0.0, 0.5).sub_(distance[:, None] * slopes).clamp_(min=_UNSEEN)
        if stack.is_decoder:
            bias[0, :-1] = _UNSEEN


def _untie(model: T5ForConditionalGeneration, std: float) -> None:
    """Give a T5 v1.1 its own output layer, drawn with ``std``.

    The config class of transformers 5 ties all T5 models and leaves it to the checkpoint to undo that; a fresh model
    has none. Its own initialisation of an untied layer (std 1 against hidden states of norm √d) starts at tens of nats,
    a logit's standard deviation of 0.5 (std 0.5/√d) within 0.13 nats of ln V.
    """
    model.lm_head.weight = nn.Parameter(torch.randn_like(model.shared.weight) * std)
    keep_untied(model)
