"""What a token costs a model: the matrices that it is multiplied with."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from selfstudy.evaluation.ledger import Stack
from selfstudy.models.load import family

# Layers of a decoder that see the prompt's tokens rather than its own, in T5 and in BART.
_OF_PROMPT = ("EncDecAttention.k.", "EncDecAttention.v.", "encoder_attn.k_proj.", "encoder_attn.v_proj.")


def stacks(model: PreTrainedModel) -> tuple[Stack, Stack | None]:
    """Return the decoder (or causal model) and the encoder, if there is one, as the ledger counts them."""
    config = model.config.get_text_config()
    output = model.get_output_embeddings()
    parameters = {"decoder": 0, "encoder": 0}
    encoder = model.get_encoder() if family(model) == "seq2seq" else None
    encoding = {id(parameter) for parameter in encoder.parameters()} if encoder is not None else set()
    looked_up = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    looked_up.add(id(output.weight))
    for name, parameter in model.named_parameters():  # LoRA's own matrices among them
        if parameter.ndim in (2, 3) and id(parameter) not in looked_up:
            of_prompt = id(parameter) in encoding or any(part in name for part in _OF_PROMPT)
            # Three dimensions are those of experts, of which a token sees a few.
            experts = parameter.shape[0] if parameter.ndim == 3 else 1
            seen = getattr(config, "num_experts_per_tok", experts) if parameter.ndim == 3 else 1
            parameters["encoder" if of_prompt else "decoder"] += parameter.numel() * seen // experts
    heads = getattr(config, "num_heads", None) or getattr(config, "decoder_attention_heads", config.num_attention_heads)
    size = getattr(config, "d_kv", None) or getattr(config, "head_dim", None) or config.hidden_size // heads
    decoder = Stack(parameters["decoder"], decoder_layers(model), heads * size, output.weight.numel())
    if encoder is None:
        return decoder, None
    return decoder, Stack(parameters["encoder"], config.num_hidden_layers, heads * size)


def decoder_layers(model: PreTrainedModel) -> int:
    """Return how many layers the decoder (or causal model) has; T5 and BART have names of their own for them."""
    config = model.config.get_text_config()
    names = ("num_decoder_layers", "decoder_layers", "num_hidden_layers")
    return next(int(count) for name in names if (count := getattr(config, name, None)))
