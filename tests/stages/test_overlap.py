"""What is taught and measured: counted for every split, listed, and refused where it is too much."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from selfstudy.errors import DataError
from selfstudy.stages.overlap import FindOverlap
from selfstudy.types import SILENT, Problem
from tests.stages.builders import artifact, read_lines


def question(number: int) -> str:
    return f"Tom buys {number} apples at the market and gives 3 of them to his sister. How many does he have now?"


def problems(name: str, numbers: Sequence[int], *, edit: bool = False) -> list[Problem]:
    return [
        Problem(f"{name}/{n:03d}", question(n).replace("his sister", "her") if edit else question(n), "7")
        for n in numbers
    ]


SPLITS = {
    "labelled": problems("t", range(10)),
    "unlabelled": problems("t", range(5, 30)),
    "dev": problems("d", range(100, 120)),
    "test": problems("m", [*range(200, 299), 7]),
    "transfer-x": problems("m", [*range(300, 400), 28], edit=True),
}


def run(folder: Path, splits: dict[str, list[Problem]], max_overlap: float = 0.01, **settings: Any) -> dict[str, Any]:
    out = folder / "out"
    out.mkdir()
    given = {"problems": (artifact(folder / "problems", splits),)}
    return FindOverlap(max_overlap=max_overlap, **settings).run(given, out, SILENT)


def test_every_split_is_counted_and_what_overlaps_is_listed(tmp_path: Path) -> None:
    assert run(tmp_path, SPLITS) == {
        "exact": 1,
        "near": 1,
        "splits": {
            "dev": {"n": 20, "exact": 0, "near": 0},
            "test": {"n": 100, "exact": 1, "near": 0},
            "transfer-x": {"n": 101, "exact": 0, "near": 1},
        },
        "in_dev": {"test": 0, "transfer-x": 0},
    }
    same, near = read_lines(tmp_path / "out" / "overlap.jsonl")
    assert same == {
        "split": "test",
        "asked_in": "training",
        "id": "m/007",
        "other_id": "t/007",
        "kind": "exact",
        "similarity": 1.0,
    }
    assert (near["split"], near["id"], near["other_id"], near["kind"]) == ("transfer-x", "m/028", "t/028", "near")
    assert 0.5 <= near["similarity"] < 1


@pytest.mark.parametrize("split", ["dev", "test", "transfer-x"])
def test_more_than_is_allowed_is_refused_with_names_and_a_remedy(split: str, tmp_path: Path) -> None:
    splits = SPLITS | {split: problems("m", [*range(500, 599), 3, 4], edit=True)}
    with pytest.raises(DataError) as caught:
        run(tmp_path, splits)
    said = str(caught.value)
    assert said.startswith(
        f"2 of 101 problems of {split} are asked in training too, in the same words or nearly: m/003 ("
    )
    for part in ("near t/003", "m/004", "Tom buys 3 apples", "max_overlap=0.01", "overlap.jsonl", "raise max_overlap"):
        assert part in said
    # All are listed where the error says so.
    listed = [line["id"] for line in read_lines(tmp_path / "out" / "overlap.jsonl") if line["split"] == split]
    assert listed == ["m/003", "m/004"]


@pytest.mark.parametrize("split", ["test", "transfer-x"])
def test_dev_decides_so_that_what_measures_must_not_be_in_it(split: str, tmp_path: Path) -> None:
    """A copy of the test file given as dev, under another name."""
    splits = SPLITS | {split: problems("m", [*range(500, 598), 100, 101], edit=True)}
    with pytest.raises(DataError, match=f"2 of 100 problems of {split} are asked in dev too.*near d/100"):
        run(tmp_path, splits)
    (tmp_path / "allowed").mkdir()
    assert run(tmp_path / "allowed", splits, max_overlap=0.02)["in_dev"][split] == 2
    lines = [line for line in read_lines(tmp_path / "allowed" / "out" / "overlap.jsonl") if line["asked_in"] == "dev"]
    assert [(line["split"], line["id"], line["other_id"]) for line in lines] == [
        (split, "m/100", "d/100"),
        (split, "m/101", "d/101"),
    ]


def test_it_is_measured_where_it_is_allowed(tmp_path: Path) -> None:
    splits = SPLITS | {"dev": problems("d", range(10))}
    assert run(tmp_path, splits, max_overlap=1)["splits"]["dev"] == {"n": 10, "exact": 10, "near": 0}


def test_what_is_pretrained_on_is_compared_instead(tmp_path: Path) -> None:
    rows = "".join(f'{{"question": "{question(n)}", "answer": "1"}}\n' for n in (100, 101, 250))
    (tmp_path / "read.jsonl").write_text(rows + '{"question": "", "answer": "1"}\n')
    part = {"source": {"name": "tabular", "path": str(tmp_path / "read.jsonl"), "limit": 2}}
    found = run(tmp_path, SPLITS, max_overlap=0.1, mixture=[part])
    assert found["splits"]["dev"] == {"n": 20, "exact": 2, "near": 0}
    assert found["exact"] + found["near"] == 2
