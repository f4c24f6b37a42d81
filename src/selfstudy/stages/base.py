"""What every stage is: frozen settings with a kind, a version and one method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from selfstudy.config import Settings
from selfstudy.storage.artifacts import Artifact
from selfstudy.storage.records import read_records
from selfstudy.types import Context, Problem

Inputs = Mapping[str, tuple[Artifact, ...]]
Metrics = dict[str, Any]


class Stage(Settings, ABC):
    """A step of a recipe: a pure function of its settings and inputs, up to what ``ctx`` shows on the way.

    Attributes:
        kind: Names the artifact.
        version: Raised when the meaning of the output changes, so that old artifacts are not taken for new ones.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1

    @abstractmethod
    def run(self, inputs: Inputs, out: Path, ctx: Context) -> Metrics:
        """Fill ``out`` with files and return JSON metrics.

        ``out`` may hold what a killed attempt left: whole files are to be trusted, since they are written atomically.
        Sub-folders are scratch (checkpoints) and are gone when the artifact is published.
        """

    def check(self) -> None:
        """Fail early, before any compute, where settings cannot work."""


def one(inputs: Inputs, name: str) -> Artifact:
    """Return the input of which there is exactly one."""
    (artifact,) = inputs[name]
    return artifact


def read_split(problems: Artifact, split: str) -> list[Problem]:
    """Read one split of a problems artifact, in its order."""
    return list(read_records(problems.path / f"{split}.jsonl", Problem))
