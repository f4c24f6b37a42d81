"""Attention while sampling: keys and values go into preallocated slots, and the tokens of a step attend to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfstudy.models.attention import HIDDEN, Call


class Partial(NamedTuple):
    """Attention to a part of the keys: enough to join it with attention to the others.

    Attributes:
        out: (…, H, D) Values, weighted as if there were no other keys.
        logsum: (…, H) Logarithm of the sum of the exponentials of the scores, float32.
    """

    out: Tensor
    logsum: Tensor

    def unpadded(self, where: Tensor) -> Partial:
        """Return entries ``where`` (N,) of the first two dimensions laid behind each other."""
        return Partial(self.out.flatten(0, 1).index_select(0, where), self.logsum.flatten(0, 1).index_select(0, where))

    def joined(self, other: Partial) -> Tensor:
        """Return attention to both parts' keys, which share none."""
        share = torch.sigmoid(other.logsum - self.logsum)[..., None]
        return torch.lerp(self.out, other.out, share.to(self.out.dtype))


def over(call: Call, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Partial:
    """Attend with query (B, Q, H, D) to key and value (B, Hkv, T, D), bias (B, 1 or H, 1 or Q, T).

    Query heads that share keys stand behind each other in one product, so that keys are not copied for them.
    """
    b, q, h, d = query.shape
    group = h // key.shape[1]
    grouped = query.transpose(1, 2)  # (B, H, Q, D)
    if group > 1:
        grouped = grouped.reshape(b, key.shape[1], group * q, d)
        bias = bias.repeat(1, 1, group, 1) if bias.shape[2] > 1 else bias
    if key.device.type == "cpu" and key.dtype is not torch.float32:
        key = key.contiguous()  # a product of these types needs it, and copies what is transposed far more slowly
    scores = (grouped @ key.transpose(2, 3)).float()
    if call.softcap is None:
        scores = torch.add(bias, scores, alpha=call.scaling)
    else:
        scores = torch.tanh(scores * (call.scaling / call.softcap)) * call.softcap + bias
    weights = scores.softmax(-1)
    out = weights.to(value.dtype) @ value
    logsum = scores.amax(-1) - weights.amax(-1).log()  # the largest weight is exp(largest score) / sum
    return Partial(out.reshape(b, h, q, -1).transpose(1, 2), logsum.reshape(b, h, q).transpose(1, 2))


def _laid_out(tokens: Tensor, padded: Tensor) -> Tensor:
    """Return entries ``padded`` (P, M) of (N, …) as (P, M, …): much faster than by indexing with a matrix."""
    return tokens.index_select(0, padded.flatten()).view(*padded.shape, *tokens.shape[1:])


@dataclass(frozen=True)
class Cache:
    """Keys and values of each attention module, (slots, Hkv, length, D), made when the module first asks.

    Attributes:
        slots: Rows, or prompts.
        length: Tokens that a slot can hold.
        layers: Keys and values by module.
    """

    slots: int
    length: int
    layers: dict[nn.Module, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def of(self, module: nn.Module, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return a module's keys and values, with heads and width of ``key`` and ``value`` (·, Hkv, ·, D)."""
        if module not in self.layers:
            # Zeros, since what is masked still takes part as 0 · value.
            self.layers[module] = (
                key.new_zeros(self.slots, key.shape[1], self.length, key.shape[3]),
                value.new_zeros(self.slots, value.shape[1], self.length, value.shape[3]),
            )
        return self.layers[module]

    def some(self, call: Call, slots: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Return copies of the first ``length`` keys and values of ``slots`` (R,), (R, Hkv, length, D)."""
        keys, values = self.of(call.module, call.key, call.value)
        return keys[:, :, :length].index_select(0, slots), values[:, :, :length].index_select(0, slots)

    def copy(self, source: Cache, sources: Tensor, targets: Tensor, length: int) -> None:
        """Copy the first ``length`` tokens of slots ``sources`` of ``source`` into slots ``targets``."""
        for module, (keys, values) in source.layers.items():
            own_keys, own_values = self.of(module, keys, values)
            own_keys[targets, :, :length] = keys[sources, :, :length]
            own_values[targets, :, :length] = values[sources, :, :length]

    def token_bytes(self) -> int:
        """Return the bytes that one token takes, over all layers."""
        return sum(t.shape[1] * t.shape[3] * t.element_size() for pair in self.layers.values() for t in pair)


def causal_bias(positions: Tensor, length: int, window: int | None, table: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Return what is added to scores: HIDDEN where a token must not look, else 0 or T5's bias for the distance.

    Args:
        positions: (B, Q) of the queries in their rows.
        length: T, keys from position 0 on.
        window: As in :class:`Call`.
        table: (H, ≥ T) bias for each distance; None for 0.
        dtype: Of the scores.

    Returns:
        (B, 1 or H, Q, T).
    """
    distance = positions[:, :, None] - torch.arange(length, device=positions.device)
    hidden = distance < 0
    if window is not None:
        hidden |= distance >= window
    if table is None:
        bias = torch.zeros(distance.shape, dtype=dtype, device=positions.device)[:, None]
    else:
        bias = table.to(dtype)[:, distance.clamp(min=0)].transpose(0, 1)
    return bias.masked_fill(hidden[:, None], HIDDEN)


def prompt_bias(lengths: Tensor, length: int, positions: Tensor, window: int | None, dtype: torch.dtype) -> Tensor:
    """Return what is added to scores of prompts' tokens: HIDDEN where there is none, or where it lies too far back.

    Args:
        lengths: (B,) of the prompts.
        length: T, tokens of the longest.
        positions: (B, Q) of the queries, counted from the beginning of their prompts.
        window: As in :class:`Call`.
        dtype: Of the scores.

    Returns:
        (B, 1, 1, T), or (B, 1, Q, T) where there is a window.
    """
    at = torch.arange(length, device=lengths.device)
    hidden = (at >= lengths[:, None])[:, None]
    if window is not None:
        hidden = hidden | (positions[:, :, None] - at >= window)
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, HIDDEN)[:, None]


@dataclass(frozen=True)
class Prefill:
    """Prompts of causal models, flat behind each other; each sees itself, and its keys and values are stored.

    Attributes:
        cache: Takes a prompt's keys and values in its slot.
        slots: (P,) where the prompts go.
        padded: (P, L) flat index of each prompt's tokens; anything behind its end.
        unpadded: (N,) where in the flattened (P, L) each token stands.
    """

    cache: Cache
    slots: Tensor
    padded: Tensor
    unpadded: Tensor
    biases: dict[int | None, Tensor] = field(default_factory=dict)

    def attend(self, call: Call) -> Tensor:
        """Attend within each prompt. Padding is on the right, where causal attention never looks."""
        length = self.padded.shape[1]
        bias = self.biases.get(call.window)
        if bias is None:
            positions = torch.arange(length, device=self.slots.device)[None]
            bias = self.biases[call.window] = causal_bias(positions, length, call.window, None, call.query.dtype)
        key, value = (  # (P, Hkv, L, D)
            _laid_out(flat[0].transpose(0, 1), self.padded).transpose(1, 2) for flat in (call.key, call.value)
        )
        keys, values = self.cache.of(call.module, call.key, call.value)
        keys[self.slots, :, :length] = key
        values[self.slots, :, :length] = value
        query = _laid_out(call.query[0].transpose(0, 1), self.padded)
        if call.softcap is not None:
            return over(call, query, key, value, bias).unpadded(self.unpadded).out[None]
        # The scores of a long prompt are too many to be held at once.
        out = F.scaled_dot_product_attention(
            query.transpose(1, 2), key, value, attn_mask=bias, scale=call.scaling, enable_gqa=True
        )
        return out.transpose(1, 2).flatten(0, 1).index_select(0, self.unpadded)[None]


@dataclass(frozen=True)
class Prompts:
    """How the rows' last tokens look at prompts: grouped, so that a prompt's keys are read once for all its rows.

    Attributes:
        cache: Keys and values of the prompts.
        padded: (P, M) the rows that look at each prompt; anything behind the end.
        unpadded: (S,) where in the flattened (P, M) each row stands.
        lengths: (P,) tokens of each prompt.
        longest: T, of the prompts that anyone looks at; at least 1.
        positions: (S,) or longer, of the rows' last tokens, counted from the beginning of their prompts.
        biases: Kept for the layers to come.
    """

    cache: Cache
    padded: Tensor
    unpadded: Tensor
    lengths: Tensor
    longest: int
    positions: Tensor
    biases: dict[int | None, Tensor] = field(default_factory=dict)

    def attend(self, call: Call, query: Tensor) -> Partial:
        """Attend with the rows' query (S, H, D) to their prompts."""
        keys, values = self.cache.of(call.module, call.key, call.value)
        used, near = len(self.padded), slice(self.longest)
        bias = self.biases.get(call.window)
        if bias is None:
            how = (self.positions[self.padded], call.window, query.dtype)
            bias = self.biases[call.window] = prompt_bias(self.lengths, self.longest, *how)
        queries = _laid_out(query, self.padded)
        return over(call, queries, keys[:used, :, near], values[:used, :, near], bias).unpadded(self.unpadded)


class Band(NamedTuple):
    """Slots ``first`` to ``stop``, whose longest row has ``longest`` tokens."""

    first: int
    stop: int
    longest: int


@dataclass(frozen=True)
class Rows:
    """How the rows' last tokens look at their rows' own tokens, in bands.

    Attributes:
        cache: Keys and values of the rows' own tokens, those behind the prompt's.
        bands: S slots in order; row i is in slot i.
        positions: (S,) or longer, of the last tokens in their slots.
        table: (H, ≥ T) T5's bias for each distance.
        biases: Kept for the layers to come.
    """

    cache: Cache
    bands: tuple[Band, ...]
    positions: Tensor
    table: Tensor | None
    biases: dict[int | None, Tensor] = field(default_factory=dict)

    def attend(self, call: Call, query: Tensor) -> Partial:
        """Attend with the last tokens' query (S, H, D)."""
        keys, values = self.cache.of(call.module, call.key, call.value)
        bias = self.biases.get(call.window)
        if bias is None:
            longest = max(band.longest for band in self.bands)
            how = (longest, call.window, self.table, query.dtype)
            bias = self.biases[call.window] = causal_bias(self.positions[: len(query), None], *how)
        parts = []
        for first, stop, longest in self.bands:
            near = (slice(first, stop), slice(None), slice(longest))
            part = over(call, query[first:stop, None], keys[near], values[near], bias[first:stop, :, :, :longest])
            parts.append(Partial(part.out[:, 0], part.logsum[:, 0]))
        if len(parts) == 1:
            return parts[0]
        outs, logsums = zip(*parts, strict=True)
        return Partial(torch.cat(outs), torch.cat(logsums))


class Seen(NamedTuple):
    """What the tokens of chunks look at: their prompts, or their rows.

    Attributes:
        cache: Keys and values.
        slots: (R,) where in it each row with a chunk looks.
        longest: Tokens to look at, of the row that has most; at least 1.
        bias: Makes what is added to scores, (R, 1 or H, 1 or C, longest), for a window and a type.
    """

    cache: Cache
    slots: Tensor
    longest: int
    bias: Callable[[int | None, torch.dtype], Tensor]


@dataclass(frozen=True)
class Chunk:
    """How the tokens of chunks, but for the last of each row, attend.

    Few rows have a chunk in any one step: copying what they look at, one behind the other, costs less than wide queries
    for every row and every prompt, and than joining two attentions.

    Attributes:
        seen: What they look at.
        padded: (R, C) flat index of the rows' tokens; anything behind the end.
        unpadded: (E,) where in the flattened (R, C) each of the E tokens stands.
        biases: Kept for the layers to come.
    """

    seen: tuple[Seen, ...]
    padded: Tensor
    unpadded: Tensor
    biases: dict[int | None, Tensor] = field(default_factory=dict)

    def attend(self, call: Call, query: Tensor) -> Tensor:
        """Attend with the query (N, H, D) of all tokens."""
        bias = self.biases.get(call.window)
        if bias is None:
            parts = [seen.bias(call.window, query.dtype) for seen in self.seen]
            bias = parts[0]
            if len(parts) > 1:
                bias = torch.cat([part.expand(-1, -1, self.padded.shape[1], -1) for part in parts], 3)
            self.biases[call.window] = bias
        copies = [seen.cache.some(call, seen.slots, seen.longest) for seen in self.seen]
        keys, values = (part[0] if len(part) == 1 else torch.cat(part, 2) for part in zip(*copies, strict=True))
        return over(call, _laid_out(query, self.padded), keys, values, bias).unpadded(self.unpadded).out


@dataclass(frozen=True)
class Decode:
    """One token of every row, and the chunks of those that have one.

    Attributes:
        cache: Of the rows' own tokens, those behind the prompt's.
        slots: (N,) each token's row; the first S tokens of the flat list are the rows' last ones.
        positions: (N,) its position there.
        prompts: How these S look at prompts.
        rows: How they look at their rows.
        chunks: How the tokens of chunks attend, which come behind them: in modules that look at prompts alone, and in
            the others; None where no row has one.
        cross_modules: Modules that look at prompts alone; where there are none, all look at prompt and row.
    """

    cache: Cache
    slots: Tensor
    positions: Tensor
    prompts: Prompts
    rows: Rows
    chunks: tuple[Chunk, Chunk] | None
    cross_modules: frozenset[nn.Module]

    def attend(self, call: Call) -> Tensor:
        """Attend to the row's own tokens, to its prompt, or to both."""
        query = call.query[0].transpose(0, 1)  # (N, H, D)
        if call.module not in self.cross_modules:
            keys, values = self.cache.of(call.module, call.key, call.value)
            keys[self.slots, :, self.positions] = call.key[0].transpose(0, 1)
            values[self.slots, :, self.positions] = call.value[0].transpose(0, 1)
        last = query[: len(self.prompts.unpadded)]
        if call.module in self.cross_modules:
            out = self.prompts.attend(call, last).out
        elif self.cross_modules:
            out = self.rows.attend(call, last).out
        else:
            out = self.rows.attend(call, last).joined(self.prompts.attend(call, last))
        if self.chunks is not None:
            crossing, others = self.chunks
            chunk = crossing if call.module in self.cross_modules else others
            out = torch.cat((out, chunk.attend(call, query)))
        return out[None]
