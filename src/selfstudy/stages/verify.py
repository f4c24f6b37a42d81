"""Judge every sample with the run's one verifier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from selfstudy.judging.judges import judged_by
from selfstudy.judging.verifiers import VerifierSpec
from selfstudy.stages.base import Forecast, Inputs, Metrics, Sizes, Stage, one, read_split
from selfstudy.storage.judged import read_samples
from selfstudy.storage.records import write_records
from selfstudy.types import Context, Verdict


class Verify(Stage):
    """Writes ``verdicts.jsonl``, one verdict a sample, in the samples' order."""

    kind: ClassVar[str] = "verdicts"
    verifier: VerifierSpec
    split: str

    def run(self, inputs: Inputs, out: Path, ctx: Context) -> Metrics:
        """Judge ``samples`` of ``problems``."""
        problems = {problem.id: problem for problem in read_split(one(inputs, "problems"), self.split)}
        samples = ((problems[sample.problem_id], sample) for sample in read_samples(one(inputs, "samples")))
        outcomes: Counter[str] = Counter()

        def counted(verdicts: Iterator[Verdict]) -> Iterator[Verdict]:
            seen = ""
            for verdict in verdicts:  # problem by problem
                outcomes[verdict.outcome] += 1
                bar.advance(
                    int(verdict.problem_id != seen), **{"pass@1": f"{outcomes['right'] / outcomes.total():.1%}"}
                )
                seen = verdict.problem_id
                yield verdict

        with (
            ctx.progress("verify", len(problems)) as bar,
            judged_by(self.verifier, ctx.verifier_timeout) as judge,
        ):
            count = write_records(out / "verdicts.jsonl", counted(judge(samples)))
        return {"samples": count, **{outcome: outcomes[outcome] for outcome in ("right", "wrong", "unparsed")}}

    def forecast(self, sizes: Sizes) -> Forecast:
        """Judging is quick."""
        return Forecast("judge the samples", 200 * sizes.problems.get(self.split, 0))
