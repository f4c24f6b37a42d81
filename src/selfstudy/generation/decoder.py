"""A model with preallocated caches: prompts in, then one flat step after the other, for both model families.

What a step costs beside attention does not depend on the number of tokens so far, and only the last token of each row
reaches the output layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from selfstudy.errors import ModelError
from selfstudy.generation.attention import IMPLEMENTATION, Cache, Chunks, Cross, Decode, Prefill, Step
from selfstudy.learning.logprobs import decoder_start
from selfstudy.models.load import family

Ints = npt.NDArray[np.int64]


class Pending(Protocol):
    """A row as the decoder sees it.

    Attributes:
        prompt: Slot of its prompt.
        cached: Tokens whose keys and values are in its slot.
        pending: Tokens behind those, to be computed now; at least one.
    """

    prompt: int
    cached: int
    pending: list[int]


class Decoder:
    """Decodes up to ``rows`` rows at a time; to be used within :func:`ragged`.

    Attributes:
        cache: Keys and values of the rows.
        prompts: Those of the prompts.
    """

    def __init__(self, model: PreTrainedModel, *, rows: int, prompts: int, prompt_length: int, length: int):
        """Prepare caches.

        Args:
            model: Causal, or T5-like.
            rows: Slots for rows.
            prompts: Slots for prompts.
            prompt_length: Tokens of the longest prompt.
            length: Tokens of the longest row: prompt and completion, or decoder start and completion.

        Raises:
            ModelError: A causal architecture without the attention interface, or an encoder–decoder unlike T5.
        """
        self.model = model
        self.cache = Cache(rows, length)
        self.prompts = Cache(prompts, prompt_length)
        self._start = decoder_start(model)
        self._prompt_lengths = np.ones(prompts, np.int64)
        self._output = model.get_output_embeddings()
        self._cross: tuple[nn.Module, ...] = ()
        self._table: Tensor | None = None
        if self._start is not None:
            blocks = _t5_blocks(model)
            self._cross = tuple(block.layer[1].EncDecAttention for block in blocks)
            self._table = _distance_bias(blocks[0].layer[0].SelfAttention, length)
        elif not model._supports_attention_backend:  # the library's word for: attention goes through its interface
            raise ModelError(f"{type(model).__name__} keeps its attention to itself, so it cannot be sampled here")

    def start(self, prompt: Sequence[int]) -> tuple[int, list[int]]:
        """Return how many tokens a new row takes over from its prompt, and its first pending tokens."""
        if self._start is None:
            # A prompt's last token is computed once more in each row: it yields the row's first logits.
            return len(prompt) - 1, [prompt[-1]]
        return 0, [self._start]

    def load(self, prompts: Sequence[Sequence[int]], slots: Sequence[int]) -> None:
        """Compute prompts, all but the last token of causal models', into prompt slots."""
        if self._start is None:
            prompts = [prompt[:-1] for prompt in prompts]
        lengths = np.array([len(prompt) for prompt in prompts])
        self._prompt_lengths[list(slots)] = lengths
        if lengths.max() == 0:
            return
        owner = np.repeat(np.arange(len(prompts)), lengths)
        positions = np.concatenate([np.arange(n) for n in lengths])
        padded, flat = _group(owner, positions, len(prompts), int(lengths.max()))
        ids = np.concatenate([np.asarray(prompt, np.int64) for prompt in prompts])
        at = self._to_device(ids, np.asarray(slots), padded, flat, positions)
        if self._start is not None:
            self._encode(at[0][at[2]], torch.as_tensor(lengths, device=self.model.device), at[1])
        else:
            step = Prefill(self.prompts, at[1], at[2], at[3])
            self._forward(step, 0, input_ids=at[0][None], position_ids=at[4][None])

    def admit(self, rows: Sequence[int], prompts: Sequence[int]) -> None:
        """Give rows what is computed of their prompts."""
        if self._start is None:
            length = int(self._prompt_lengths[list(prompts)].max())
            sources, targets = self._to_device(np.asarray(prompts), np.asarray(rows))
            self.cache.copy(self.prompts, sources, targets, length)

    def move(self, sources: Sequence[int], targets: Sequence[int], length: int) -> None:
        """Move the first ``length`` tokens of rows into other slots."""
        at = self._to_device(np.asarray(sources), np.asarray(targets))
        self.cache.copy(self.cache, at[0], at[1], length)

    def step(self, rows: Sequence[Pending]) -> Tensor:
        """Compute the pending tokens of ``rows``, row i in slot i; return logits (S, V) behind the last ones."""
        ids = [row.pending[-1] for row in rows]
        positions = [row.cached + len(row.pending) - 1 for row in rows]
        longest = max(positions) + 1
        slots = list(range(len(rows)))
        for slot, row in enumerate(rows):
            if len(row.pending) > 1:
                ids += row.pending[:-1]
                positions += range(row.cached, positions[slot])
                slots += [slot] * (len(row.pending) - 1)
        slot_of, position_of = np.asarray(slots), np.asarray(positions)
        parts: list[Ints] = [np.asarray(ids), slot_of, position_of]
        if len(ids) > len(rows):
            parts += _chunks(slot_of[len(rows) :], position_of[len(rows) :], len(rows))
        if self._start is not None:
            prompt_of = np.asarray([row.prompt for row in rows])[slot_of]
            used = int(prompt_of.max()) + 1
            order = np.argsort(prompt_of, kind="stable")
            counts = np.bincount(prompt_of, minlength=used)
            rank = np.empty_like(order)
            rank[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
            parts += [*_group(prompt_of, rank, used, int(counts.max())), self._prompt_lengths[:used]]
        at = self._to_device(*parts)
        cross = self._cross_groups(*at[-3:]) if self._start is not None else None
        chunks = Chunks(*at[3:7]) if len(ids) > len(rows) else None
        modules = frozenset(self._cross)
        step = Decode(self.cache, len(rows), at[1], at[2], longest, chunks, cross, modules, self._table)
        if self._start is None:
            return self._forward(step, len(rows), input_ids=at[0][None], position_ids=at[2][None])
        return self._forward(
            step,
            len(rows),
            decoder_input_ids=at[0][None],
            # T5 wants an encoder output to be there; what it attends to comes from the prompts' slots.
            encoder_outputs=BaseModelOutput(torch.zeros(1, 1, 1, device=self.model.device, dtype=self.model.dtype)),
            past_key_values=_PromptKeys([self.prompts.layers[module] for module in self._cross]),
        )

    def _forward(self, step: Step, keep: int, **inputs: Any) -> Tensor:
        def narrow(_: nn.Module, hidden: tuple[Any, ...]) -> tuple[Any, ...]:
            return (hidden[0][:, :keep], *hidden[1:])

        handle = self._output.register_forward_pre_hook(narrow)
        try:
            logits: Tensor = self.model(**inputs, use_cache=False, step=step).logits[0]
        finally:
            handle.remove()
        return logits

    def _encode(self, ids: Tensor, lengths: Tensor, slots: Tensor) -> None:
        """Encode prompts (P, T), padded on the right, and store each decoder layer's keys and values of them."""
        mask = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        encoder: Callable[..., Any] = self.model.get_encoder()
        encoded = encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        for module in self._cross:
            attention: Any = module  # a T5Attention
            key, value = (
                project(encoded).unflatten(-1, (attention.n_heads, -1)).transpose(1, 2)
                for project in (attention.k, attention.v)
            )
            keys, values = self.prompts.of(module, key, value)
            keys[slots, :, : ids.shape[1]] = key
            values[slots, :, : ids.shape[1]] = value

    def _cross_groups(self, padded: Tensor, flat: Tensor, lengths: Tensor) -> Cross:
        longest = int(self._prompt_lengths[: len(lengths)].max())
        behind = torch.arange(longest, device=lengths.device) >= lengths[:, None]
        bias = torch.zeros(behind.shape, dtype=self.model.dtype, device=lengths.device)
        return Cross(padded, flat, bias.masked_fill_(behind, -torch.inf)[:, None, None])

    def _to_device(self, *arrays: Ints) -> list[Tensor]:
        """Copy index arrays to the model's device in one transfer."""
        packed = torch.from_numpy(np.concatenate([array.ravel() for array in arrays]))
        if self.model.device.type == "cuda":
            packed = packed.pin_memory().to(self.model.device, non_blocking=True)
        parts = torch.split(packed, [array.size for array in arrays])
        return [part.view(array.shape) for part, array in zip(parts, arrays, strict=True)]


@contextmanager
def ragged(model: PreTrainedModel) -> Iterator[None]:
    """Let a model attend as this engine does, in evaluation mode and without gradients; restore it afterwards."""
    decoder = model.get_decoder() if family(model) == "seq2seq" else model  # T5's encoder has a config of its own
    config, was = decoder.config, decoder.config._attn_implementation
    config._attn_implementation = IMPLEMENTATION
    try:
        with evaluating(model):
            yield
    finally:
        config._attn_implementation = was


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Put a model in evaluation mode, without gradients; restore each module's mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


class _PromptKeys(EncoderDecoderCache):  # type: ignore[misc] # untyped in the library
    """The prompts' keys and values, in the form in which T5 takes what it need not compute; itself keeps nothing."""

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor]]):
        self.self_attention_cache = _Nothing()
        self.cross_attention_cache = _Layers([_Layer(*pair) for pair in layers])
        self.is_updated = dict.fromkeys(range(len(layers)), True)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0


class _Nothing(DynamicCache):  # type: ignore[misc]
    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        return key_states, value_states


@dataclass(frozen=True, slots=True)
class _Layer:
    keys: Tensor
    values: Tensor


@dataclass(frozen=True, slots=True)
class _Layers:
    layers: list[_Layer]


def _t5_blocks(model: PreTrainedModel) -> Any:
    blocks = getattr(model.get_decoder(), "block", None)
    attentions = [getattr(block.layer[0], "SelfAttention", None) for block in blocks or ()]
    biased = [getattr(attention, "has_relative_attention_bias", None) for attention in attentions]
    if biased != [True] + [False] * (len(biased) - 1):  # UMT5 has a bias of its own in each layer
        raise ModelError(
            f"{type(model).__name__} cannot be sampled here: of encoder–decoder models, T5's relatives (T5, Flan-T5, "
            "mT5) are supported"
        )
    return blocks


def _distance_bias(attention: Any, length: int) -> Tensor:
    """Return (H, length): T5's bias for looking 0, 1, 2 … tokens back."""
    distance = torch.arange(length, device=attention.relative_attention_bias.weight.device)
    buckets = attention._relative_position_bucket(
        -distance,
        bidirectional=False,
        num_buckets=attention.relative_attention_num_buckets,
        max_distance=attention.relative_attention_max_distance,
    )
    bias: Tensor = attention.relative_attention_bias(buckets).T
    return bias.contiguous()


def _group(owner: Ints, rank: Ints, groups: int, width: int) -> tuple[Ints, Ints]:
    """Return the flat index (groups, width) of each group's tokens, 0 behind its end, and where in it each stands."""
    flat = owner * width + rank
    padded = np.zeros(groups * width, np.int64)
    padded[flat] = np.arange(len(owner))
    return padded.reshape(groups, width), flat


def _chunks(slots: Ints, positions: Ints, first: int) -> list[Ints]:
    """Return the arrays of :class:`Chunks` for the tokens behind flat index ``first``."""
    rows, owner, counts = np.unique(slots, return_inverse=True, return_counts=True)
    rank = np.arange(len(slots)) - np.repeat(np.cumsum(counts) - counts, counts)
    padded, flat = _group(owner, rank, len(rows), int(counts.max()))
    padded_positions = np.zeros(padded.shape, np.int64)
    padded_positions.ravel()[flat] = positions
    return [rows, padded + first, padded_positions, flat]
