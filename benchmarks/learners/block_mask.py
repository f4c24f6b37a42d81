"""The other layout: attention among all tokens of a group at once, under a mask that says who sees whom."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from selfstudy.learning.attention import Causal
from selfstudy.models.attention import Call


@dataclass(frozen=True, slots=True)
class BlockMask(Causal):
    """What :class:`Causal` computes, without rows: each token attends once, a prompt's too.

    Attributes:
        masks_of: Of the groups, which begin and end there; kept for the layers to come.
    """

    masks_of: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    def attend(self, call: Call) -> Tensor:
        """Attend group by group; there is no padding."""
        if not self.masks_of:
            self.masks_of.update(self._masks(call.query.shape[2]))
        times = call.query.shape[1] // call.key.shape[1]
        key, value = (part.repeat_interleave(times, 1) for part in (call.key, call.value))
        found = [
            F.scaled_dot_product_attention(
                *(part[:, :, start:stop] for part in (call.query, key, value)), attn_mask=mask, scale=call.scaling
            )
            for (start, stop), mask in self.masks_of.items()
        ]
        return torch.cat(found, 2).transpose(1, 2)

    def _masks(self, tokens: int) -> dict[tuple[int, int], Tensor]:
        """Return (T, T) of each group: a token sees itself and those before it in a row that has both."""
        visible = torch.zeros(tokens, tokens, dtype=torch.bool)
        for band, lengths in zip(self.rows.places, self.rows.lengths, strict=True):
            for places, length in zip(band, lengths.tolist(), strict=True):
                row = places[:length]
                visible[row[:, None], row] |= torch.ones(length, length, dtype=torch.bool).tril()
        starts = torch.cat([band[:, 0] for band in self.rows.places]).unique().tolist()
        spans = zip(starts, [*starts[1:], tokens], strict=True)
        return {(start, stop): visible[start:stop, start:stop] for start, stop in spans}
