"""What samples are like, by hand on small draws."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfstudy.report.draws import Draw, Tally, find_draws, read_draw
from selfstudy.report.results import read_results
from selfstudy.selection.similarity import token_set
from selfstudy.storage.judged import read_judged
from tests.stages.builders import sample, verdict


def judged(*solutions: tuple[str, str]):
    return [
        (sample("p", number, text, finish="length" if outcome == "cut" else "stop"), verdict("p", number, said))
        for number, (text, outcome) in enumerate(solutions)
        for said in ["wrong" if outcome == "cut" else outcome]
    ]


def test_a_tally_by_hand() -> None:
    """Sets ab, abc, xy: similarities 2/3, 0, 0; the gold one is abcd: 2/4 and 3/4."""
    tally = Tally()
    tally.add(judged(("ab", "right"), ("abc", "right"), ("xy", "cut")), frozenset(map(ord, "abcd")))
    tally.add(judged(("q", "unparsed"), ("q", "wrong"), ("q", "wrong")), None)
    facts = tally.facts(Draw("d", "labels", "unlabelled", "m", 1, (), ()))
    assert facts.samples == 6
    assert facts.right.value == pytest.approx((2 / 3 + 0) / 2)
    assert facts.distinct_right.value == 1  # 2 that are 0.67 alike, and none
    assert facts.alike is not None
    assert facts.alike.value == pytest.approx((2 / 9 + 1) / 2)
    assert facts.near_gold is not None
    assert (facts.near_gold.value, facts.near_gold.n) == (pytest.approx((1 / 2 + 3 / 4) / 2), 1)
    assert facts.tokens == (3 + 4 + 2 + 2 + 2 + 2) / 6
    assert (facts.unparsed, facts.truncated) == (1 / 6, 1 / 6)


def test_one_sample_a_problem_has_no_likeness() -> None:
    tally = Tally()
    tally.add(judged(("ab", "wrong")), frozenset())
    facts = tally.facts(Draw("d", "labels", "unlabelled", "m", 1, (), ()))
    assert facts.alike is facts.near_gold is None


def test_blocks_of_a_draw_are_one_draw(finished: Path) -> None:
    draws = find_draws(read_results(finished))
    learned = [draw for draw in draws if draw.split == "unlabelled"]
    assert [(d.name, d.purpose, d.model, d.round, len(d.samples)) for d in learned] == [
        ("pair-samples-1", "pairs", "sft", 1, 2),
        ("label-samples-1", "labels", "dpo-1", 1, 1),
        ("pair-samples-2", "pairs", "dpo-st-1", 2, 2),
        ("label-samples-2", "labels", "dpo-2", 2, 1),
    ]
    tested = {(draw.model, draw.purpose): draw.round for draw in draws if draw.split == "test"}
    rounds = {"sft": 0, "dpo-1": 1, "dpo-st-1": 1, "dpo-2": 2, "dpo-st-2": 2}
    assert tested == {(m, purpose): r for m, r in rounds.items() for purpose in ("greedy", "evaluate")}


def test_a_draw_is_read_whole_and_some_of_it_is_kept(finished: Path) -> None:
    draws = {(draw.model, draw.split, draw.purpose): draw for draw in find_draws(read_results(finished))}
    draw = draws["sft", "unlabelled", "pairs"]
    everything = [one for both in zip(draw.samples, draw.verdicts, strict=True) for one in read_judged(*both)]
    ids = list(dict.fromkeys(one.problem_id for one, _ in everything))
    gold = {ids[0]: token_set(everything[0][0].completion)}
    facts, kept = read_draw(draw, ids, gold, ids[3:5])
    assert facts is not None
    assert facts.samples == len(everything) == 3 * len(ids)
    assert list(kept) == ids[3:5]
    assert kept[ids[3]] == [one for one in everything if one[0].problem_id == ids[3]]

    test = draws["sft", "test", "greedy"]
    names = [one.problem_id for one, _ in read_judged(test.samples[0], test.verdicts[0])]
    facts, kept = read_draw(test, names, {}, names)
    assert facts is None  # the scores tell it
    assert len(kept) == len(names)
