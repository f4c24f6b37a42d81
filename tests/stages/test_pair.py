"""Pairs as a stage: what is held out for validation, and what may be a gold winner."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from selfstudy.models.format import FormatSettings
from selfstudy.stages.base import Inputs
from selfstudy.stages.pair import MakePairs, PairSettings
from selfstudy.storage.records import read_records
from selfstudy.types import SILENT, Pair, Problem
from tests.stages.builders import artifact, model_folder, problem, sample, verdict


def inputs(folder: Path, unlabelled: Sequence[Problem], labelled: Sequence[Problem], rounds: int = 1) -> Inputs:
    """Give every problem of U one right and one wrong sample a round."""
    texts = [("right" if k == 0 else "wrong", k) for k in range(2)]
    samples, verdicts = [], []
    for round in range(rounds):
        drawn = [sample(p.id, k, f"{outcome} {round} {p.id}") for p in unlabelled for outcome, k in texts]
        judged = [verdict(p.id, k, outcome) for p in unlabelled for outcome, k in texts]
        samples.append(artifact(folder / f"samples{round}", {"part-00000": drawn}))
        verdicts.append(artifact(folder / f"verdicts{round}", {"verdicts": judged}))
    problems = artifact(folder / "problems", {"unlabelled": unlabelled, "labelled": labelled})
    return {
        "model": (model_folder(folder / "model", "causal"),),
        "problems": (problems,),
        "samples": tuple(samples),
        "verdicts": tuple(verdicts),
    }


def make(given: Inputs, out: Path, **settings: Any) -> tuple[dict[str, Any], list[Pair], list[str]]:
    out.mkdir()
    stage = MakePairs(settings=PairSettings(**settings), format=FormatSettings(), seed=0)
    metrics = stage.run(given, out, SILENT)
    held_out = [p.id for p in read_records(out / "held_out.jsonl", Problem)]
    return metrics, list(read_records(out / "pairs.jsonl", Pair)), held_out


@pytest.mark.parametrize("held_out", [4, 0.2])
def test_held_out_are_answers_only_problems_and_never_in_pairs(held_out: float, tmp_path: Path) -> None:
    """10 of 20 are answers-only: 4 of those, and not of L, whose solutions the SFT model has learnt by heart."""
    labelled = [problem(n) for n in range(10)]
    unlabelled = [problem(n, solved=False) for n in range(20)]
    metrics, pairs, kept_out = make(inputs(tmp_path, unlabelled, labelled), tmp_path / "out", held_out=held_out)
    assert len(kept_out) == metrics["held_out_problems"] == 4
    assert set(kept_out) < {p.id for p in unlabelled[10:]}
    assert {pair.problem_id for pair in pairs} == {p.id for p in unlabelled} - set(kept_out)
    validation = list(read_records(tmp_path / "out" / "validation.jsonl", Pair))
    assert {pair.problem_id for pair in validation} == set(kept_out)
    assert metrics["validation_pairs"] == len(validation)
    assert (metrics["problems"], metrics["right"], metrics["wrong"]) == (20, 20, 20)
    assert metrics["with_pairs"] == 16
    assert metrics["pairs"] == len(pairs)


def test_held_out_are_of_l_where_all_are_solved(tmp_path: Path) -> None:
    everything = [problem(n) for n in range(10)]
    _, pairs, kept_out = make(inputs(tmp_path, everything, everything), tmp_path / "out", held_out=3)
    assert len(kept_out) == 3
    assert not {pair.problem_id for pair in pairs} & set(kept_out)


@pytest.mark.parametrize(("held_out", "fresh"), [(4, 4), (4, 3), (0.5, 1)])
def test_too_few_answers_only_problems_are_no_reason_to_stop(held_out: float, fresh: int, tmp_path: Path) -> None:
    unlabelled = [problem(n, solved=False) for n in range(12)]
    given = inputs(tmp_path, unlabelled, [problem(n) for n in range(12 - fresh)])
    _, pairs, kept_out = make(given, tmp_path / "out", held_out=held_out)
    assert len(kept_out) == (held_out if isinstance(held_out, int) else 6)
    assert not {pair.problem_id for pair in pairs} & set(kept_out)


def test_held_out_stay_the_same_over_rounds(tmp_path: Path) -> None:
    """Or a later round would be measured on pairs like those that an earlier one learnt from."""
    unlabelled = [problem(n, solved=False) for n in range(12)]
    chosen = []
    for rounds in (1, 2):
        folder = tmp_path / str(rounds)
        folder.mkdir()
        given = inputs(folder, unlabelled, [problem(0)], rounds)
        chosen.append(make(given, folder / "out", held_out=4)[2])
    assert chosen[0] == chosen[1]


def test_none_held_out(tmp_path: Path) -> None:
    unlabelled = [problem(n, solved=False) for n in range(4)]
    metrics, pairs, kept_out = make(inputs(tmp_path, unlabelled, [problem(0)]), tmp_path / "out", held_out=0)
    assert kept_out == []
    assert metrics["with_pairs"] == len({pair.problem_id for pair in pairs}) == 4


def test_gold_wins_only_where_the_problem_is_in_l(tmp_path: Path) -> None:
    unlabelled = [problem(n, solved=False) for n in range(6)]
    given = inputs(tmp_path, unlabelled, [problem(1), problem(4)])
    _, pairs, _ = make(given, tmp_path / "out", held_out=0)
    gold = {pair.problem_id for pair in pairs if pair.chosen_from == "gold"}
    assert gold == {"p/001", "p/004"}
    assert all(pair.chosen.finish == "gold" for pair in pairs if pair.chosen_from == "gold")
    assert all(pair.rejected.text.startswith("wrong") for pair in pairs)


def test_rounds_are_pooled(tmp_path: Path) -> None:
    unlabelled = [problem(n, solved=False) for n in range(3)]
    given = inputs(tmp_path, unlabelled, [problem(9)], rounds=2)
    metrics, pairs, _ = make(given, tmp_path / "out", held_out=0, pairer={"name": "least_similar", "threshold": 1.0})
    assert (metrics["right"], metrics["wrong"]) == (6, 6)
    rounds = {(pair.chosen.text.split()[1], pair.rejected.text.split()[1]) for pair in pairs}
    assert {"0", "1"} == {r for both in rounds for r in both}
