"""Pretraining on a stream of solved problems, before any fine-tuning."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar, overload

from pydantic import Field, model_validator

from selfstudy.errors import DataError, ModelError
from selfstudy.learning.groups import Item
from selfstudy.learning.logprobs import check_logprobs
from selfstudy.learning.objectives import Imitation
from selfstudy.learning.optim import OptimSettings
from selfstudy.learning.train_log import read_losses
from selfstudy.learning.trainer import train
from selfstudy.models.attention import check_window
from selfstudy.models.compute import Compute
from selfstudy.models.format import Format, FormatSettings, bind
from selfstudy.models.load import family, load_model, load_tokenizer, position_limit, save_model
from selfstudy.problems.mixture import Part, stream
from selfstudy.stages.base import Forecast, Inputs, Metrics, Sizes, Stage, one
from selfstudy.storage.seeding import derive
from selfstudy.types import Context, Group

T = TypeVar("T")

_PATIENCE = 10_000  # documents in a row that are too long
_LAST = 50  # steps whose mean loss is reported


class PretrainSettings(OptimSettings):
    """How a base model is trained; betas, weight decay, clipping and the rate's end are TinyLlama's (arXiv 2401.02385).

    Attributes:
        mixture: Sources of solved problems, with weights.
        max_tokens: Longer documents are left out and counted.
        batch_size: Documents in a step.
    """

    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.95)
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 0.02
    batch_size: Annotated[int, Field(ge=1)] = 64
    mixture: tuple[Part, ...] = Field(min_length=1)
    max_tokens: Annotated[int, Field(ge=2)] = 1024

    @model_validator(mode="after")
    def _counts_steps(self) -> Self:
        if self.max_steps is None:
            raise ValueError("a mixture has no end; set max_steps, and no epochs")
        return self

    @model_validator(mode="after")
    def _learns_everything(self) -> Self:
        for name in ("lora", "order", "mask_forced"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} has no meaning in pretraining; leave it out")
        return self

    @model_validator(mode="after")
    def _keeps_tests_apart(self) -> Self:
        for part in self.mixture:
            if part.source.settings.get("split") in ("dev", "test"):
                raise ValueError(
                    f"mixture: {part.source.name} with split: {part.source.settings['split']} is for measuring; name a "
                    "split for training"
                )
        return self


class Pretrain(Stage):
    """Writes a ``transformers`` folder and ``train_log.jsonl``.

    A causal model learns every token of a document, prompt and solution, but the first; an encoder–decoder learns the
    solution from the prompt. Documents lie behind each other without padding, and none sees another.
    """

    kind: ClassVar[str] = "pretrained"
    settings: PretrainSettings
    format: FormatSettings
    compute: Compute
    seed: int

    def run(self, inputs: Inputs, out: Path, ctx: Context) -> Metrics:
        """Train ``model``; the data files are inputs by content."""
        self.compute.apply()
        base = one(inputs, "model").path
        model, tokenizer = load_model(base, device=self.compute.device), load_tokenizer(base)
        check_window(model, check_logprobs(model), self.settings.max_tokens, "lower pretraining.max_tokens")
        limit = position_limit(model)
        if limit is not None and self.settings.max_tokens > limit:
            raise ModelError(
                f"pretraining.max_tokens={self.settings.max_tokens} exceeds the {limit} positions of "
                f"{type(model).__name__}; lower it"
            )
        format = bind(self.format, tokenizer, family(model))
        seed = derive(self.seed, "pretrain")
        steps = self.settings.max_steps
        assert steps is not None  # the settings see to it
        documents = Documents(self.settings, format, seed, steps * self.settings.batch_size)
        settings = self.settings.model_copy(update={"order": "given"})  # which is random already
        objective = Imitation(documents, Items(len(documents)), name="pretrain")
        facts = train(model, objective, settings, compute=self.compute, seed=seed, workdir=out, ctx=ctx)
        losses = read_losses(out)[-_LAST:]
        metrics = {
            "documents": len(documents),
            "left_out": documents.left_out,
            "loss": sum(losses) / len(losses),
            "parameters": model.num_parameters(),
            **facts.cost,
        }
        shown = {"pretrained on": ", ".join(part.source.name for part in self.settings.mixture), **metrics}
        del shown["parameters"]  # which every card tells
        save_model(model, tokenizer, out, shown)
        format.save(out)
        return metrics

    def forecast(self, sizes: Sizes) -> Forecast:
        """Steps are given."""
        return Forecast(f"{self.settings.max_steps:,} steps of {self.settings.batch_size} documents", sizes.model_bytes)


class _Made(Sequence[T]):
    """A sequence whose items are made when they are asked for."""

    size: int

    def __len__(self) -> int:
        """Return how many there are."""
        return self.size

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        """Return an item, or several."""
        if isinstance(index, slice):
            return [self._make(number) for number in range(*index.indices(self.size))]
        if not 0 <= index < self.size:
            raise IndexError(index)
        return self._make(index)

    @abstractmethod
    def _make(self, index: int) -> T: ...


@dataclass
class Documents(_Made[Group]):
    """Documents of a mixture; only the last few steps' are kept.

    Attributes:
        settings: The mixture, and how long a document may be.
        format: Prompt and solution as tokens.
        seed: Of the mixture.
        size: How many there are.
        left_out: Too long ones before the last that was made.
    """

    settings: PretrainSettings
    format: Format
    seed: int
    size: int
    left_out: int = 0
    _stream: Iterator[Group] | None = None
    _next: int = 0
    _kept: deque[Group] = field(default_factory=deque)

    def _make(self, index: int) -> Group:
        """Return a document; one that is no longer kept is made anew, with all before it."""
        if self._stream is None or index < self._next - len(self._kept):
            self._stream, self._next, self.left_out = self._begin(), 0, 0
            self._kept = deque(maxlen=4 * self.settings.batch_size)
        missing = index + 1 - self._next
        if missing > 0:
            self._kept.extend(islice(self._stream, missing))
            self._next = index + 1
        return self._kept[index - self._next]

    def _begin(self) -> Iterator[Group]:
        skipped = 0
        for number, problem in enumerate(stream(self.settings.mixture, self.seed)):
            if problem.solution is None:
                raise DataError(f"{problem.id} has no solution; pretraining learns from solved problems alone")
            prompt, solution = self.format.prompt_ids(problem), self.format.gold(problem).token_ids
            if skipped > _PATIENCE:
                raise DataError(
                    f"{skipped:,} documents in a row have more than {self.settings.max_tokens} tokens, such as "
                    f"{problem.id}; raise pretraining.max_tokens"
                )
            if len(prompt) + len(solution) > self.settings.max_tokens:
                skipped += 1
                self.left_out += 1
                continue
            skipped = 0
            whole = (*prompt, *solution)
            causal = self.format.family == "causal"
            parts = (whole[:1], whole[1:]) if causal else (prompt, solution)
            yield Group(f"{problem.id}#{number}", parts[0], (parts[1],))

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what other processes make themselves."""
        return {**self.__dict__, "_stream": None, "_kept": deque(), "_next": 0}


@dataclass
class Items(_Made[Item]):
    """One for each document."""

    size: int

    def _make(self, index: int) -> Item:
        return Item(index, (0,))
