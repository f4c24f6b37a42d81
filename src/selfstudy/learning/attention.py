"""Attention while learning: differentiable, row by row, for tokens that come as one flat list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfstudy.models.attention import HIDDEN, Call


@dataclass(frozen=True, slots=True)
class Rows:
    """Where the tokens of a flat list stand in rows; a token may stand in several, as a prompt's do.

    Attributes:
        places: (R, L) The flat index of each row's tokens; anything behind its end.
        home: (N,) Where in the flattened (R, L) each token takes its result from.
        lengths: (R,) Tokens of each row.
    """

    places: Tensor
    home: Tensor
    lengths: Tensor

    def lay_out(self, tokens: Tensor) -> Tensor:
        """Return (1, H, N, D) as (R, H, L, D)."""
        rows = tokens[0].transpose(0, 1).index_select(0, self.places.flatten())
        return rows.view(*self.places.shape, *rows.shape[1:]).transpose(1, 2)

    def flatten(self, rows: Tensor) -> Tensor:
        """Return (R, H, L, D) as (1, N, H, D)."""
        return rows.transpose(1, 2).flatten(0, 1).index_select(0, self.home)[None]


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
        query, key, value = (self.rows.lay_out(part) for part in (call.query, call.key, call.value))
        plain = self.bias is None and call.window is None and call.softcap is None
        mask = None if plain else self._mask(call.window)
        return self.rows.flatten(_attend(call, query, key, value, mask, causal=plain))

    def _mask(self, window: int | None) -> Tensor:
        found = self.bias if self.bias is not None else self.masks.get(window)
        if found is None:
            at = torch.arange(self.rows.places.shape[1], device=self.rows.places.device)
            distance = at[:, None] - at
            hidden = distance < 0
            if window is not None:
                hidden |= distance >= window
            found = self.masks[window] = torch.zeros(hidden.shape, device=at.device).masked_fill(hidden, HIDDEN)
        return found


@dataclass(frozen=True, slots=True)
class Full:
    """Each token sees its whole row: what an encoder does.

    Attributes:
        rows: The prompts.
        mask: (G, 1 or H, 1 or L, L) HIDDEN behind the end of each row; T5's bias, differentiable, where it is seen.
    """

    rows: Rows
    mask: Tensor

    def attend(self, call: Call) -> Tensor:
        """Attend within rows."""
        query, key, value = (self.rows.lay_out(part) for part in (call.query, call.key, call.value))
        return self.rows.flatten(_attend(call, query, key, value, self.mask))


@dataclass(frozen=True, slots=True)
class Cross:
    """Tokens of completions see their prompt: a decoder's attention to the encoder.

    Attributes:
        users: (G, M) The tokens that look at each prompt, as rows.
        prompts: (G, P) The encoder's output, as rows.
        mask: (G, 1, 1, P) HIDDEN behind the end of each prompt.
    """

    users: Rows
    prompts: Rows
    mask: Tensor

    def attend(self, call: Call) -> Tensor:
        """Attend to the prompts; their keys and values are computed once, whatever number of completions they have."""
        key, value = (self.prompts.lay_out(part) for part in (call.key, call.value))
        return self.users.flatten(_attend(call, self.users.lay_out(call.query), key, value, self.mask))


def ends(rows: Rows) -> Tensor:
    """Return (R, 1, 1, L): HIDDEN behind the end of each row, else 0."""
    behind = torch.arange(rows.places.shape[1], device=rows.places.device) >= rows.lengths[:, None]
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
