from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfstudy.errors import TrainingError
from selfstudy.learning.groups import PLACES, Item, collate, labels_of, micro_batches, select, tokens_of
from selfstudy.types import Group
from tests.learning.conftest import all_items, all_pairs, random_groups


def test_a_causal_prompt_stands_once_before_its_completions():
    batch = collate([Group("a", (5, 6), ((7, 8, 9), (4,))), Group("b", (3,), ((2, 1),))], None)
    assert batch.input_ids.tolist() == [5, 6, 7, 8, 3, 2]  # the last token of a completion is only a label
    assert batch.position_ids.tolist() == [0, 1, 2, 3, 0, 1]
    assert [band.tolist() for band in batch.rows.places] == [[[0, 1, 2, 3]], [[0, 1], [4, 5]]]
    assert [band.tolist() for band in batch.rows.lengths] == [[4], [2, 2]]
    assert batch.rows.home.tolist() == [0, 1, 2, 3, 6, 7]
    assert batch.labels.tolist() == [7, 8, 9, 4, 2, 1]
    assert batch.predicts.tolist() == [1, 2, 3, 1, 4, 5]  # from the prompt's last token on
    assert batch.lengths.tolist() == [3, 1, 2]
    assert batch.owner.tolist() == [0, 0, 0, 1, 2, 2]
    assert batch.positions == 6


def test_seq2seq_encodes_each_prompt_once_and_shifts_the_decoder():
    batch = collate([Group("a", (5, 6), ((7, 8), (4,))), Group("b", (9,), ((0,),))], 3)
    assert batch.prompts.input_ids.tolist() == [5, 6, 9]
    assert batch.prompts.position_ids.tolist() == [0, 1, 0]
    assert [band.tolist() for band in batch.prompts.rows.places] == [[[0, 1]], [[2]]]
    assert [band.tolist() for band in batch.prompts.read.places] == [[[0, 1]], [[2]]]
    assert batch.input_ids.tolist() == [3, 7, 3, 3]
    assert batch.position_ids.tolist() == [0, 1, 0, 0]
    assert [band.tolist() for band in batch.rows.places] == [[[0, 1]], [[2], [3]]]
    assert [band.tolist() for band in batch.prompts.readers.places] == [[[0, 1, 2]], [[3]]]
    assert batch.predicts.tolist() == [0, 1, 2, 3]
    assert batch.positions == 7


@pytest.mark.parametrize("group", [Group("x/1", (), ((1,),)), Group("x/1", (1,), ((),))])
def test_empty_prompt_or_completion_is_refused_by_name(group):
    with pytest.raises(TrainingError, match="x/1"):
        collate([group], None)


def test_uncounted_spans_are_marked():
    groups = [Group("a", (5,), ((1, 2, 3), (4,)), (((0, 1), (2, 3)), ())), Group("b", (5,), ((6, 7),))]
    batch = collate(groups, None)
    assert batch.counted.tolist() == [False, True, False, True, True, True]
    assert batch.lengths.tolist() == [1, 1, 2]
    assert [groups[0].counted(0), groups[0].counted(1), groups[1].counted(0)] == [1, 1, 2]
    chosen, _ = select(groups, [Item(0, (1,)), Item(1, (0,))])
    assert chosen[0].uncounted == ((),)
    assert collate(chosen, None).counted.all()


def test_select_takes_each_distinct_completion_once():
    groups = random_groups(3, 4)
    chosen, rows = select(groups, [Item(2, (0, 3)), Item(0, (1, 2)), Item(2, (0, 1)), Item(2, (0, 3))])
    assert [group.problem_id for group in chosen] == ["p/2", "p/0"]
    assert chosen[0].completions == tuple(groups[2].completions[c] for c in (0, 3, 1))
    assert rows.tolist() == [[0, 1], [3, 4], [0, 2], [0, 1]]


def places_of(rows):
    """Count the places of all rows, filled or not."""
    return sum(band.numel() for band in rows.places)


@settings(max_examples=60)
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
            laid_out = collate(chosen, 0 if seq2seq else None)
            assert laid_out.positions <= limit
            assert places_of(laid_out.rows) <= PLACES * limit
            if seq2seq:
                assert places_of(laid_out.prompts.readers) <= PLACES * limit
                assert places_of(laid_out.prompts.read) <= PLACES * limit
    for group, members in enumerate(groups):
        mine = [index for index in batch if items[index].group == group]
        needed = list({c for index in mine for c in items[index].completions})
        places = max([len(members.prompt_ids) + len(members.completions[c]) for c in needed], default=0) * len(needed)
        places = max(places, sum(len(members.completions[c]) for c in needed) if seq2seq else 0)
        if mine and tokens_of(members, needed, seq2seq) <= limit and places <= PLACES * limit:
            assert sum(any(index in part for index in mine) for part in parts) == 1  # kept together


def test_many_completions_of_a_long_prompt_are_split_for_their_rows():
    """2,500 tokens in all, but each of 100 rows would repeat 500 of them; parts are as large as they may be."""
    groups = (Group("p", tuple(range(500)), tuple((n,) * 20 for n in range(100))),)
    items = all_items(groups)
    parts = micro_batches(groups, items, range(100), 4096, False)
    assert [len(part) for part in parts] == [31, 31, 31, 7]  # 31 × 520 ≤ 4 × 4096 < 32 × 520


def test_an_encoders_prompts_do_not_wait_for_one_with_many_readers():
    """101 prompts, one read by 100 completions of 20 tokens and the others by one: 101 × 2000 places if together."""
    many = Group("many", (1,) * 5, tuple((n,) * 20 for n in range(100)))
    groups = (many, *(Group(f"{n}", (1,) * 5, ((1,) * 20,)) for n in range(100)))
    items = all_items(groups)
    parts = micro_batches(groups, items, range(len(items)), 8192, True)
    assert len(parts) > 1
    for part in parts:
        laid_out = collate(select(groups, [items[index] for index in part])[0], 0)
        assert places_of(laid_out.prompts.readers) <= PLACES * 8192


@given(st.integers(0, 99))
def test_labels_are_those_that_count(seed):
    groups = random_groups(4, 3, seed=seed)
    marked = [replace(g, uncounted=tuple(((0, len(c) // 2),) for c in g.completions)) for g in groups]
    for some in (groups, marked):
        assert labels_of(some) == int(collate(some, None).counted.sum())


@given(st.integers(0, 99), st.booleans())
def test_at_most_a_tenth_of_a_band_is_padding_and_bands_are_few(seed, seq2seq):
    groups = random_groups(40, 2, longest=60, seed=seed)
    batch = collate(groups, 0 if seq2seq else None)
    found = [batch.rows, batch.prompts.rows] if seq2seq else [batch.rows]
    for rows in found:
        for places, lengths in zip(rows.places, rows.lengths, strict=True):
            assert int(lengths.sum()) >= 0.9 * places.numel()
        longest = [places.shape[1] for places in rows.places]
        assert all(below < above for above, below in pairwise(longest))


@given(st.integers(0, 99), st.booleans())
def test_rows_hold_every_token_where_it_belongs(seed, seq2seq):
    groups = random_groups(5, 3, seed=seed)
    batch = collate(groups, 0 if seq2seq else None)
    found = [
        batch.input_ids[row[:length]].tolist()
        for places, lengths in zip(batch.rows.places, batch.rows.lengths, strict=True)
        for row, length in zip(places, lengths.tolist(), strict=True)
    ]
    rows = [[*([0] if seq2seq else g.prompt_ids), *completion[:-1]] for g in groups for completion in g.completions]
    assert sorted(found) == sorted(rows)
    flat = torch.cat([places.flatten() for places in batch.rows.places])
    assert torch.equal(flat[batch.rows.home], torch.arange(len(batch.input_ids)))


def test_every_tensor_of_a_batch_moves():
    moved = collate([Group("a", (5,), ((1, 2), (3,)))], 0).to(torch.device("meta"))
    found = [moved, moved.rows, moved.prompts, moved.prompts.rows, moved.prompts.read, moved.prompts.readers]
    values = [getattr(one, field.name) for one in found for field in fields(one)]
    values = [part for value in values for part in (value if isinstance(value, tuple) else [value])]
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    assert {value.device.type for value in tensors} == {"meta"}
    assert collate([Group("a", (5,), ((1,),))], None).to(torch.device("meta")).prompts is None
