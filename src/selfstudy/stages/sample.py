"""Draw solutions: shards of problems, each written whole, so that a killed run goes on with the next."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from selfstudy.generation.engine import SamplingSettings
from selfstudy.generation.solver import load_solver
from selfstudy.models.compute import Compute
from selfstudy.models.format import FormatSettings
from selfstudy.stages.base import Forecast, Inputs, Metrics, Sizes, Stage, one, read_split
from selfstudy.storage.artifacts import Artifact
from selfstudy.storage.judged import read_samples
from selfstudy.storage.records import write_records
from selfstudy.types import Context

# A shard is drawn as one piece of work: long enough that its tail, with few rows left, does not count.
ROWS_PER_SHARD = 2048


class Draw(Stage):
    """Writes ``part-00000.jsonl`` …: samples ``start`` to ``start + count`` of every problem of a split, in order.

    Attributes:
        purpose: What the samples are for; two purposes never share a draw.
        round: Likewise.
    """

    kind: ClassVar[str] = "samples"
    sampling: SamplingSettings
    format: FormatSettings
    compute: Compute
    seed: int
    purpose: str
    round: int
    split: str
    start: Annotated[int, Field(ge=0)] = 0
    count: Annotated[int, Field(ge=1)] = 1

    def run(self, inputs: Inputs, out: Path, ctx: Context) -> Metrics:
        """Draw from ``model`` for ``problems``."""
        solver = load_solver(
            one(inputs, "model").path,
            self.format,
            self.sampling,
            self.compute,
            seed=self.seed,
            purpose=self.purpose,
            round=self.round,
        )
        problems = read_split(one(inputs, "problems"), self.split)
        requests = solver.requests(problems, range(self.start, self.start + self.count))
        per_shard = max(1, ROWS_PER_SHARD // self.count)
        with ctx.progress("sample", len(requests) * self.count) as bar:
            for number, first in enumerate(range(0, len(requests), per_shard)):
                path = out / f"part-{number:05d}.jsonl"
                shard = requests[first : first + per_shard]
                if path.is_file():
                    bar.advance(len(shard) * self.count)
                else:
                    write_records(path, solver.draw(shard, bar))
        return _facts(out)

    def forecast(self, sizes: Sizes) -> Forecast:
        """At most ``max_new_tokens`` for every sample; about 6 bytes of JSON a token."""
        samples = sizes.problems.get(self.split, 0) * self.count
        limit = self.sampling.max_new_tokens
        return Forecast(f"draw {samples:,} samples of at most {limit} tokens", samples * (200 + 6 * limit))


def _facts(out: Path) -> Metrics:
    """Count over what was written, so that a resumed run reports the same."""
    finished: Counter[str] = Counter()
    tokens = forced = 0
    for sample in read_samples(Artifact("samples", "", out)):
        finished[sample.completion.finish] += 1
        tokens += len(sample.completion.token_ids)
        forced += sum(stop - start for start, stop in sample.completion.forced)
    return {"samples": finished.total(), "truncated": finished["length"], "tokens": tokens, "forced_tokens": forced}
