"""The order of learning: a training batch is a pure function of (seed, step)."""

from __future__ import annotations

from functools import lru_cache

import torch

from selfstudy.storage.seeding import derive


def batch_indices(n: int, batch_size: int, seed: int, step: int) -> list[int]:
    """Return the items of one step: the next ``batch_size`` of an endless row of shuffled epochs.

    Every epoch is its own permutation. A batch that reaches the end of an epoch goes on with the next one, so that all
    steps are of equal size and nothing is left out; with fewer items than ``batch_size`` an item stands in a batch more
    than once.

    Args:
        n: Number of items.
        batch_size: Items per step.
        seed: Of the training.
        step: From 0.
    """
    first = step * batch_size
    return [permutation(n, seed, place // n)[place % n] for place in range(first, first + batch_size)]


@lru_cache(maxsize=4)
def permutation(n: int, seed: int, epoch: int) -> list[int]:
    """Return the order of one epoch."""
    generator = torch.Generator().manual_seed(derive(seed, "order", epoch))
    order: list[int] = torch.randperm(n, generator=generator).tolist()
    return order
