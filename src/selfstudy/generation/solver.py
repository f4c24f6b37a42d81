"""A model ready to answer problems: weights, tokenizer, form and engine put together once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from transformers import PreTrainedModel

from selfstudy.evaluation.ledger import forward_flops
from selfstudy.generation.engine import Engine, Request, SamplingSettings
from selfstudy.models.compute import Compute
from selfstudy.models.format import Format, FormatSettings, bind
from selfstudy.models.load import family, load_model, load_tokenizer
from selfstudy.models.stacks import stacks
from selfstudy.types import Problem, Progress, Sample


@dataclass(frozen=True)
class Solver:
    """Draws solutions of problems."""

    engine: Engine
    format: Format

    def requests(self, problems: Sequence[Problem], indices: range) -> list[Request]:
        """Return what is to be drawn: samples ``indices`` of every problem.

        Raises:
            ModelError: A prompt is too long for the model; names the problems.
        """
        requests = [Request(problem.id, self.format.prompt_ids(problem), indices) for problem in problems]
        self.engine.check(requests)
        return requests

    def draw(self, requests: Sequence[Request], bar: Progress | None = None) -> list[Sample]:
        """Draw samples, in the order of the requests."""
        return self.engine.generate(requests, bar)

    @property
    def halved(self) -> int:
        """How often memory ran out, so that what was drawn then is equal to rounding only."""
        return self.engine.halved

    def flops(self, requests: Sequence[Request], samples: Sequence[Sample]) -> int:
        """Return the operations that it takes to draw ``samples``, which are all of ``requests`` and in their order."""
        decoder, encoder = stacks(self.engine.model)
        lengths = iter([len(sample.completion.token_ids) for sample in samples])
        return sum(
            forward_flops(decoder, len(request.prompt_ids), list(islice(lengths, len(request.indices))), encoder)
            for request in requests
        )


def make_solver(
    model: PreTrainedModel, format: Format, sampling: SamplingSettings, *, seed: int, purpose: str, round: int = 0
) -> Solver:
    """Put a model that is in memory to work; draws depend on ``seed``, ``purpose`` and ``round``."""
    engine = Engine(
        model, format.tokenizer, sampling, notation=format.notation, seed=seed, purpose=purpose, round=round
    )
    return Solver(engine, format)


def load_policy(
    folder: Path, settings: FormatSettings, compute: Compute, place: str | None = None
) -> tuple[PreTrainedModel, Format]:
    """Load a model folder, to ``place`` (as torch names it) rather than ``compute.device`` where that is given."""
    compute.apply(place)
    model = load_model(folder, dtype=compute.dtype, device=place or compute.device)
    return model, bind(settings, load_tokenizer(folder), family(model))
