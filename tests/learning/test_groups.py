from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfstudy.errors import TrainingError
from selfstudy.learning.groups import Item, collate, micro_batches, select, shape_of
from selfstudy.types import Group
from tests.learning.conftest import all_items, all_pairs, random_groups


def test_causal_rows_predict_every_completion_token():
    batch = collate([Group("a", (5, 6), ((7, 8, 9), (4,)))], None)
    assert batch.input_ids.tolist() == [[5, 6, 7, 8], [5, 6, 0, 0]]
    assert batch.labels.tolist() == [7, 8, 9, 4]
    assert batch.positions.tolist() == [1, 2, 3, 5]  # from the prompt's last token on; row 1 starts at 4
    assert batch.lengths.tolist() == [3, 1]
    assert batch.owner.tolist() == [0, 0, 0, 1]


def test_seq2seq_encodes_each_prompt_once_and_shifts_the_decoder():
    batch = collate([Group("a", (5, 6), ((7, 8), (4,))), Group("b", (9,), ((0,),))], 3)
    assert batch.prompt_ids.tolist() == [[5, 6], [9, 0]]
    assert batch.prompt_mask.tolist() == [[True, True], [True, False]]
    assert batch.prompt_of.tolist() == [0, 0, 1]
    assert batch.input_ids.tolist() == [[3, 7], [3, 0], [3, 0]]
    assert batch.positions.tolist() == [0, 1, 2, 4]


@pytest.mark.parametrize("group", [Group("x/1", (), ((1,),)), Group("x/1", (1,), ((),))])
def test_empty_prompt_or_completion_is_refused_by_name(group):
    with pytest.raises(TrainingError, match="x/1"):
        collate([group], None)


def test_select_takes_each_distinct_completion_once():
    groups = random_groups(3, 4)
    chosen, rows = select(groups, [Item(2, (0, 3)), Item(0, (1, 2)), Item(2, (0, 1)), Item(2, (0, 3))])
    assert [group.problem_id for group in chosen] == ["p/2", "p/0"]
    assert chosen[0].completions == tuple(groups[2].completions[c] for c in (0, 3, 1))
    assert rows.tolist() == [[0, 1], [3, 4], [0, 2], [0, 1]]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 99), st.integers(1, 400), st.booleans(), st.data())
def test_micro_batches_cover_the_step_within_the_limit(seed, limit, seq2seq, data):
    groups = random_groups(5, 4, seed=seed)
    items = all_pairs(groups)
    batch = data.draw(st.lists(st.integers(0, len(items) - 1), min_size=1, max_size=20))
    parts = micro_batches(groups, items, batch, limit, seq2seq)
    assert sorted(index for part in parts for index in part) == sorted(batch)
    for part in parts:
        chosen, _ = select(groups, [items[index] for index in part])
        if len(set(part)) > 1:
            tokens = collate(chosen, 0 if seq2seq else None)
            computed = tokens.input_ids.numel() + (tokens.prompt_ids.numel() if seq2seq else 0)
            assert computed <= limit
    for group, members in enumerate(groups):
        mine = [index for index in batch if items[index].group == group]
        needed = list({c for index in mine for c in items[index].completions})
        if mine and shape_of(members, needed, seq2seq).tokens <= limit:
            assert sum(any(index in part for index in mine) for part in parts) == 1  # kept together


def test_micro_batches_are_ordered_by_length_so_that_padding_stays_small():
    groups = random_groups(200, 1, longest=40)
    items = all_items(groups)
    parts = micro_batches(groups, items, range(200), 600, False)
    computed = needed = 0
    for part in parts:
        chosen, _ = select(groups, [items[index] for index in part])
        computed += collate(chosen, None).input_ids.numel()
        needed += sum(len(g.prompt_ids) + len(g.completions[0]) - 1 for g in chosen)
    assert 1 - needed / computed < 0.1


def test_fill_is_a_token_of_every_vocabulary():
    assert torch.equal(collate([Group("a", (5,), ((1, 2), (3,)))], None).input_ids[1], torch.tensor([5, 0]))


def test_every_tensor_of_a_batch_moves():
    batch = collate([Group("a", (5,), ((1, 2), (3,)))], 0)
    moved = batch.to(torch.device("meta"))
    assert {getattr(moved, name).device.type for name in batch.__slots__} == {"meta"}
    assert collate([Group("a", (5,), ((1,),))], None).to(torch.device("meta")).prompt_ids is None
