"""All judged solutions of one problem: what pairers and selectors choose from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from selfstudy.selection.similarity import deduplicate
from selfstudy.types import Completion

Winners = Literal["all", "gold", "sample"]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The pooled solutions of one problem, repeats and near-repeats included, in any order.

    Attributes:
        problem_id: Whose solutions they are.
        gold: The worked solution, where there is one that may be used; its ``finish`` is ``gold``, a sample's never.
        right: Samples that the verifier calls right.
        wrong: All other samples, unfinished and unparsed ones included.
        question: Of the problem, for those who read the steps.
    """

    problem_id: str
    gold: Completion | None
    right: tuple[Completion, ...] = ()
    wrong: tuple[Completion, ...] = ()
    question: str = ""

    def __post_init__(self) -> None:
        golden = self.gold is None or self.gold.finish == "gold"
        if not golden or any(sample.finish == "gold" for sample in (*self.right, *self.wrong)):
            raise ValueError(f"problem {self.problem_id}: finish must be 'gold' for the gold solution and for it alone")

    @property
    def solutions(self) -> tuple[Completion, ...]:
        """The gold solution, if any, and the right samples."""
        return self.right if self.gold is None else (self.gold, *self.right)


def sides(candidates: Candidates, winners: Winners, threshold: float) -> tuple[list[Completion], list[Completion]]:
    """Return the winners and the losers that may be paired, each side deduplicated on its own.

    Args:
        candidates: One problem's solutions.
        winners: ``all``, the ``gold`` solution alone, or right samples (``sample``) alone.
        threshold: Of :func:`~selfstudy.selection.similarity.deduplicate`.
    """
    gold = () if candidates.gold is None else (candidates.gold,)
    pool = {"all": candidates.solutions, "gold": gold, "sample": candidates.right}[winners]
    return deduplicate(pool, threshold), deduplicate(candidates.wrong, threshold)
