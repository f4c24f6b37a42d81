"""What the learning tests share: a context that records, random groups, and both model families."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from selfstudy.learning.groups import Item
from selfstudy.learning.losses.dpo import Dpo
from selfstudy.learning.objectives import Imitation, Preference
from selfstudy.learning.optim import OptimSettings
from selfstudy.learning.reference import reference_logps
from selfstudy.models.compute import Compute
from selfstudy.types import Context, Group
from tests.fakes import tiny_llama, tiny_t5

VOCAB = 60


@dataclass
class Recorder:
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    advanced: int = 0

    def emit(self, event: str, fields: Mapping[str, Any]) -> None:
        self.events.append((event, dict(fields)))

    @contextmanager
    def progress(self, description: str, total: int) -> Iterator[Recorder]:
        yield self

    def advance(self, amount: int = 1, **shown: float | str) -> None:
        self.advanced += amount


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small only lose by threads; the sums then also have one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def make_ctx(recorder: Recorder) -> Callable[[int], Context]:
    return lambda checkpoint_every: Context(recorder.emit, recorder.progress, checkpoint_every)


@pytest.fixture
def ctx(make_ctx: Callable[[int], Context]) -> Context:
    return make_ctx(1000)


@pytest.fixture
def compute() -> Compute:
    return Compute(device="cpu", threads=1)


def make_model(family: str, **changes: object) -> PreTrainedModel:
    """Weights large enough for outputs to vary, small enough for bfloat16 to be near."""
    return (
        tiny_llama(VOCAB, **changes) if family == "causal" else tiny_t5(VOCAB, **{"initializer_factor": 1.5} | changes)
    )


@pytest.fixture(params=["causal", "seq2seq"])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(family: str) -> PreTrainedModel:
    return make_model(family)


def random_groups(count: int, completions: int, *, seed: int = 0, longest: int = 9) -> tuple[Group, ...]:
    """Ragged prompts and completions, token 0 (the models' pad) and 1 (their EOS) among them."""
    generator = torch.Generator().manual_seed(seed)

    def draw() -> tuple[int, ...]:
        length = int(torch.randint(1, longest + 1, (), generator=generator))
        return tuple(torch.randint(0, VOCAB, (length,), generator=generator).tolist())

    return tuple(Group(f"p/{n}", draw(), tuple(draw() for _ in range(completions))) for n in range(count))


def all_items(groups: tuple[Group, ...]) -> tuple[Item, ...]:
    return tuple(Item(g, (c,)) for g, group in enumerate(groups) for c in range(len(group.completions)))


def all_pairs(groups: tuple[Group, ...]) -> tuple[Item, ...]:
    """Completion 0 against each of the others."""
    return tuple(Item(g, (0, c)) for g, group in enumerate(groups) for c in range(1, len(group.completions)))


# Of what the tests of the loop learn from.
GROUPS = random_groups(4, 3)
KILLED = RuntimeError("killed")


def settings(**changes):
    return OptimSettings(**{"learning_rate": 1e-3, "batch_size": 5, "max_steps": 6, "tokens_per_batch": 60} | changes)


def sft():
    return Imitation(GROUPS, all_items(GROUPS))


def dpo(model, compute, ctx, **changes):
    reference = reference_logps(model, GROUPS, 100, compute, ctx)
    return Preference(GROUPS, all_pairs(GROUPS), reference, Dpo(**changes))


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def as_bytes(model):
    return {name: parameter.detach().numpy().tobytes() for name, parameter in model.named_parameters()}
