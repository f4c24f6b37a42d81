"""What every stage is, frozen settings with a kind, a version and one method; and how stages read their inputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from selfstudy.config import Settings
from selfstudy.errors import StorageError
from selfstudy.models.format import FormatSettings, bind
from selfstudy.models.load import family, load_config, load_tokenizer
from selfstudy.selection.candidates import Candidates
from selfstudy.storage.artifacts import Artifact
from selfstudy.storage.judged import pool
from selfstudy.storage.splits import look_up, stream_split
from selfstudy.types import Context


class Sizes(NamedTuple):
    """What a forecast is made from: problems by split, and the bytes of one copy of the model's weights."""

    problems: Mapping[str, int]
    model_bytes: int


class Forecast(NamedTuple):
    """What a stage is about to do, in words, and about how many bytes it will leave on disk."""

    work: str
    disk: int


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

    @abstractmethod
    def forecast(self, sizes: Sizes) -> Forecast:
        """Say what :meth:`run` is about to do, from sizes alone."""


def one(inputs: Inputs, name: str) -> Artifact:
    """Return the input of which there is exactly one."""
    (artifact,) = inputs[name]
    return artifact


def candidates(inputs: Inputs, settings: FormatSettings) -> Iterator[Candidates]:
    """Pool the judged samples of every problem in U with its gold solution, if it is in L.

    Args:
        inputs: ``samples`` and ``verdicts``, one artifact each a round; ``problems``; and the base ``model``, whose
            tokenizer writes the gold solutions.
        settings: How text is written.

    Raises:
        StorageError: A problem has no samples, or there are samples of another; verdicts and samples do not match.
    """
    folder = one(inputs, "model").path
    format = bind(settings, load_tokenizer(folder), family(load_config(folder)))
    problems = one(inputs, "problems")
    solved = look_up(problems, "labelled")
    ids = (problem.id for problem in stream_split(problems, "unlabelled"))
    pooled = pool(ids, inputs["samples"], inputs["verdicts"])
    for problem, (problem_id, judged) in zip(stream_split(problems, "unlabelled"), pooled, strict=True):
        if not judged:
            raise StorageError(f"no samples of {problem_id} in {inputs['samples'][0].path}; delete it and run again")
        shown = solved.get(problem_id)
        gold = format.gold(shown) if shown is not None else None
        right = tuple(sample.completion for sample, verdict in judged if verdict.outcome == "right")
        wrong = tuple(sample.completion for sample, verdict in judged if verdict.outcome != "right")
        yield Candidates(problem_id, gold, right, wrong, problem.question)
