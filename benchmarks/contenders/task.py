"""What every contender is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from transformers import PreTrainedModel

from selfstudy.models.format import Format
from selfstudy.types import Problem


class Unavailable(Exception):
    """A contender cannot take part; the message says why, and stands in the table."""


@dataclass(frozen=True)
class Task:
    """Completions to draw.

    Attributes:
        model: In the precision of the task.
        format: Of its text.
        folder: Where its weights lie, for engines with a format of their own.
        converted: Where such engines keep them.
        problems: What is asked; ids are unique.
        samples: Of each problem.
        temperature: 0 takes the most likely token.
        max_new_tokens: Of a completion, EOS included.
        rows: Decoded at a time.
        threads: CPU threads.
        endless: No completion ends before ``max_new_tokens``.
    """

    model: PreTrainedModel
    format: Format
    folder: Path
    converted: Path
    problems: tuple[Problem, ...]
    samples: int
    temperature: float
    max_new_tokens: int
    rows: int
    threads: int
    endless: bool = False

    @property
    def dtype(self) -> str:
        """The precision's name."""
        return str(self.model.dtype).removeprefix("torch.")

    @cached_property
    def prompts(self) -> tuple[tuple[int, ...], ...]:
        """The problems as tokens."""
        return tuple(self.format.prompt_ids(problem) for problem in self.problems)

    @property
    def stop(self) -> int:
        """The token that ends a completion; one outside of the vocabulary where none ever ends."""
        if self.endless:
            return int(self.model.get_output_embeddings().weight.shape[0])
        assert self.format.tokenizer.eos_token_id is not None
        return int(self.format.tokenizer.eos_token_id)


@dataclass(frozen=True)
class Drawn:
    """What a contender drew.

    Attributes:
        completions: Of all samples of the first problem, then of the next; with EOS where they ended.
        seconds: From prompts as tokens to completions as tokens.
        forced: Tokens among them that took no draw.
    """

    completions: Sequence[Sequence[int]]
    seconds: float
    forced: int = 0


class Contender(Protocol):
    """An engine with its settings."""

    @property
    def name(self) -> str:
        """What the tables call it."""

    @property
    def calculator(self) -> bool:
        """Whether results of arithmetic are computed while decoding."""

    @property
    def compute_type(self) -> str | None:
        """Precision of its own; None for the task's."""

    def draw(self, task: Task, seed: int) -> Drawn:
        """Draw a task's completions.

        Raises:
            Unavailable: It cannot.
        """


def up_to_stop(completion: Sequence[int], stop: int) -> list[int]:
    """Cut what an engine appends behind EOS."""
    return list(completion[: completion.index(stop) + 1]) if stop in completion else list(completion)
