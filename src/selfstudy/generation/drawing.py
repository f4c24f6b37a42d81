"""Drawing tokens: counter-based uniforms, and the inverse of the distribution function.

A draw depends on its key and position alone, so it does not matter which rows share a batch. Nothing is applied to the
distribution that the settings do not say.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

# One block's cumulative sum is taken per draw, instead of the whole vocabulary's.
_BLOCK = 256
# Sums of weights are exact in integers, and so the same in whatever order a device adds them up: the largest weight
# counts 2⁴⁴, so that those of 2¹⁸ tokens fit into 64 bits.
_ONE = 2.0**44
_COLD = 1e-6  # below it, all of the probability is one token's, and logits may overflow


def uniforms(keys: Sequence[int], positions: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return a number in (0, 1) for each key and position: splitmix64 (Steele et al., 2014) at counter ``position``.

    Args:
        keys: 63-bit keys of the rows (:func:`selfstudy.storage.seeding.derive`).
        positions: Of the tokens to draw in their completions.
    """
    with np.errstate(over="ignore"):
        z = np.asarray(keys, np.uint64) + (np.asarray(positions, np.uint64) + np.uint64(1)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    # 52 bits and a half: neither 0 nor, by rounding, 1.
    numbers: npt.NDArray[np.float64] = ((z >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return numbers


def draw(
    logits: Tensor, uniform: Tensor | None, temperature: float, top_k: int | None = None, top_p: float | None = None
) -> tuple[Tensor, Tensor]:
    """Draw one token for each row.

    Args:
        logits: (S, V).
        uniform: (S,) float64 in (0, 1); not used, and may be None, where ``temperature`` is 0.
        temperature: 0, or next to it, takes the most likely token.
        top_k: Keep that many of the most likely tokens.
        top_p: Of those, keep the smallest set of the most likely whose tempered probability reaches this.

    Returns:
        Tokens (S,), and their untempered, unfiltered log-probabilities (S,) in float32.
    """
    logits = logits.float()
    if temperature < _COLD:
        tokens = logits.argmax(-1)
    else:
        assert uniform is not None
        tokens = _invert(_filtered(logits / temperature, top_k, top_p), uniform)
    return tokens, logits.gather(-1, tokens[:, None])[:, 0] - logits.logsumexp(-1)


def _filtered(logits: Tensor, top_k: int | None, top_p: float | None) -> Tensor:
    """Set the logits of tokens that cannot be drawn to −∞."""
    if top_p is not None and top_p < 1:
        values, tokens = logits.sort(stable=True, dim=-1, descending=True)
        if top_k is not None:
            values, tokens = values[:, :top_k], tokens[:, :top_k]
        parts = (values.double().softmax(-1) * _ONE).round().long()
        # A set that falls short by less than rounding has reached it.
        wanted = max((top_p - 2.0**-24) * _ONE, 1)  # the most likely token is always there
        values = values.masked_fill(parts.cumsum(-1) - parts >= wanted, -torch.inf)
    elif top_k is not None and top_k < logits.shape[-1]:
        values, tokens = logits.topk(top_k, -1)
    else:
        return logits
    # Back in the vocabulary's order, so that near ties cannot change which token a uniform stands for.
    return torch.full_like(logits, -torch.inf).scatter(-1, tokens, values)


def _invert(logits: Tensor, uniform: Tensor) -> Tensor:
    """Return (S,) the first token at which the distribution function exceeds ``uniform``."""
    weights = (logits - logits.amax(-1, keepdim=True)).exp()
    padded = F.pad(weights, (0, -weights.shape[-1] % _BLOCK)).view(len(weights), -1, _BLOCK)
    sums = (padded.sum(-1).double() * _ONE).ceil().long()
    through = sums.cumsum(-1)
    target = _below(uniform[:, None] * through[:, -1:].double(), through[:, -1:])
    block = (through <= target).sum(-1, keepdim=True)
    rest, size = target - (through - sums).gather(-1, block), sums.gather(-1, block)
    # The block's weights one by one, of which the float sum above need not be exactly the sum.
    chosen = (padded.gather(1, block[:, :, None].expand(-1, 1, _BLOCK))[:, 0].double() * _ONE).ceil().long().cumsum(-1)
    total = chosen[:, -1:]
    inside = (chosen <= _below((rest.double() + 0.5) / size * total, total)).sum(-1)
    return block[:, 0] * _BLOCK + inside


def _below(value: Tensor, total: Tensor) -> Tensor:
    """Return a whole number in [0, total)."""
    return torch.minimum(value.long(), total - 1)
