"""Draw solutions: shards of problems, each written whole, so that a killed run goes on with those that are missing."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

from pydantic import Field

from selfstudy.generation.engine import SamplingSettings
from selfstudy.generation.solver import load_policy, make_solver
from selfstudy.generation.workers import make_shards
from selfstudy.models.compute import Compute
from selfstudy.models.format import FormatSettings
from selfstudy.stages.base import Forecast, Inputs, Metrics, Sizes, Stage, one
from selfstudy.storage.artifacts import Artifact
from selfstudy.storage.atomic import write_json
from selfstudy.storage.judged import read_samples
from selfstudy.storage.records import write_records
from selfstudy.storage.splits import read_split
from selfstudy.types import Context, Problem, Progress

T = TypeVar("T")


class Draw(Stage):
    """Writes ``part-00000.jsonl`` …: samples ``start`` to ``start + count`` of every problem of a split, in order.

    ``part-00000.json`` says what the hook counted in that shard, how often its batch was halved for want of memory, and
    how many operations it took.

    Attributes:
        purpose: What the samples are for; two purposes never share a draw.
        round: Likewise.
    """

    kind: ClassVar[str] = "samples"
    version: ClassVar[int] = 4  # the calculator writes all places of a decimal that ends
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
        problems = read_split(one(inputs, "problems"), self.split)
        prepare = partial(DrawnShards, self, one(inputs, "model").path, problems, out)
        if len(self.compute.places) > 1:
            self.compute.release()
        with ctx.progress("sample", len(problems) * self.count) as bar:
            make_shards(prepare, self.compute.places, bar)
        return _facts(out)

    def forecast(self, sizes: Sizes) -> Forecast:
        """At most ``max_new_tokens`` for every sample; about 6 bytes of JSON a token."""
        samples = sizes.problems.get(self.split, 0) * self.count
        limit = self.sampling.max_new_tokens
        return Forecast(f"draw {samples:,} samples of at most {limit} tokens", samples * (200 + 6 * limit))


class DrawnShards:
    """The shards of one artifact, with a model that can draw them; a function of the stage and its inputs alone."""

    def __init__(self, stage: Draw, model: Path, problems: Sequence[Problem], out: Path, place: str):
        """Load the model to a place, such as ``cuda:1``.

        Raises:
            ModelError: It cannot be used, or a prompt is too long for it.
        """
        policy, form = load_policy(model, stage.format, stage.compute, place)
        self._solver = make_solver(
            policy, form, stage.sampling, seed=stage.seed, purpose=stage.purpose, round=stage.round
        )
        requests = self._solver.requests(problems, range(stage.start, stage.start + stage.count))
        rows = self._solver.engine.rows(requests)
        self._shards = split_evenly(requests, math.ceil(stage.sampling.batches_per_shard * rows / stage.count))
        self._out, self._count = out, stage.count

    def _path(self, number: int) -> Path:
        return self._out / f"part-{number:05d}.jsonl"

    @property
    def missing(self) -> list[int]:
        """Return the numbers of the shards that are not there."""
        return [number for number in range(len(self._shards)) if not self._path(number).is_file()]

    @property
    def done(self) -> int:
        """Return how many samples are there."""
        missing = sum(len(self._shards[number]) for number in self.missing)
        return (sum(map(len, self._shards)) - missing) * self._count

    def make(self, number: int, bar: Progress) -> None:
        """Draw a shard; its samples come last, since they say that it is complete."""
        engine, path = self._solver.engine, self._path(number)
        counts, halved = dict(engine.counts), engine.halved
        samples = self._solver.draw(self._shards[number], bar)
        # Without zeros: which names are known depends on the shards that this process drew before.
        counted = {name: more for name, count in engine.counts.items() if (more := count - counts.get(name, 0))}
        facts = {
            "counts": counted,
            "halved": engine.halved - halved,
            "flops": self._solver.flops(self._shards[number], samples),
        }
        write_json(path.with_suffix(".json"), facts)
        write_records(path, samples)


def split_evenly(items: Sequence[T], least: int) -> list[Sequence[T]]:
    """Cut ``items`` into ranges of nearly the same length, each at least ``least`` long, unless all are fewer."""
    parts = max(1, len(items) // least)
    return [items[start:stop] for start, stop in pairwise(len(items) * n // parts for n in range(parts + 1))]


def _facts(out: Path) -> Metrics:
    """Count over what was written, so that a resumed run reports the same."""
    finished: Counter[str] = Counter()
    tokens = forced = 0
    for sample in read_samples(Artifact("samples", "", out)):
        finished[sample.completion.finish] += 1
        tokens += len(sample.completion.token_ids)
        forced += sum(stop - start for start, stop in sample.completion.forced)
    own = {"samples": finished.total(), "truncated": finished["length"], "tokens": tokens, "forced_tokens": forced}
    counts: Counter[str] = Counter()
    flops = 0
    degraded: list[str] = []
    for path in sorted(out.glob("part-*.json")):
        facts = json.loads(path.read_text(encoding="ascii"))
        counts.update(facts["counts"])
        flops += facts["flops"]
        degraded += [path.stem] * bool(facts["halved"])
    mark = {"degraded": True, "degraded_shards": degraded} if degraded else {}
    return {**own, "flops": flops, **{name: count for name, count in counts.items() if name not in own}, **mark}
