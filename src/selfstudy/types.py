"""The nouns of the project: small frozen values that flow from stage to stage.

Problems are matched by id, never by row number. Token ids travel with completions, since re-tokenising sampled text
would train on other tokens than were sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Finish = Literal["stop", "length", "gold"]
Outcome = Literal["right", "wrong", "unparsed"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A question whose answer can be checked.

    Attributes:
        id: Unique over all data sets, such as ``gsm8k/train/00042``.
        question: What the model is asked, without any prompt template.
        answer: The final value, normalised by :mod:`selfstudy.judging.answers`.
        solution: A worked solution in GSM8K's notation, where there is one.
        meta: Anything else a source wants to keep (a type, a unit, test cases); JSON values only.
    """

    id: str
    question: str
    answer: str
    solution: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Completion:
    """What stands after the prompt.

    Attributes:
        text: The decoded text, without the end-of-sequence token.
        token_ids: The tokens as drawn or forced. The end-of-sequence token is the last one when ``finish`` is ``stop``
            or ``gold``, and absent when it is ``length``: exactly the tokens that are labels in training.
        forced: Half-open spans ``[start, stop)`` of ``token_ids`` that a hook wrote, in order, not touching.
        finish: ``stop`` (the model ended it), ``length`` (it was cut) or ``gold`` (a worked solution from the data).
    """

    text: str
    token_ids: tuple[int, ...]
    forced: tuple[tuple[int, int], ...] = ()
    finish: Finish = "stop"


@dataclass(frozen=True, slots=True)
class Sample:
    """One drawn completion of a problem; ``logprob`` is the untempered log-probability (nats) of the drawn tokens."""

    problem_id: str
    index: int
    completion: Completion
    logprob: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says of one sample; ``unparsed`` means that no answer was found, which is not right either."""

    problem_id: str
    index: int
    outcome: Outcome
    extracted: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A winner and a loser for the same problem; ``similarity`` is the Jaccard similarity of their token sets."""

    problem_id: str
    chosen: Completion
    rejected: Completion
    chosen_from: Literal["gold", "sample"]
    similarity: float


@dataclass(frozen=True, slots=True)
class Example:
    """A completion to imitate: a gold solution, or a pseudo-label that a model found."""

    problem_id: str
    completion: Completion
    source: Literal["gold", "pseudo"]


@dataclass(frozen=True, slots=True)
class Group:
    """One prompt with its completions: the unit of training; sampling's counterpart is a request.

    Attributes:
        problem_id: Whose prompt it is; named in errors.
        prompt_ids: Prompt tokens; the encoder's input for encoder–decoder models.
        completions: Token ids of each completion.
        uncounted: Half-open spans of each completion's tokens that no loss counts; empty: all tokens count.
    """

    problem_id: str
    prompt_ids: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...] = ()
    uncounted: tuple[tuple[tuple[int, int], ...], ...] = ()

    def counted(self, index: int) -> int:
        """Return how many tokens of a completion a loss counts."""
        spans = self.uncounted[index] if self.uncounted else ()
        return len(self.completions[index]) - sum(stop - start for start, stop in spans)


class Progress(Protocol):
    """A bar that a long loop moves."""

    def advance(self, amount: int = 1, **shown: float | str) -> None:
        """Move by ``amount`` units; ``shown`` values stand beside the bar."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a stage may use but what can never change its result: progress, events, checkpoint interval.

    Attributes:
        emit: ``emit(event, fields)`` writes one line of the run's ``events.jsonl``.
        progress: ``with progress(description, total) as bar`` shows a bar.
        checkpoint_every: Optimizer steps between checkpoints.
        verifier_timeout: Seconds that a verifier in a worker process may take for a verdict; then the run stops.
    """

    emit: Callable[[str, Mapping[str, Any]], None]
    progress: Callable[[str, int], AbstractContextManager[Progress]]
    checkpoint_every: int = 50
    verifier_timeout: float = 10.0


class _Still:
    """A bar that nobody sees."""

    def advance(self, amount: int = 1, **shown: float | str) -> None:
        """Do nothing."""


# For library use and tests: no bar, no events.
SILENT = Context(emit=lambda event, fields: None, progress=lambda description, total: nullcontext(_Still()))


class _Described(Protocol):
    @property
    def about(self) -> Mapping[str, str]: ...


def count_shown(steps: Iterable[_Described]) -> int:
    """Count steps as they are shown and numbered: what is part of another one counts with it."""
    return sum("part_of" not in step.about for step in steps)
