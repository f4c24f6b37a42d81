"""The probe: an architecture is sampled only if ragged rows with chunks give what plain forward passes give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from transformers import PreTrainedModel

from selfstudy.errors import ModelError
from selfstudy.generation.decoder import Decoder, ragged
from selfstudy.models.attention import OTHERS, naming_failures, noting_windows
from selfstudy.models.plain import evaluating, plain_logits
from selfstudy.models.stacks import decoder_layers

Chunked = Sequence[Sequence[int]]

# Of the logits' size; a wrong mask or position gives about 1.
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.05}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the probe learned.

    Attributes:
        token_bytes: Of one token's keys and values, over all layers.
        windowed: Whether any layer said that it looks back a limited way only.
    """

    token_bytes: int
    windowed: bool


@dataclass(slots=True)
class _Lane:
    prompt: int
    cached: int
    pending: list[int]


def probe(model: PreTrainedModel) -> Facts:
    """Decode a few tokens in two ragged rows, in chunks, and compare with plain forward passes.

    Raises:
        ModelError: They differ; names the architecture.
    """
    prompts = (_tokens(model, 0, 11), _tokens(model, 11, 7))
    completions = (
        (_tokens(model, 18, 3), _tokens(model, 21, 1), _tokens(model, 22, 1)),
        (_tokens(model, 23, 1), _tokens(model, 24, 2), _tokens(model, 26, 1)),
    )
    with evaluating(model):
        alone = torch.stack([_plain(model, p, c) for p, c in zip(prompts, completions, strict=True)])
    with naming_failures(model), ragged(model), noting_windows() as windows:
        decoder = Decoder(model, rows=2, prompts=2, prompt_length=11, length=13)
        together = _decode(decoder, prompts, completions)
    error = ((together - alone).norm() / alone.norm()).item()
    if not error <= _TOLERANCE.get(model.dtype, 1e-3):
        raise ModelError(
            f"{type(model).__name__}: logits of ragged rows differ from those of plain forward passes by {error:.2g} "
            f"of their size, so that what is drawn would depend on its batch; {OTHERS}"
        )
    layers = decoder_layers(model)
    if len(decoder.cache.layers) != layers:
        raise ModelError(
            f"{type(model).__name__}: {len(decoder.cache.layers)} of {layers} layers attend; what others remember of a "
            f"row cannot be kept here; {OTHERS}"
        )
    return Facts(decoder.cache.token_bytes(), bool(windows))


def _decode(decoder: Decoder, prompts: Chunked, completions: Sequence[Chunked]) -> Tensor:
    """Return (2, steps, V) logits behind each prompt and chunk."""
    decoder.load(prompts, [1, 0])
    lanes = [_Lane(slot, 0, decoder.start(prompt)) for slot, prompt in zip((1, 0), prompts, strict=True)]
    logits = [decoder.step(lanes)]
    for chunks in zip(*completions, strict=True):
        for lane, chunk in zip(lanes, chunks, strict=True):
            lane.cached += len(lane.pending)
            lane.pending = list(chunk)
        logits.append(decoder.step(lanes))
    return torch.stack(logits, 1).float()


def _plain(model: PreTrainedModel, prompt: Sequence[int], chunks: Chunked) -> Tensor:
    """Return (steps, V) logits behind the prompt and each chunk, from one forward pass."""
    ends = [0, *accumulate(map(len, chunks))]
    chosen: Tensor = plain_logits(model, prompt, [token for chunk in chunks for token in chunk])[ends].float()
    return chosen


def _tokens(model: PreTrainedModel, first: int, count: int) -> list[int]:
    """Return tokens that differ from one another, all over the vocabulary."""
    size = model.config.get_text_config().vocab_size
    return [(13 + 7919 * i) % size for i in range(first, first + count)]
