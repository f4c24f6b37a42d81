"""Judge every sample with the run's one verifier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import ClassVar

from selfstudy.errors import StorageError
from selfstudy.judging.judges import judged_by
from selfstudy.judging.verifiers import VerifierSpec
from selfstudy.stages.base import Forecast, Inputs, Metrics, Sizes, Stage, one
from selfstudy.storage.artifacts import Artifact
from selfstudy.storage.judged import read_samples
from selfstudy.storage.records import appending_records, read_records
from selfstudy.storage.splits import count_split, stream_split
from selfstudy.types import Context, Problem, Sample, Verdict


class Verify(Stage):
    """Writes ``verdicts.jsonl``, one verdict a sample, in the samples' order.

    Verdicts are kept as they come: a verifier of one's own may take its time, and may fail at the last sample.
    """

    kind: ClassVar[str] = "verdicts"
    version: ClassVar[int] = 2  # negative fractions are numbers
    verifier: VerifierSpec
    split: str

    def run(self, inputs: Inputs, out: Path, ctx: Context) -> Metrics:
        """Judge ``samples`` of ``problems``."""
        problems = one(inputs, "problems")
        samples = _with_problems(stream_split(problems, self.split), one(inputs, "samples"))
        outcomes: Counter[str] = Counter()
        path, seen = out / "verdicts.jsonl", ""
        with (
            ctx.progress("verify", count_split(problems, self.split)) as bar,
            appending_records(path, Verdict) as (kept, write),
            judged_by(self.verifier, ctx.verifier_timeout) as judge,
        ):
            before = islice(read_records(path, Verdict), kept)
            for number, verdict in enumerate(chain(before, judge(islice(samples, kept, None)))):  # problem by problem
                if number >= kept:
                    write(verdict)
                outcomes[verdict.outcome] += 1
                share = f"{outcomes['right'] / outcomes.total():.1%}"
                bar.advance(int(verdict.problem_id != seen), **{"pass@1": share})
                seen = verdict.problem_id
        counts = {outcome: outcomes[outcome] for outcome in ("right", "wrong", "unparsed")}
        return {"samples": outcomes.total(), **counts}

    def forecast(self, sizes: Sizes) -> Forecast:
        """Judging is quick."""
        return Forecast("judge the samples", 200 * sizes.problems.get(self.split, 0))


def _with_problems(problems: Iterator[Problem], samples: Artifact) -> Iterator[tuple[Problem, Sample]]:
    """Yield samples, each with its problem; both files have the problems in the same order."""
    problem: Problem | None = None
    for sample in read_samples(samples):
        while problem is None or problem.id != sample.problem_id:
            problem = next(problems, None)
            if problem is None:
                raise StorageError(
                    f"{samples.path}: samples of {sample.problem_id}, which is not among the problems, or out of order"
                )
        yield problem, sample
