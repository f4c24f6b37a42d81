"""What a training says that it cost, against the matrix products that are counted while it trains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from selfstudy.learning.objectives import Imitation, group_examples
from selfstudy.learning.optim import OptimSettings
from selfstudy.learning.trainer import train
from selfstudy.models.compute import Compute
from selfstudy.types import Completion, Context, Example
from tests.fakes import tiny_llama, tiny_t5

# Wide enough for matrices to count more than attention.
MODELS = {
    "llama": lambda: tiny_llama(
        300, hidden_size=128, intermediate_size=256, num_attention_heads=8, num_key_value_heads=2
    ),
    "t5": lambda: tiny_t5(300, d_model=128, d_kv=16, d_ff=256, num_heads=8, num_layers=3, num_decoder_layers=2),
}


def _forward(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], dropout: float = 0.0, causal: bool = False, **_: Any
) -> int:
    """Count the operations of attention; of those of a causal one half are needed."""
    return int(sdpa_flop_count(query, key, value)) // (2 if causal else 1)


def _backward(gradient: Any, query: Any, key: Any, value: Any, out: Any, logsumexp: Any, *more: Any, **_: Any) -> int:
    return 2 * _forward(query, key, value, *more)


# The library counts CUDA's kernels alone.
ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _forward,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _backward,
}


@pytest.mark.parametrize("completions", [1, 3])
@pytest.mark.parametrize("name", list(MODELS))
def test_the_estimate_is_what_is_counted_to_5_per_cent(
    name: str, completions: int, tmp_path: Path, ctx: Context, compute: Compute
) -> None:
    """Prompts of several completions are computed, and so counted, once."""
    examples = [
        Example(f"p{n}", Completion("", tuple(range(10 + k, 50 + n + k))), "gold")
        for n in range(8)
        for k in range(completions)
    ]
    groups, items = group_examples(examples, {f"p{n}": range(2, 32 + n) for n in range(8)})
    settings = OptimSettings(batch_size=len(items), max_steps=2, order="grouped")
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counted:
        facts = train(
            MODELS[name](),
            Imitation(groups, items),
            settings,
            compute=compute,
            seed=0,
            workdir=tmp_path,
            ctx=ctx,
        )
    assert facts.flops == pytest.approx(counted.get_total_flops(), rel=0.05)
