"""The order of learning: a training batch is a pure function of (seed, step)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from selfstudy.storage.seeding import derive


@dataclass(frozen=True)
class Order:
    """An endless row of shuffled epochs.

    Every epoch is its own permutation. A batch that reaches the end of an epoch goes on with the next one, so that all
    steps are of equal size and nothing is left out; with fewer items than a batch has, an item stands in it more than
    once.

    Attributes:
        owners: (items,) The group of each item. Groups are put in random order, the items of a group stay together; to
            shuffle items alone, give each a group of its own.
        seed: Of the training; None leaves all items as they come.
    """

    owners: Sequence[int]
    seed: int | None
    _epochs: dict[int, list[int]] = field(default_factory=dict)

    def batch(self, step: int, batch_size: int) -> list[int]:
        """Return the items of a step (from 0)."""
        first, n = step * batch_size, len(self.owners)
        if self.seed is None:
            return [place % n for place in range(first, first + batch_size)]
        return [self._epoch(place // n)[place % n] for place in range(first, first + batch_size)]

    def _epoch(self, number: int) -> list[int]:
        if number not in self._epochs:
            assert self.seed is not None
            generator = torch.Generator().manual_seed(derive(self.seed, "order", number))
            rank: list[int] = torch.randperm(max(self.owners) + 1, generator=generator).argsort().tolist()
            # A sort is stable: the items of a group keep their order.
            self._epochs[number] = sorted(range(len(self.owners)), key=lambda item: rank[self.owners[item]])
            for old in [epoch for epoch in self._epochs if epoch < number - 1]:
                del self._epochs[old]
        return self._epochs[number]
