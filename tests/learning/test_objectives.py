from __future__ import annotations

import pytest

from selfstudy.errors import TrainingError
from selfstudy.learning.groups import Item
from selfstudy.learning.objectives import Imitation, group_examples, group_pairs
from selfstudy.types import Completion, Example, Pair

PROMPTS = {"a": (9,), "b": (8,)}
WRITTEN = Completion("6*7=42", (1, 2, 3, 4), ((2, 3),))
SAME = Completion("6*7=42", (1, 2, 3, 4))
OTHER = Completion("41", (5, 4))


def test_equal_completions_of_a_problem_are_one():
    pairs = [
        Pair("a", SAME, OTHER, "gold", 0.5),
        Pair("b", SAME, OTHER, "gold", 0.5),
        Pair("a", WRITTEN, OTHER, "sample", 0.5),
    ]
    groups, items = group_pairs(pairs, PROMPTS)
    assert [group.completions for group in groups] == [((1, 2, 3, 4), (5, 4))] * 2
    assert items == (Item(0, (0, 1)), Item(1, (0, 1)), Item(0, (0, 1)))
    assert not any(group.uncounted for group in groups)


def test_with_masks_they_are_one_only_where_the_same_tokens_count():
    pairs = [Pair("a", SAME, OTHER, "gold", 0.5), Pair("a", WRITTEN, OTHER, "sample", 0.5)]
    (group,), items = group_pairs(pairs, PROMPTS, mask_forced=True)
    assert group.completions == ((1, 2, 3, 4), (5, 4), (1, 2, 3, 4))
    assert group.uncounted == ((), (), ((2, 3),))
    assert items == (Item(0, (0, 1)), Item(0, (2, 1)))


def test_masked_tokens_are_not_in_the_total():
    examples = [Example("a", WRITTEN, "pseudo"), Example("b", OTHER, "gold")]
    for mask, total in ((False, 6), (True, 5)):
        groups, items = group_examples(examples, PROMPTS, mask_forced=mask)
        assert Imitation(groups, items).total([0, 1]) == total


def test_examples_without_a_prompt_are_named():
    with pytest.raises(TrainingError, match="gsm8k/9"):
        group_examples([Example("gsm8k/9", OTHER, "gold")], {})
