"""Judged samples, problem by problem: sample and verdict artifacts read side by side, in bounded memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from selfstudy.errors import StorageError
from selfstudy.storage.artifacts import Artifact
from selfstudy.storage.records import read_records
from selfstudy.types import Sample, Verdict

Judged = tuple[Sample, Verdict]


def read_samples(artifact: Artifact) -> Iterator[Sample]:
    """Read a sample artifact in order: problem by problem, index by index."""
    for part in sorted(artifact.path.glob("part-*.jsonl")):
        yield from read_records(part, Sample)


def read_judged(samples: Artifact, verdicts: Artifact) -> Iterator[Judged]:
    """Read samples with their verdicts.

    Raises:
        StorageError: A verdict is missing or belongs to another sample.
    """
    judged = read_records(verdicts.path / "verdicts.jsonl", Verdict)
    for sample, verdict in itertools.zip_longest(read_samples(samples), judged):
        here = sample and (sample.problem_id, sample.index)
        there = verdict and (verdict.problem_id, verdict.index)
        if here != there:
            raise StorageError(f"{verdicts.path}: verdict for {there} stands where {samples.path} has sample {here}")
        yield sample, verdict


def pool(
    problem_ids: Iterable[str], samples: Sequence[Artifact], verdicts: Sequence[Artifact]
) -> Iterator[tuple[str, list[Judged]]]:
    """Pool the judged samples of several artifacts, such as those of all rounds so far.

    Args:
        problem_ids: The problems in the order in which every artifact has them; one may lack some.
        samples: Sample artifacts.
        verdicts: The verdicts of each, in the same order.

    Yields:
        Every problem's id with its samples, artifact by artifact.
    """
    streams = [
        itertools.groupby(read_judged(*both), key=lambda judged: judged[0].problem_id)
        for both in zip(samples, verdicts, strict=True)
    ]
    heads = [next(stream, None) for stream in streams]
    for problem_id in problem_ids:
        pooled: list[Judged] = []
        for number, head in enumerate(heads):
            if head is not None and head[0] == problem_id:
                pooled.extend(head[1])
                heads[number] = next(streams[number], None)
        yield problem_id, pooled
    for artifact, head in zip(samples, heads, strict=True):
        if head is not None:
            raise StorageError(
                f"{artifact.path}: samples of {head[0]}, which is not among the problems, or out of order"
            )
