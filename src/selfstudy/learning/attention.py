"""Attention while learning: differentiable, row by row, for tokens that come as one flat list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfstudy.models.attention import HIDDEN, Call


@dataclass(frozen=True, slots=True)
class Rows:
    """Where the tokens of a flat list stand in rows; a token may stand in several, as a prompt's do.

    Rows lie in bands of similar length, the longest first, so that little of them is padding.

    Attributes:
        places: (R, L) of each band: the flat index of its rows' tokens; anything behind their ends.
        lengths: (R,) of each band: tokens of its rows.
        home: (N,) Where each token takes its result from, in the flattened bands behind each other.
    """

    places: tuple[Tensor, ...]
    lengths: tuple[Tensor, ...]
    home: Tensor

    def lay_out(self, tokens: Tensor) -> list[Tensor]:
        """Return (1, H, N, D) as (R, H, L, D) for each band."""
        flat = tokens[0].transpose(0, 1)
        rows = (flat.index_select(0, places.flatten()).view(*places.shape, *flat.shape[1:]) for places in self.places)
        return [band.transpose(1, 2) for band in rows]

    def flatten(self, bands: Sequence[Tensor]) -> Tensor:
        """Return the bands' (R, H, L, D) as (1, N, H, D)."""
        flat = [rows.transpose(1, 2).flatten(0, 1) for rows in bands]
        return (flat[0] if len(flat) == 1 else torch.cat(flat)).index_select(0, self.home)[None]


@dataclass(frozen=True, slots=True)
class Causal:
    """Each token sees itself and what is before it in its row: what a decoder's own attention does.

    Attributes:
        rows: Padded on the right, where no token looks.
        bias: (1, H, L, L) T5's, differentiable, HIDDEN where nothing is seen; None for other architectures.
        cross: What modules that look at the encoder do.
        masks: Kept for the layers to come, by window.
    """

    rows: Rows
    bias: Tensor | None = None
    cross: Mapping[nn.Module, Cross] = field(default_factory=dict)
    masks: dict[int | None, Tensor] = field(default_factory=dict)

    def attend(self, call: Call) -> Tensor:
        """Attend within rows, or to the prompts."""
        cross = self.cross.get(call.module)
        if cross is not None:
            return cross.attend(call)
        plain = self.bias is None and call.window is None and call.softcap is None
        mask = None if plain else self._mask(call.window)
        bands = zip(*(self.rows.lay_out(part) for part in (call.query, call.key, call.value)), strict=True)
        return self.rows.flatten([_attend(call, q, k, v, _corner(mask, q), causal=plain) for q, k, v in bands])

    def _mask(self, window: int | None) -> Tensor:
        found = self.bias if self.bias is not None else self.masks.get(window)
        if found is None:
            at = torch.arange(self.rows.places[0].shape[1], device=self.rows.home.device)
            distance = at[:, None] - at
            hidden = distance < 0
            if window is not None:
                hidden |= distance >= window
            found = self.masks[window] = torch.zeros(hidden.shape, device=at.device).masked_fill(hidden, HIDDEN)
        return found


def _corner(mask: Tensor | None, rows: Tensor) -> Tensor | None:
    """Return what of a mask (…, L, L) counts for rows (R, H, ≤ L, D)."""
    return None if mask is None else mask[..., : rows.shape[2], : rows.shape[2]]


@dataclass(frozen=True, slots=True)
class Full:
    """Each token sees its whole row: what an encoder does.

    Attributes:
        rows: The prompts.
        bias: (1, H, L, L) T5's, differentiable; None for other architectures.
        ends: Kept for the layers to come, of each band.
    """

    rows: Rows
    bias: Tensor | None = None
    ends: list[Tensor] = field(default_factory=list)

    def attend(self, call: Call) -> Tensor:
        """Attend within rows."""
        if not self.ends:
            self.ends.extend(map(ends, self.rows.places, self.rows.lengths))
        parts = (self.rows.lay_out(part) for part in (call.query, call.key, call.value))
        found = []
        for behind, query, key, value in zip(self.ends, *parts, strict=True):
            bias = _corner(self.bias, query)
            found.append(_attend(call, query, key, value, behind if bias is None else behind + bias))
        return self.rows.flatten(found)


@dataclass(frozen=True, slots=True)
class Cross:
    """Tokens of completions see their prompt: a decoder's attention to the encoder.

    Attributes:
        readers: The tokens that look at each prompt.
        prompts: The encoder's output, in the same bands.
        masks: (R, 1, 1, L) of each band: HIDDEN behind the end of each prompt.
    """

    readers: Rows
    prompts: Rows
    masks: Sequence[Tensor]

    def attend(self, call: Call) -> Tensor:
        """Attend to the prompts; their keys and values are computed once, whatever number of completions they have."""
        queries = self.readers.lay_out(call.query)
        keys, values = (self.prompts.lay_out(part) for part in (call.key, call.value))
        bands = zip(queries, keys, values, self.masks, strict=True)
        return self.readers.flatten([_attend(call, query, key, value, mask) for query, key, value, mask in bands])


def ends(places: Tensor, lengths: Tensor) -> Tensor:
    """Return (R, 1, 1, L): HIDDEN behind the end of each row, else 0."""
    behind = torch.arange(places.shape[1], device=places.device) >= lengths[:, None]
    return torch.zeros(behind.shape, device=behind.device).masked_fill(behind, HIDDEN)[:, None, None]


def _attend(
    call: Call, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, causal: bool = False
) -> Tensor:
    """Attend with query (R, H, Q, D) to key and value (R, Hkv, T, D)."""
    group = query.shape[1] // key.shape[1]
    if group > 1:
        key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    if call.softcap is None:
        return F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if mask is None else mask.to(query.dtype),
            dropout_p=call.dropout,
            is_causal=causal,
            scale=call.scaling,
        )
    scores = torch.tanh((query @ key.transpose(2, 3)) * (call.scaling / call.softcap)) * call.softcap
    weights = (scores.float() if mask is None else scores.float() + mask).softmax(-1).to(query.dtype)
    return F.dropout(weights, call.dropout) @ value
