"""Pooling judged samples: every problem of U in order, whoever lacks or adds something is caught."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfstudy.errors import StorageError
from selfstudy.models.format import FormatSettings
from selfstudy.selection.candidates import Candidates
from selfstudy.stages.base import Inputs, candidates
from tests.stages.builders import artifact, model_folder, problem, sample, verdict

OUTCOMES = ("right", "wrong", "unparsed")


def inputs(folder: Path, rounds: int = 1, *, ids: tuple[int, ...] = (0, 1, 2, 3)) -> Inputs:
    samples, verdicts = [], []
    for round in range(rounds):
        drawn = [sample(f"p/{n:03d}", k, f"{outcome} {n} {round}") for n in ids for k, outcome in enumerate(OUTCOMES)]
        judged = [verdict(f"p/{n:03d}", k, outcome) for n in ids for k, outcome in enumerate(OUTCOMES)]
        samples.append(artifact(folder / f"s{round}", {"part-00000": drawn[:5], "part-00001": drawn[5:]}))
        verdicts.append(artifact(folder / f"v{round}", {"verdicts": judged}))
    return {
        "model": (model_folder(folder / "model", "causal"),),
        "problems": (
            artifact(
                folder / "problems",
                {"unlabelled": [problem(n, solved=False) for n in range(4)], "labelled": [problem(2)]},
            ),
        ),
        "samples": tuple(samples),
        "verdicts": tuple(verdicts),
    }


def gather(given: Inputs) -> list[Candidates]:
    return list(candidates(given, FormatSettings()))


def test_pools_all_rounds_problem_by_problem(tmp_path: Path) -> None:
    found = gather(inputs(tmp_path, rounds=2))
    assert [c.problem_id for c in found] == ["p/000", "p/001", "p/002", "p/003"]
    assert [s.text for s in found[1].right] == ["right 1 0", "right 1 1"]
    assert [s.text for s in found[1].wrong] == ["wrong 1 0", "unparsed 1 0", "wrong 1 1", "unparsed 1 1"]
    assert [c.gold is not None for c in found] == [False, False, True, False]
    assert found[2].gold is not None
    assert "2 + 1 = <<2+1=3>>3" in found[2].gold.text


def test_samples_of_a_foreign_problem_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="samples of p/009, which is not among the problems, or out of order"):
        gather(inputs(tmp_path, ids=(0, 1, 2, 3, 9)))


@pytest.mark.parametrize("ids", [(0, 1, 2), (1, 2, 3), (0, 3)])
def test_a_problem_without_samples_is_refused(ids: tuple[int, ...], tmp_path: Path) -> None:
    missing = min({0, 1, 2, 3} - set(ids))
    with pytest.raises(StorageError, match=f"no samples of p/{missing:03d}"):
        gather(inputs(tmp_path, ids=ids))


def test_samples_out_of_order_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"no samples of p/002|out of order"):
        gather(inputs(tmp_path, ids=(0, 1, 3, 2)))


@pytest.mark.parametrize("fault", ["missing", "surplus", "swapped"])
def test_verdicts_that_do_not_belong_to_the_samples_are_refused(fault: str, tmp_path: Path) -> None:
    given = inputs(tmp_path)
    path = given["verdicts"][0].path / "verdicts.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    changed = {
        "missing": lines[:-1],
        "surplus": [*lines, lines[-1]],
        "swapped": [lines[1], lines[0], *lines[2:]],
    }[fault]
    path.write_text("".join(changed))
    with pytest.raises(StorageError, match="stands where"):
        gather(given)


def test_as_many_verdicts_as_samples_artifacts(tmp_path: Path) -> None:
    given = inputs(tmp_path, rounds=2)
    with pytest.raises(ValueError, match="shorter"):
        gather({**given, "verdicts": given["verdicts"][:1]})
