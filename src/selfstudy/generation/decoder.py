"""A model with preallocated caches: prompts in, then one flat step after the other, for both model families.

A prompt's keys and values are computed once and read by all its rows; a row keeps only those of its own tokens. What a
step costs beside attention does not depend on the number of tokens so far, and only the last token of each row reaches
the output layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from selfstudy.generation.attention import (
    Band,
    Cache,
    Chunk,
    Decode,
    Prefill,
    Prompts,
    Rows,
    Seen,
    causal_bias,
    prompt_bias,
)
from selfstudy.models.attention import Step, attending, attending_flat, parts_of, position_bias
from selfstudy.models.plain import decoder_start, evaluating

Ints = npt.NDArray[np.int64]

# Rows that attend together: fewer cost more in calls than their own longest row saves.
BAND = 16
# Bands whose longest rows differ by less are one.
_BAND_TOKENS = 32


class Pending(Protocol):
    """A row as the decoder sees it.

    Attributes:
        prompt: Slot of its prompt.
        cached: Tokens whose keys and values are in its own slot.
        pending: Tokens behind those, to be computed now; at least one.
    """

    prompt: int
    cached: int
    pending: list[int]


class Decoder:
    """Decodes up to ``rows`` rows at a time; to be used within :func:`ragged`.

    Attributes:
        cache: Keys and values of the rows' own tokens.
        prompts: Those of the prompts.
    """

    def __init__(self, model: PreTrainedModel, *, rows: int, prompts: int, prompt_length: int, length: int):
        """Prepare caches.

        Args:
            model: Causal, or like T5 or BART.
            rows: Slots for rows.
            prompts: Slots for prompts.
            prompt_length: Tokens of the longest prompt.
            length: Of the longest row's own tokens: the completion and one more.

        Raises:
            ModelError: An unknown kind of encoder–decoder.
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
            parts = parts_of(model)
            self._cross = parts.cross
            if parts.decoder_bias is not None:
                back = -torch.arange(length, device=model.device)
                self._table = position_bias(parts.decoder_bias, back).contiguous()

    def start(self, prompt: Sequence[int]) -> list[int]:
        """Return the first pending tokens of a new row."""
        # A causal prompt's last token is computed in each row: it yields the row's first logits.
        return [prompt[-1] if self._start is None else self._start]

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
        padded, unpadded = _group(owner, positions, len(prompts), int(lengths.max()))
        ids = np.concatenate([np.asarray(prompt, np.int64) for prompt in prompts])
        at = self._to_device(ids, np.asarray(slots), padded, unpadded, positions)
        if self._start is not None:
            self._encode(at[0][at[2]], torch.as_tensor(lengths, device=self.model.device), at[1])
        else:
            step = Prefill(self.prompts, at[1], at[2], at[3])
            self._forward(step, 0, input_ids=at[0][None], position_ids=at[4][None])

    def move(self, sources: Sequence[int], targets: Sequence[int], length: int) -> None:
        """Move the first ``length`` tokens of rows into other slots."""
        at = self._to_device(np.asarray(sources), np.asarray(targets))
        self.cache.copy(self.cache, at[0], at[1], length)

    def step(self, rows: Sequence[Pending]) -> Tensor:
        """Compute the pending tokens of ``rows``, row i in slot i; return logits (S, V) behind the last ones."""
        ids = [row.pending[-1] for row in rows]
        positions = [row.cached + len(row.pending) - 1 for row in rows]
        slots = list(range(len(rows)))
        for slot, row in enumerate(rows):
            if len(row.pending) > 1:
                ids += row.pending[:-1]
                positions += range(row.cached, positions[slot])
                slots += [slot] * (len(row.pending) - 1)
        slot_of, position_of = np.asarray(slots), np.asarray(positions)
        prompt_of = np.asarray([row.prompt for row in rows])
        users = np.bincount(prompt_of)
        lengths = self._prompt_lengths[: len(users)]
        past = 0 if self._cross else lengths[prompt_of[slot_of]]  # a causal row goes on where its prompt ends
        parts: list[Ints] = [np.asarray(ids), slot_of, position_of, position_of + past, lengths]
        parts += _group(prompt_of, _ranks(prompt_of, users), len(users), int(users.max()))
        chunk_slots, chunk_positions = slot_of[len(rows) :], position_of[len(rows) :]
        if chunk_slots.size:
            parts += _chunks(chunk_slots, chunk_positions, len(rows), prompt_of)
        token_ids, own, at, behind_prompt, prompt_lengths, padded, unpadded, *chunked = self._to_device(*parts)
        longest_prompt = int(lengths[users > 0].max(initial=1))
        looks = (
            Prompts(self.prompts, padded, unpadded, prompt_lengths, longest_prompt, behind_prompt),
            Rows(self.cache, _bands(position_of[: len(rows)] + 1), at, self._table),
        )
        chunks = None
        if chunked:
            longest_prompt = max(1, int(lengths[prompt_of[chunk_slots]].max()))
            chunks = self._chunk(chunked, prompt_lengths, longest_prompt, int(chunk_positions.max()) + 1)
        step = Decode(self.cache, own, at, *looks, chunks, frozenset(self._cross))
        if not self._cross:
            return self._forward(step, len(rows), input_ids=token_ids[None], position_ids=behind_prompt[None])
        return self._forward(
            step,
            len(rows),
            decoder_input_ids=token_ids[None],
            decoder_attention_mask=torch.ones_like(token_ids)[None],
            # The library wants an encoder output to be there; what is attended to comes from the prompts' slots.
            encoder_outputs=BaseModelOutput(torch.zeros(1, 1, 1, device=self.model.device, dtype=self.model.dtype)),
            past_key_values=_PromptKeys([self.prompts.layers[module] for module in self._cross], at),
        )

    def _chunk(
        self, chunked: Sequence[Tensor], prompt_lengths: Tensor, longest_prompt: int, longest: int
    ) -> tuple[Chunk, Chunk]:
        """Return how chunks attend to prompts alone, and elsewhere, given the arrays of :func:`_chunks`."""
        rows, prompts, padded, positions, unpadded = chunked
        lengths = prompt_lengths[prompts]
        past = 0 if self._cross else lengths[:, None]

        def at_prompts(window: int | None, dtype: torch.dtype) -> Tensor:
            return prompt_bias(lengths, longest_prompt, past + positions, window, dtype)

        def at_rows(window: int | None, dtype: torch.dtype) -> Tensor:
            return causal_bias(positions, longest, window, self._table, dtype)

        prompt = Seen(self.prompts, prompts, longest_prompt, at_prompts)
        row = Seen(self.cache, rows, longest, at_rows)
        return Chunk((prompt,), padded, unpadded), Chunk((row,) if self._cross else (prompt, row), padded, unpadded)

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
        encoder: Any = self.model.get_encoder()
        # Where encoder and decoder share a config, ours would be the encoder's attention too.
        with attending(encoder.config, "sdpa" if encoder._supports_sdpa else "eager"):
            encoded = encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        for module in self._cross:
            attention: Any = module
            t5 = self._table is not None
            key, value = (
                project(encoded).unflatten(-1, (attention.n_heads if t5 else attention.num_heads, -1)).transpose(1, 2)
                for project in ((attention.k, attention.v) if t5 else (attention.k_proj, attention.v_proj))
            )
            keys, values = self.prompts.of(module, key, value)
            keys[slots, :, : ids.shape[1]] = key
            values[slots, :, : ids.shape[1]] = value

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
    with attending_flat(model), evaluating(model):
        yield


class _PromptKeys(EncoderDecoderCache):  # type: ignore[misc] # untyped in the library
    """The prompts' keys and values, in the form in which a decoder takes what it need not compute; keeps nothing."""

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor]], positions: Tensor):
        self.self_attention_cache = _Nothing()
        self.cross_attention_cache = _Layers([_Layer(*pair) for pair in layers])
        self.is_updated = dict.fromkeys(range(len(layers)), True)
        self._before = positions - torch.arange(len(positions), device=positions.device)

    def get_seq_length(self, layer_idx: int = 0) -> Any:
        """Return (N,) what BART has to add to the place of each token in the flat list to get its position."""
        return self._before


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


def _group(owner: Ints, rank: Ints, groups: int, width: int) -> tuple[Ints, Ints]:
    """Return the flat index (groups, width) of each group's tokens, 0 behind its end, and where in it each stands."""
    unpadded = owner * width + rank
    padded = np.zeros(groups * width, np.int64)
    padded[unpadded] = np.arange(len(owner))
    return padded.reshape(groups, width), unpadded


def _ranks(owner: Ints, counts: Ints) -> Ints:
    """Return where each token stands among those of its owner, given the counts of all owners."""
    order = np.argsort(owner, kind="stable")
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return ranks


def _bands(lengths: Ints) -> tuple[Band, ...]:
    """Cut rows into bands of neighbours of similar length."""
    bands: list[Band] = []
    for first in range(0, len(lengths), BAND):
        stop = min(first + BAND, len(lengths))
        longest = int(lengths[first:stop].max())
        if bands and abs(bands[-1].longest - longest) < _BAND_TOKENS:
            first, longest = bands[-1].first, max(bands[-1].longest, longest)
            bands.pop()
        bands.append(Band(first, stop, longest))
    return tuple(bands)


def _chunks(slots: Ints, positions: Ints, first: int, prompt_of: Ints) -> list[Ints]:
    """Group the tokens behind flat index ``first`` by their rows.

    Returns:
        (R,) which rows have any, and (R,) their prompts' slots; (R, C) flat index of their tokens, and (R, C) positions
        in their slots, 0 behind the end; (E,) where in the flattened (R, C) each of the E tokens stands.
    """
    rows, owner, counts = np.unique(slots, return_inverse=True, return_counts=True)
    rank = np.arange(len(slots)) - np.repeat(np.cumsum(counts) - counts, counts)
    padded, unpadded = _group(owner, rank, len(rows), int(counts.max()))
    padded_positions = np.zeros(padded.shape, np.int64)
    padded_positions.ravel()[unpadded] = positions
    return [rows, prompt_of[rows], padded + first, padded_positions, unpadded]
