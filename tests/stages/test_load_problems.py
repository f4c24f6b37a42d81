"""Splits as files: who is in L, U, dev and test, and that no solution leaks."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from selfstudy.errors import ConfigError, DataError
from selfstudy.stages.load_problems import LoadProblems, ProblemSettings
from selfstudy.storage.records import read_records
from selfstudy.types import SILENT, Problem

Row = dict[str, Any]


def rows(numbers: Sequence[int], *, solved: bool = True) -> list[Row]:
    made = []
    for n in numbers:
        row: Row = {"key": f"k{n:03d}", "question": f"What is {n} + 1?", "answer": str(n + 1)}
        if solved:
            row["solution"] = f"SECRET{n:03d} <<{n}+1={n + 1}>>\n#### {n + 1}"
        made.append(row)
    return made


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def table(name: str, content: Sequence[Row]) -> Row:
    """Write a file and return the source that reads it; rows keep their id wherever they stand."""
    Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    return {"name": "tabular", "path": f"{name}.jsonl", "dataset": "d", "id": "key", "solution": "solution"}


def load(seed: int = 0, out: str = "out", **settings: Any) -> tuple[dict[str, list[Problem]], dict[str, Any], Path]:
    base = {"dev": 5, "test": 5, "train": None}
    stage = LoadProblems(settings=ProblemSettings.parse({**base, **settings}, "problems"), seed=seed)
    folder = Path(out)
    folder.mkdir()
    metrics = stage.run({}, folder, SILENT)
    splits = {path.stem: list(read_records(path, Problem)) for path in sorted(folder.glob("*.jsonl"))}
    assert metrics["problems"] == {name: len(found) for name, found in splits.items()}
    return splits, metrics, folder


def ids(problems: Sequence[Problem]) -> set[str]:
    return {problem.id for problem in problems}


@pytest.mark.parametrize(
    ("labelled", "unlabelled", "in_l", "in_u"),
    [
        (10, "all", 10, 30),
        (10, "rest", 10, 20),
        (0.2, "all", 6, 30),
        (0.2, "rest", 6, 24),
        ("all", "all", 30, 30),
    ],
)
def test_sizes_of_l_and_u(labelled: Any, unlabelled: str, in_l: int, in_u: int) -> None:
    splits, _, _ = load(train=table("t", rows(range(40))), labelled=labelled, unlabelled=unlabelled)
    found_l, found_u = ids(splits["labelled"]), ids(splits["unlabelled"])
    assert (len(found_l), len(found_u)) == (in_l, in_u)
    assert found_l <= found_u if unlabelled == "all" else not found_l & found_u
    assert len(found_l | found_u) == 30
    held = ids(splits["dev"]), ids(splits["test"])
    assert len(held[0]) == len(held[1]) == 5
    assert len(held[0] | held[1] | found_l | found_u) == 40  # nothing is lost, and nothing is in two places


@pytest.mark.parametrize("unlabelled", ["all", "rest"])
def test_solutions_of_unlabelled_problems_stand_nowhere_in_the_artifact(unlabelled: str) -> None:
    splits, _, folder = load(train=table("t", rows(range(40))), labelled=10, unlabelled=unlabelled)
    may = {problem.id[-3:] for name in ("labelled", "dev", "test") for problem in splits[name]}
    assert all(problem.solution for problem in splits["labelled"])
    everything = "".join(path.read_text() for path in folder.iterdir())
    shown = {n for n in range(40) if f"SECRET{n:03d}" in everything}
    assert shown == {int(key) for key in may}
    assert "SECRET" not in (folder / "unlabelled.jsonl").read_text()


def test_a_source_of_its_own_for_l() -> None:
    solved, train = table("solved", rows(range(100, 108))), table("t", rows(range(40)))
    both, _, folder = load(train=train, solved=solved, unlabelled="all")
    assert ids(both["labelled"]) == {f"d/k{n}" for n in range(100, 108)}
    assert len(both["unlabelled"]) == 30 + 8
    assert "SECRET" not in (folder / "unlabelled.jsonl").read_text()
    rest, _, _ = load(out="rest", train=train, solved=solved, unlabelled="rest")
    assert ids(rest["unlabelled"]) == ids(both["unlabelled"]) - ids(both["labelled"])


@pytest.mark.parametrize(("unlabelled", "in_u"), [("all", 12), ("rest", 8)])
def test_l_from_a_file_that_train_holds_too(unlabelled: str, in_u: int) -> None:
    """The same problem in both files is one problem, and L's are not in the rest."""
    splits, _, _ = load(
        train=table("t", rows(range(12))), solved=table("solved", rows(range(4))), unlabelled=unlabelled,
        dev=table("dev", rows(range(50, 53))), test=table("test", rows(range(60, 63))),
    )  # fmt: skip
    assert len(splits["unlabelled"]) == len(ids(splits["unlabelled"])) == in_u
    assert len(splits["labelled"]) == 4


def test_one_id_for_two_questions_is_refused() -> None:
    solved = [{**row, "question": "Another?"} for row in rows([3])]
    with pytest.raises(DataError, match=r"d/k003 is one question .*Another.* and another .*What is 3"):
        load(
            train=table("t", rows(range(12))), solved=table("solved", solved),
            dev=table("dev", rows(range(50, 53))), test=table("test", rows(range(60, 63))),
        )  # fmt: skip


def test_train_and_solved_need_not_have_solutions_everywhere() -> None:
    mixed = rows(range(20)) + rows(range(20, 40), solved=False)
    splits, _, _ = load(train=table("t", mixed), labelled="all", dev=2, test=2)
    assert all(int(problem.id[-3:]) < 20 for problem in splits["labelled"])
    assert len(splits["unlabelled"]) == 36
    with pytest.raises(DataError, match="needs 30 problems with solutions"):
        load(out="more", train=table("t", mixed), labelled=30, dev=2, test=2)


def test_labelled_says_how_many_of_the_solved_file_show_their_solutions() -> None:
    splits, _, _ = load(train=table("t", rows(range(30))), solved=table("s", rows(range(100, 110))), labelled=4)
    assert len(splits["labelled"]) == 4
    assert ids(splits["labelled"]) < {f"d/k{number}" for number in range(100, 110)} < ids(splits["unlabelled"])
    with pytest.raises(DataError, match="labelled: 300 needs 300 problems with solutions, but only 10 of 10"):
        load(out="more", train=table("u", rows(range(30))), solved=table("v", rows(range(100, 110))), labelled=300)


@pytest.mark.parametrize("setting", ["dev", "test", "labelled"])
def test_true_is_no_count(setting: str) -> None:
    with pytest.raises(ConfigError):
        load(train=table("t", rows(range(30))), **{setting: True})


@pytest.mark.parametrize("where", ["test", "transfer"])
def test_what_decides_is_not_what_is_reported(where: str) -> None:
    measured = table("m", rows(range(50, 60)))
    settings = {"test": measured} if where == "test" else {"transfer": {"m": measured}}
    with pytest.raises(DataError, match="10 problems stand both in dev and in"):
        load(train=table("t", rows(range(30))), **{"dev": table("n", rows(range(50, 60))), "test": 2, **settings})


@pytest.mark.parametrize("solved", [False, True])
def test_without_any_solution_there_is_nothing_to_start_from(solved: bool) -> None:
    train = table("t", rows(range(20), solved=False))
    extra = {"solved": table("s", rows(range(30, 33), solved=False))} if solved else {}
    with pytest.raises(DataError, match="solution"):
        load(train=train, **extra)


@pytest.mark.parametrize("where", ["dev", "test", "transfer"])
def test_problems_that_train_and_measure_are_refused(where: str) -> None:
    measured = table("m", rows(range(39, 50)))
    settings = {"transfer": {"other": measured}} if where == "transfer" else {where: measured}
    name = "transfer-other" if where == "transfer" else where
    with pytest.raises(DataError, match=rf"1 problems stand both in training and in {name}, such as d/k039"):
        load(train=table("t", rows(range(40))), **{"dev": 1, "test": 1, **settings}, seed=1)


def test_a_question_of_l_that_train_has_under_another_id_is_one_problem() -> None:
    again = [{**row, "key": "other"} for row in rows([3])]
    splits, _, _ = load(
        train=table("t", rows(range(12))), solved=table("solved", again), unlabelled="all",
        dev=table("dev", rows(range(50, 53))), test=table("test", rows(range(60, 63))),
    )  # fmt: skip
    assert ids(splits["labelled"]) == {"d/other"}
    assert ids(splits["unlabelled"]) == {"d/other", *(f"d/k{n:03d}" for n in range(12) if n != 3)}


def test_what_is_held_out_of_train_is_held_out_of_solved_too() -> None:
    everything = rows(range(30))
    splits, _, folder = load(train=table("t", everything), solved=table("solved", everything))
    held = ids(splits["dev"]) | ids(splits["test"])
    assert len(held) == 10
    assert len(splits["labelled"]) == len(splits["unlabelled"]) == 20
    assert not held & ids(splits["labelled"])
    assert "SECRET" not in (folder / "unlabelled.jsonl").read_text()


def test_something_must_be_left_for_self_training() -> None:
    with pytest.raises(DataError, match="no problem is left for self-training"):
        load(train=table("t", rows(range(20))), labelled="all", unlabelled="rest")


def test_held_out_by_share_and_by_sources() -> None:
    splits, _, _ = load(
        train=table("t", rows(range(40))), dev=0.1, test=table("test", rows(range(50, 57))),
        transfer={"b": table("b", rows(range(60, 63))), "a": table("a", rows(range(70, 74)))},
    )  # fmt: skip
    assert {name: len(found) for name, found in splits.items()} == {
        "labelled": 36, "unlabelled": 36, "dev": 4, "test": 7, "transfer-a": 4, "transfer-b": 3,
    }  # fmt: skip


def test_bad_rows_are_refused_or_listed() -> None:
    content = rows(range(30))
    content[3] = {"key": "k003", "question": "", "answer": "4", "solution": "x"}
    content[7] = {"key": "k007", "question": "q", "answer": "4", "solution": "SECRET #### 5"}
    train = table("t", content)
    with pytest.raises(DataError, match=r"t\.jsonl:4: question: is empty"):
        load(train=train, on_bad_rows="refuse")
    splits, metrics, folder = load(out="skipped", train=train, on_bad_rows="skip")
    assert metrics["skipped_rows"] == 2
    listed = json.loads((folder / "skipped.json").read_text())
    assert [(row["line"], row["field"]) for row in listed] == [(4, "question"), (8, "answer")]
    assert len(ids(splits["unlabelled"]) | ids(splits["dev"]) | ids(splits["test"])) == 28
    assert "SECRET #### 5" not in (folder / "skipped.json").read_text()


def test_splits_do_not_depend_on_the_order_of_rows() -> None:
    content = rows(range(40))
    before, _, _ = load(train=table("t", content), labelled=10)
    random.Random(1).shuffle(content)
    after, _, _ = load(out="shuffled", train=table("t", content), labelled=10)
    assert {name: ids(found) for name, found in before.items()} == {name: ids(found) for name, found in after.items()}
    other, _, _ = load(seed=1, out="other", train=table("t", content), labelled=10)
    assert ids(other["labelled"]) != ids(before["labelled"])


def test_a_larger_l_holds_every_smaller_one() -> None:
    train = table("t", rows(range(40)))
    small, _, _ = load(train=train, labelled=5)
    large, _, _ = load(out="large", train=train, labelled=20)
    assert ids(small["labelled"]) < ids(large["labelled"])


@pytest.mark.parametrize("settings", [{"labelled": 0}, {"labelled": 1.5}, {"dev": 0}, {"test": -3}, {"dev": 1.5}])
def test_sizes_that_mean_nothing_are_refused(settings: Row) -> None:
    with pytest.raises(ConfigError, match="neither a count from 1 up nor a fraction"):
        load(train=table("t", rows(range(40))), **settings)
