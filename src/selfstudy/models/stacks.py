"""What a token costs a model: the matrices that it is multiplied with."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from selfstudy.evaluation.ledger import Stack
from selfstudy.models.load import family

# Layers of a decoder that see the prompt's tokens rather than its own, in T5 and in BART.
_OF_PROMPT = ("EncDecAttention.k", "EncDecAttention.v", "encoder_attn.k_proj", "encoder_attn.v_proj")


def stacks(model: PreTrainedModel) -> tuple[Stack, Stack | None]:
    """Return the decoder (or causal model) and the encoder, if there is one, as the ledger counts them."""
    config = model.config.get_text_config()
    output = model.get_output_embeddings()
    parameters = {"decoder": 0, "encoder": 0}
    encoder = model.get_encoder() if family(model) == "seq2seq" else None
    encoding = set(encoder.modules()) if encoder is not None else set()
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if module is output or isinstance(module, nn.Embedding) or weight is None or weight.ndim != 2:
            continue
        parameters["encoder" if module in encoding or name.endswith(_OF_PROMPT) else "decoder"] += weight.numel()
    heads = getattr(config, "num_heads", None) or getattr(config, "decoder_attention_heads", config.num_attention_heads)
    size = getattr(config, "d_kv", None) or getattr(config, "head_dim", None) or config.hidden_size // heads
    layers = getattr(config, "num_decoder_layers", None) or getattr(config, "decoder_layers", config.num_hidden_layers)
    decoder = Stack(parameters["decoder"], layers, heads * size, output.weight.numel())
    if encoder is None:
        return decoder, None
    return decoder, Stack(parameters["encoder"], config.num_hidden_layers, heads * size)
