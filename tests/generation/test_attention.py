"""Parts of attention against the whole, and bands against what they stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from selfstudy.generation.attention import over
from selfstudy.generation.decoder import _bands
from selfstudy.models.attention import HIDDEN, Call


def make_call(dtype: torch.dtype, softcap: float | None = None) -> Call:
    nothing = torch.empty(0)
    return Call(nn.Identity(), nothing, nothing, nothing, 0.3, None, softcap)


def draw(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize(("heads", "queries"), [(4, 1), (2, 1), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_two_parts_joined_are_the_whole(dtype, heads, queries, softcap):
    query = draw(dtype, 5, queries, 4, 8)
    key, value = draw(dtype, 5, heads, 13, 8), draw(dtype, 5, heads, 13, 8) + 1
    bias = torch.zeros(5, 1, queries, 13, dtype=dtype)
    bias[1, :, :, :6] = HIDDEN  # nothing to see in the first part
    bias[2, :, 0, 8:] = HIDDEN  # nothing but one part of the second
    bias[3, :, :, 6:] = HIDDEN
    call = make_call(dtype, softcap)
    first = over(call, query, key[:, :, :6], value[:, :, :6], bias[..., :6])
    second = over(call, query, key[:, :, 6:], value[:, :, 6:], bias[..., 6:])
    scores = query.transpose(1, 2).float() @ key.repeat_interleave(4 // heads, 1).float().transpose(2, 3) * 0.3
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    whole = (scores + bias.float()).softmax(-1) @ value.repeat_interleave(4 // heads, 1).float()
    tolerance = 1e-5 if dtype == torch.float32 else 0.03
    torch.testing.assert_close(first.joined(second).float(), whole.transpose(1, 2), rtol=0, atol=tolerance)
    torch.testing.assert_close(second.joined(first).float(), whole.transpose(1, 2), rtol=0, atol=tolerance)


def test_both_ways_to_attend_agree():
    """Bounded scores take steps of their own; a bound that binds nothing changes nothing."""
    query, key, value = (
        draw(torch.float32, 3, 2, 4, 8),
        draw(torch.float32, 3, 2, 9, 8),
        draw(torch.float32, 3, 2, 9, 8),
    )
    bias = draw(torch.float32, 3, 4, 2, 9)[:, :1]
    here = over(make_call(torch.float32), query, key, value, bias)
    there = over(make_call(torch.float32, softcap=1e4), query, key, value, bias)
    torch.testing.assert_close(here.out, there.out)
    torch.testing.assert_close(here.logsum, there.logsum)
    plain = F.scaled_dot_product_attention(
        query.transpose(1, 2), key.repeat_interleave(2, 1), value.repeat_interleave(2, 1), attn_mask=bias, scale=0.3
    )
    torch.testing.assert_close(here.out, plain.transpose(1, 2))


@given(st.lists(st.integers(1, 400), min_size=1, max_size=200))
def test_bands_hold_every_row_once_and_none_is_too_short(lengths):
    bands = _bands(np.array(lengths))
    assert [row for band in bands for row in range(band.first, band.stop)] == list(range(len(lengths)))
    for band in bands:
        assert band.longest == max(lengths[band.first : band.stop])


def test_rows_in_order_of_length_attend_about_as_far_as_they_are_long():
    lengths = np.sort(np.random.default_rng(0).integers(1, 300, 256))[::-1]
    attended = sum((band.stop - band.first) * band.longest for band in _bands(lengths))
    assert attended < 1.25 * lengths.sum() < 300 * 256 * 0.7
