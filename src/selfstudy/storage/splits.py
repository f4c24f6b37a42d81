"""The splits of a problems artifact: a file of JSON lines each."""

from __future__ import annotations

from collections.abc import Iterator

from selfstudy.storage.artifacts import Artifact
from selfstudy.storage.records import ProblemsById, read_records
from selfstudy.types import Problem


def read_split(problems: Artifact, split: str) -> list[Problem]:
    """Read one split of a problems artifact, in its order."""
    return list(stream_split(problems, split))


def stream_split(problems: Artifact, split: str) -> Iterator[Problem]:
    """Read one split problem by problem; memory does not grow with it."""
    return read_records(problems.path / f"{split}.jsonl", Problem)


def count_split(problems: Artifact, split: str) -> int:
    """Return how many problems a split has."""
    with (problems.path / f"{split}.jsonl").open("rb") as file:
        return sum(1 for _ in file)


def look_up(problems: Artifact, split: str) -> ProblemsById:
    """Return the problems of a split by id."""
    return ProblemsById(problems.path / f"{split}.jsonl")
