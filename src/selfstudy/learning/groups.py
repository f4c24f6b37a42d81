"""Groups as tensors: collate prompts with their completions, and split a step into micro-batches.

Nothing is padded but the rows in which attention is computed: every other layer sees each token once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate, chain
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from selfstudy.errors import TrainingError
from selfstudy.learning.attention import Rows
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
    """Groups ready for a model: T tokens behind each other; C completions in order, N tokens of them in all.

    A causal group is its prompt, once, and then its completions; a completion's row is the prompt and its own tokens.
    An encoder–decoder's list holds the decoder's inputs alone. The last token of a completion is only a label, so that
    it is left out.

    Attributes:
        input_ids: (T,) The model's, or the decoder's inputs.
        position_ids: (T,) Of each token in its row.
        rows: The C completions as rows.
        predicts: (N,) Index of the token that predicts each label.
        labels: (N,) Every token of every completion.
        counted: (N,) Which labels a loss counts.
        lengths: (C,) Labels of each completion that count, at least 1.
        owner: (N,) The completion that each label belongs to.
        prompts: What encoders need; None for causal models.
    """

    input_ids: Tensor
    position_ids: Tensor
    rows: Rows
    predicts: Tensor
    labels: Tensor
    counted: Tensor
    lengths: Tensor
    owner: Tensor
    prompts: PromptBatch | None = None

    @property
    def positions(self) -> int:
        """Return how many tokens the model computes."""
        return len(self.input_ids) + (0 if self.prompts is None else len(self.prompts.input_ids))

    def to(self, device: torch.device) -> Batch:
        """Return the batch on ``device``."""
        return self if device.type == "cpu" else _moved(self, device)


@dataclass(frozen=True, slots=True)
class PromptBatch:
    """The G prompts of encoder–decoder groups, S tokens behind each other.

    Attributes:
        input_ids: (S,) The encoder's inputs.
        position_ids: (S,) Of each token in its prompt.
        rows: The prompts as rows.
        read: The same, in the bands of their readers.
        readers: The decoder's tokens that look at each prompt, a row for each prompt.
    """

    input_ids: Tensor
    position_ids: Tensor
    rows: Rows
    read: Rows
    readers: Rows


def _moved(batch: Any, device: torch.device) -> Any:
    """Return a dataclass of tensors on ``device``."""
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return replace(
        batch,
        **{name: _there(value, device) for name, value in values.items() if value is not None},
    )


def _there(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    return tuple(_there(one, device) for one in value) if isinstance(value, tuple) else _moved(value, device)


def collate(groups: Sequence[Group], decoder_start: int | None) -> Batch:
    """Lay out ``groups`` for a model.

    Args:
        groups: Each with a completion or more; prompts and completions are not empty.
        decoder_start: The decoder's first input token; None for causal models.

    Raises:
        TrainingError: An empty prompt, an empty completion, or none.
    """
    for group in groups:
        if not group.completions:
            raise TrainingError(f"{group.problem_id}: there is no completion to learn from; take it out")
        if not group.prompt_ids or not all(group.completions):
            what = "completion" if group.prompt_ids else "prompt (see prompt.template)"
            raise TrainingError(f"{group.problem_id}: a {what} without tokens cannot be learnt from; take it out")
    causal = decoder_start is None
    ids: list[int] = []
    rows: list[list[int]] = []  # flat indices of each completion's row
    users: list[list[int]] = []  # of the decoder's tokens of each group
    predicts: list[int] = []
    positions: list[int] = []
    for group in groups:
        start = len(ids)
        prompt = list(range(start, start + len(group.prompt_ids))) if causal else []
        ids += group.prompt_ids if causal else ()
        positions += range(len(prompt))
        for completion in group.completions:
            own = [*completion[:-1]] if causal else [decoder_start or 0, *completion[:-1]]
            rows.append([*prompt, *range(len(ids), len(ids) + len(own))])
            positions += range(len(prompt), len(rows[-1]))
            predicts += rows[-1][-len(completion) :]
            ids += own
        users.append(list(range(start, len(ids))))
    if not rows:
        raise TrainingError("no completions to compute log-probabilities of")
    completions = [completion for group in groups for completion in group.completions]
    labels = torch.tensor(list(chain.from_iterable(completions)))
    owner = torch.repeat_interleave(torch.tensor([len(completion) for completion in completions]))
    counted = torch.ones(len(labels), dtype=torch.bool)
    spans = [spans for group in groups for spans in group.uncounted or [()] * len(group.completions)]
    for end, completion, left_out in zip(accumulate(map(len, completions)), completions, spans, strict=True):
        for first, stop in left_out:
            counted[end - len(completion) + first : end - len(completion) + stop] = False
    return Batch(
        input_ids=torch.tensor(ids),
        position_ids=torch.tensor(positions),
        rows=_rows(rows, len(ids)),
        predicts=torch.tensor(predicts),
        labels=labels,
        counted=counted,
        lengths=torch.bincount(owner[counted], minlength=len(completions)).clamp(min=1),
        owner=owner,
        prompts=None if causal else _prompts(groups, users, len(ids)),
    )


def _prompts(groups: Sequence[Group], users: Sequence[Sequence[int]], tokens: int) -> PromptBatch:
    ids = list(chain.from_iterable(group.prompt_ids for group in groups))
    ends = list(accumulate(len(group.prompt_ids) for group in groups))
    rows = [range(end - len(g.prompt_ids), end) for g, end in zip(groups, ends, strict=True)]
    positions = list(chain.from_iterable(range(len(row)) for row in rows))
    bands = _bands([list(map(len, users)), list(map(len, rows))])
    read, readers = _laid_out(rows, bands, len(ids)), _laid_out(users, bands, tokens)
    return PromptBatch(torch.tensor(ids), torch.tensor(positions), _rows(rows, len(ids)), read, readers)


_PADDING = 0.1  # of the places of a band; more bands take more calls


def _rows(rows: Sequence[Sequence[int]], tokens: int) -> Rows:
    """Lay rows of flat indices out in bands."""
    return _laid_out(rows, _bands([list(map(len, rows))]), tokens)


def _bands(sides: Sequence[Sequence[int]]) -> list[list[int]]:
    """Put rows of similar length in bands; of the places of a band at most a share is padding.

    Args:
        sides: The lengths of the rows; several times where rows of one list look at rows of another, row by row.

    Returns:
        Indices of the rows of each band, longest first.
    """
    bands: list[list[int]] = []
    for row in sorted(range(len(sides[0])), key=lambda row: [-lengths[row] for lengths in sides]):
        for band in reversed(bands):
            joined = [[lengths[one] for one in (*band, row)] for lengths in sides]
            if all(sum(lengths) >= (1 - _PADDING) * len(lengths) * max(lengths) for lengths in joined):
                band.append(row)
                break
        else:
            bands.append([row])
    return bands


def _laid_out(rows: Sequence[Sequence[int]], bands: Sequence[Sequence[int]], tokens: int) -> Rows:
    """Lay rows out in these bands. Padding has index 0. A token's home is the first row that has it."""
    places, lengths, flat, real = [], [], [], []
    for band in bands:
        length = np.array([len(rows[row]) for row in band])
        there = np.arange(length.max()) < length[:, None]
        indices = np.zeros(there.shape, np.int64)
        indices[there] = np.fromiter(chain.from_iterable(rows[row] for row in band), np.int64)
        places.append(torch.from_numpy(indices))
        lengths.append(torch.from_numpy(length))
        flat.append(indices[there])
        real.append(there.ravel())
    _, first = np.unique(np.concatenate(flat), return_index=True)
    home = np.flatnonzero(np.concatenate(real))[first]
    assert len(home) == tokens, "every token is in a row"
    return Rows(tuple(places), tuple(lengths), torch.from_numpy(home))


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
        completions = tuple(group.completions[place] for place in places)
        uncounted = tuple(group.uncounted[place] for place in places) if group.uncounted else ()
        chosen.append(replace(group, completions=completions, uncounted=uncounted))
        start[index] = rows_so_far
        rows_so_far += len(places)
    rows = [[start[item.group] + wanted[item.group][c] for c in item.completions] for item in items]
    return chosen, torch.tensor(rows)


def tokens_of(group: Group, completions: Sequence[int], seq2seq: bool) -> int:
    """Return the tokens that a model computes for one group with some of its (distinct) completions."""
    own = sum(len(group.completions[c]) for c in completions)
    return len(group.prompt_ids) + (own if seq2seq else own - len(completions))


def labels_of(groups: Sequence[Group]) -> int:
    """Return how many completion tokens a loss counts."""
    return sum(group.counted(index) for group in groups for index in range(len(group.completions)))


def shares(
    groups: Sequence[Group], items: Sequence[Item], batch: Sequence[int], size: int, seq2seq: bool
) -> list[list[int]]:
    """Share a step's ``batch`` out among ``size`` processes: the largest groups first, to the least busy.

    Groups stay whole. A process may get nothing.
    """
    units = [_unit(groups, items, members, seq2seq) for members in _together(items, batch)]
    found: list[list[int]] = [[] for _ in range(size)]
    tokens = [0] * size
    for unit in sorted(units, key=lambda unit: -unit.tokens):
        rank = tokens.index(min(tokens))
        found[rank] += unit.items
        tokens[rank] += unit.tokens
    return found


def _together(items: Sequence[Item], batch: Sequence[int]) -> list[list[int]]:
    """Return the items of each group in a batch."""
    found: dict[int, list[int]] = {}
    for index in batch:
        found.setdefault(items[index].group, []).append(index)
    return list(found.values())


def micro_batches(
    groups: Sequence[Group], items: Sequence[Item], batch: Sequence[int], tokens_per_batch: int, seq2seq: bool
) -> list[list[int]]:
    """Split a step's ``batch`` (indices into ``items``) into micro-batches of at most ``tokens_per_batch`` tokens.

    Rows in which attention is computed repeat their prompt and are padded, and an encoder's prompt waits for the
    longest of its readers; of such places there are at most ``PLACES`` times as many. Items of one group stay
    together, unless they exceed the limits; an item that alone exceeds them is computed alone. Longest first: rows of
    like length are padded little where they attend, and a machine that is too small says so at once.
    """
    units = [
        _unit(groups, items, part, seq2seq)
        for members in _together(items, batch)
        for part in _split(groups, items, members, tokens_per_batch, seq2seq)
    ]
    units.sort(key=lambda unit: -unit.longest)
    parts: list[_Unit] = []
    for unit in units:
        joined = parts[-1].joined(unit) if parts else unit
        if parts and joined.fits(tokens_per_batch):
            parts[-1] = joined
        else:
            parts.append(unit)
    return [part.items for part in parts]


# Places in rows of attention for each token of a micro-batch. A place takes a query, a key, a value and a result; a
# token several times that, in the other layers.
PLACES = 4


class _Unit(NamedTuple):
    items: list[int]
    tokens: int
    rows: int
    longest: int  # row
    prompts: int
    read: int  # most tokens that look at one encoded prompt

    def fits(self, tokens_per_batch: int) -> bool:
        places = max(self.rows * self.longest, self.prompts * self.read)
        return self.tokens <= tokens_per_batch and places <= PLACES * tokens_per_batch

    def joined(self, other: _Unit) -> _Unit:
        """Put another group's items behind these."""
        return _Unit(
            [*self.items, *other.items],
            self.tokens + other.tokens,
            self.rows + other.rows,
            max(self.longest, other.longest),
            self.prompts + other.prompts,
            max(self.read, other.read),
        )


def _split(
    groups: Sequence[Group], items: Sequence[Item], members: list[int], tokens_per_batch: int, seq2seq: bool
) -> list[list[int]]:
    """Split items of one group into as few parts as the limits allow."""
    if _unit(groups, items, members, seq2seq).fits(tokens_per_batch):
        return [members]
    parts: list[list[int]] = []
    for index in sorted(members):  # those that share completions stand next to each other
        if parts and _unit(groups, items, [*parts[-1], index], seq2seq).fits(tokens_per_batch):
            parts[-1].append(index)
        else:
            parts.append([index])
    return parts


def _unit(groups: Sequence[Group], items: Sequence[Item], members: list[int], seq2seq: bool) -> _Unit:
    group = groups[items[members[0]].group]
    needed = list(dict.fromkeys(c for index in members for c in items[index].completions))
    longest = len(group.prompt_ids) + max(len(group.completions[c]) for c in needed)
    read = sum(len(group.completions[c]) for c in needed) if seq2seq else 0
    return _Unit(members, tokens_of(group, needed, seq2seq), len(needed), longest, 1, read)
