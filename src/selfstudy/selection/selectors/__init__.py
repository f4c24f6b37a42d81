"""Selectors: which right solutions become pseudo-labels.

How many a problem may have depends on all problems, so selection passes over them twice: :func:`survey` counts, then
:func:`examples` chooses. Only one problem's solutions are in memory at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

from pydantic import BeforeValidator

from selfstudy.config import Settings
from selfstudy.errors import PluginError
from selfstudy.judging.audit import sound
from selfstudy.plugins import PluginSpec, load, parse_spec
from selfstudy.selection.candidates import Candidates
from selfstudy.storage.seeding import derive
from selfstudy.types import Completion, Example

FAMILY = "selfstudy.selection.selectors"
SelectorSpec = Annotated[PluginSpec, BeforeValidator(partial(parse_spec, FAMILY))]


class Selector(Settings, ABC):
    """Chooses the solutions to imitate.

    Attributes:
        require_valid_steps: Drop right samples with a step that cannot be right (:mod:`selfstudy.judging.audit`): an
            equation that does not hold, text that says something else than its annotation, a number out of nowhere.
    """

    require_valid_steps: bool = False

    @abstractmethod
    def keep(self, candidates: Candidates) -> list[Completion]:
        """Return the distinct solutions of one problem, whatever the order of the candidates; the gold one first."""

    @abstractmethod
    def cap_from(self, counts: Mapping[int, int]) -> int | None:
        """Return how many solutions a problem may have, the gold one included; None for any number.

        Args:
            counts: How many problems have kept so many solutions (1 or more).
        """


@dataclass(frozen=True, slots=True)
class Survey:
    """What selection comes to, known before any label is written.

    Attributes:
        cap: Solutions a problem may have, the gold one included; None for any number.
        problems: Problems looked at.
        covered: Problems that get at least one pseudo-label.
        right: Right samples looked at.
        unsound: Of these, dropped for a step that cannot be right; 0 where that is not asked for.
        duplicates: Of the others, dropped since they repeat another or the gold solution, or nearly so.
        over_cap: Of those that are left, dropped by the cap.
        kept: Pseudo-labels.
    """

    cap: int | None
    problems: int
    covered: int
    right: int
    unsound: int
    duplicates: int
    over_cap: int
    kept: int


def survey(selector: Selector, problems: Iterable[Candidates]) -> Survey:
    """Count what each problem keeps and settle the cap: the first pass."""
    right = unsound = 0
    shapes: Counter[tuple[int, int]] = Counter()  # (gold solutions, right samples) that a problem keeps
    for candidates in problems:
        gold = int(candidates.gold is not None)
        valid = _valid(selector, candidates)
        shapes[gold, len(_kept(selector, valid)) - gold] += 1
        right += len(candidates.right)
        unsound += len(candidates.right) - len(valid.right)
    counts: Counter[int] = Counter()
    for (gold, samples), number in shapes.items():
        if gold + samples:
            counts[gold + samples] += number
    cap = selector.cap_from(counts)

    distinct = sum(samples * number for (_, samples), number in shapes.items())
    labels = {shape: _room(*shape, cap) for shape in shapes}
    kept = sum(labels[shape] * number for shape, number in shapes.items())
    return Survey(
        cap=cap,
        problems=shapes.total(),
        covered=sum(number for shape, number in shapes.items() if labels[shape]),
        right=right,
        unsound=unsound,
        duplicates=right - unsound - distinct,
        over_cap=distinct - kept,
        kept=kept,
    )


def examples(selector: Selector, problems: Iterable[Candidates], cap: int | None, seed: int) -> Iterator[Example]:
    """Yield the pseudo-labels, problem by problem: the second pass, over the same problems.

    Gold solutions take part in deduplication and in the cap, but are trained on from the problems themselves.

    Args:
        selector: The one that was surveyed with.
        problems: As in the survey.
        cap: Of the survey.
        seed: Of the run.
    """
    for candidates in problems:
        kept = _kept(selector, _valid(selector, candidates))
        for completion in limit(candidates.problem_id, kept, cap, seed):
            if completion.finish != "gold":
                yield Example(candidates.problem_id, completion, "pseudo")


def limit(problem_id: str, kept: Sequence[Completion], cap: int | None, seed: int) -> list[Completion]:
    """Draw at most ``cap`` of a problem's distinct solutions, uniformly; gold ones are always among them.

    The draw is keyed by seed, problem and text. (To take the first in alphabetical order would favour some wordings.)

    Returns:
        What is drawn, in the order of ``kept``.
    """
    gold = [completion for completion in kept if completion.finish == "gold"]
    samples = [completion for completion in kept if completion.finish != "gold"]
    room = _room(len(gold), len(samples), cap)
    drawn = sorted(samples, key=lambda completion: derive(seed, "labels", problem_id, completion.text))[:room]
    texts = {completion.text for completion in drawn}
    return [*gold, *(completion for completion in samples if completion.text in texts)]


def _room(gold: int, samples: int, cap: int | None) -> int:
    return samples if cap is None else min(samples, max(0, cap - gold))


def _valid(selector: Selector, candidates: Candidates) -> Candidates:
    if not selector.require_valid_steps:
        return candidates
    return replace(candidates, right=tuple(one for one in candidates.right if sound(candidates.question, one.text)))


def _kept(selector: Selector, candidates: Candidates) -> list[Completion]:
    kept = selector.keep(candidates)
    gold = [] if candidates.gold is None else [candidates.gold]
    if kept[: len(gold)] != gold or any(completion.finish == "gold" for completion in kept[len(gold) :]):
        raise PluginError(
            f"selector {type(selector).__name__}: problem {candidates.problem_id}: keep() must return the gold "
            f"solution first (there is {'one' if gold else 'none'}), then right samples; received {kept!r:.200}"
        )
    return kept


def load_selector(spec: PluginSpec) -> Selector:
    """Make the selector that ``spec`` names."""
    return load(FAMILY, spec, Selector)


def default_selector() -> PluginSpec:
    """Return the paper's selector: near-duplicates dropped, the 90th percentile as the cap."""
    return parse_spec(FAMILY, "dedup_jaccard")
