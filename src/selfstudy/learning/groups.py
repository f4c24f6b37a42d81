"""Groups as tensors: collate prompts with their completions, and split a step into micro-batches.

Padding only fills. What is real is known by length, never by token id, since a model's pad token may be its EOS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from selfstudy.errors import TrainingError
from selfstudy.types import Group


class Item(NamedTuple):
    """What one training example or pair consists of.

    Attributes:
        group: Index into the objective's groups.
        completions: Indices into that group's completions: one for SFT, (chosen, rejected) for a preference pair.
    """

    group: int
    completions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Groups ready for a model; C completions in order (group by group), N tokens of them in all.

    Attributes:
        input_ids: (C, L). Causal: prompt and completion in a row of their own. Encoder–decoder: decoder inputs. The
            last token of a completion is only a label, so it is left out.
        positions: (N,) Where in the flattened ``input_ids`` each label is predicted.
        labels: (N,) Every token of every completion.
        lengths: (C,) Tokens of each completion.
        owner: (N,) The completion that each label belongs to.
        prompt_ids: (G, P) Encoder inputs; None for causal models.
        prompt_mask: (G, P) True where ``prompt_ids`` is real; None for causal models.
        prompt_of: (C,) The prompt that each completion belongs to; None for causal models.
    """

    input_ids: Tensor
    positions: Tensor
    labels: Tensor
    lengths: Tensor
    owner: Tensor
    prompt_ids: Tensor | None = None
    prompt_mask: Tensor | None = None
    prompt_of: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """Return the batch on ``device``."""
        if device.type == "cpu":
            return self
        values = ((name, getattr(self, name)) for name in self.__slots__)
        moved = {name: value.to(device, non_blocking=True) for name, value in values if value is not None}
        return replace(self, **moved)


def collate(groups: Sequence[Group], decoder_start: int | None) -> Batch:
    """Lay out ``groups`` for a model.

    Args:
        groups: At least one completion in all; prompts and completions are not empty.
        decoder_start: The decoder's first input token; None for causal models.

    Raises:
        TrainingError: An empty prompt, an empty completion, or no completion at all.
    """
    for group in groups:
        if not group.prompt_ids or not all(group.completions):
            what = "prompt" if not group.prompt_ids else "completion"
            raise TrainingError(f"{group.problem_id}: a {what} without tokens cannot be learnt from; leave it out")
    completions = [completion for group in groups for completion in group.completions]
    if not completions:
        raise TrainingError("no completions to compute log-probabilities of")
    lengths = torch.tensor([len(completion) for completion in completions])
    owner = torch.repeat_interleave(torch.arange(len(completions)), lengths)
    labels = torch.tensor(list(chain.from_iterable(completions)))
    within = torch.arange(len(labels)) - (lengths.cumsum(0) - lengths)[owner]  # position inside its completion
    if decoder_start is None:
        rows = [[*group.prompt_ids, *completion[:-1]] for group in groups for completion in group.completions]
        # The prompt's last token predicts a completion's first.
        first = torch.tensor([len(group.prompt_ids) - 1 for group in groups for _ in group.completions])
        input_ids = _pad(rows)
        positions = owner * input_ids.shape[1] + first[owner] + within
        return Batch(input_ids, positions, labels, lengths, owner)
    input_ids = _pad([[decoder_start, *completion[:-1]] for completion in completions])
    prompt_ids = _pad([group.prompt_ids for group in groups])
    prompt_lengths = torch.tensor([len(group.prompt_ids) for group in groups])
    return Batch(
        input_ids,
        positions=owner * input_ids.shape[1] + within,
        labels=labels,
        lengths=lengths,
        owner=owner,
        prompt_ids=prompt_ids,
        prompt_mask=torch.arange(prompt_ids.shape[1]) < prompt_lengths[:, None],
        prompt_of=torch.tensor([index for index, group in enumerate(groups) for _ in group.completions]),
    )


def _pad(rows: Sequence[Sequence[int]]) -> Tensor:
    """Return (rows, longest), filled with token 0, which every vocabulary has."""
    lengths = torch.tensor([len(row) for row in rows])
    real = torch.arange(int(lengths.max())) < lengths[:, None]
    # One conversion of all tokens; a tensor for each row takes longer.
    return torch.zeros(real.shape, dtype=torch.long).masked_scatter_(
        real, torch.tensor(list(chain.from_iterable(rows)))
    )


def select(groups: Sequence[Group], items: Sequence[Item]) -> tuple[list[Group], Tensor]:
    """Take what ``items`` need, each distinct completion once, however many items it stands in.

    Returns:
        Groups with only the completions needed; and rows (items, completions per item): where in the order of
        :func:`collate` each item's completions stand.
    """
    wanted: dict[int, dict[int, int]] = {}
    for item in items:
        places = wanted.setdefault(item.group, {})
        for completion in item.completions:
            places.setdefault(completion, len(places))
    chosen, start = [], {}
    rows_so_far = 0
    for index, places in wanted.items():
        group = groups[index]
        chosen.append(replace(group, completions=tuple(group.completions[place] for place in places)))
        start[index] = rows_so_far
        rows_so_far += len(places)
    rows = [[start[item.group] + wanted[item.group][c] for c in item.completions] for item in items]
    return chosen, torch.tensor(rows)


class Shape(NamedTuple):
    """How many positions a micro-batch has, padding included: ``rows × width``, and the encoder's."""

    rows: int
    width: int
    prompts: int = 0
    prompt_width: int = 0

    def joined(self, other: Shape) -> Shape:
        """Return the shape of both in one micro-batch."""
        return Shape(
            self.rows + other.rows,
            max(self.width, other.width),
            self.prompts + other.prompts,
            max(self.prompt_width, other.prompt_width),
        )

    @property
    def tokens(self) -> int:
        """Positions that the model computes."""
        return self.rows * self.width + self.prompts * self.prompt_width


def shape_of(group: Group, completions: Sequence[int], seq2seq: bool) -> Shape:
    """Return the shape of one group with some of its (distinct) completions."""
    longest = max(len(group.completions[c]) for c in completions)
    if seq2seq:
        return Shape(len(completions), longest, 1, len(group.prompt_ids))
    return Shape(len(completions), len(group.prompt_ids) + longest - 1)


def micro_batches(
    groups: Sequence[Group], items: Sequence[Item], batch: Sequence[int], tokens_per_batch: int, seq2seq: bool
) -> list[list[int]]:
    """Split a step's ``batch`` (indices into ``items``) into micro-batches of at most ``tokens_per_batch`` positions.

    Items of one group stay together, unless they alone exceed the limit; an item that alone exceeds it is computed
    alone. Longest first: rows of like length waste little padding, and a machine that is too small says so at once.
    """
    together: dict[int, list[int]] = {}
    for index in batch:
        together.setdefault(items[index].group, []).append(index)
    units: list[tuple[Shape, list[int]]] = []
    for unit in together.values():
        shape = _unit_shape(groups, items, unit, seq2seq)
        if shape.tokens <= tokens_per_batch:
            units.append((shape, unit))
            continue
        for index in dict.fromkeys(unit):
            alone = [other for other in unit if other == index]
            units.append((_unit_shape(groups, items, alone, seq2seq), alone))
    units.sort(key=lambda unit: (-unit[0].width, -unit[0].prompt_width))
    parts: list[list[int]] = []
    filled = Shape(0, 0)
    for shape, unit in units:
        filled = filled.joined(shape)
        if not parts or filled.tokens > tokens_per_batch:
            parts.append([])
            filled = shape
        parts[-1] += unit
    return parts


def _unit_shape(groups: Sequence[Group], items: Sequence[Item], unit: Sequence[int], seq2seq: bool) -> Shape:
    group = groups[items[unit[0]].group]
    return shape_of(group, list(dict.fromkeys(c for index in unit for c in items[index].completions)), seq2seq)
