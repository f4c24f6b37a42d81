"""Pairs drawn at random: what the choice of :mod:`~selfstudy.selection.pairers.least_similar` is measured against."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from selfstudy.selection.candidates import Candidates, Winners, sides
from selfstudy.selection.pairers import Pairer, make_pair
from selfstudy.storage.seeding import derive
from selfstudy.types import Pair


class Random(Pairer):
    """Draws uniformly among all winner × loser pairs, without replacement.

    Attributes:
        per_problem: Pairs of one problem, at most.
        threshold: On each side, a completion more similar than this to one already kept is dropped.
        winners: ``all``, the ``gold`` solution alone, or right samples (``sample``) alone.
    """

    per_problem: Annotated[int, Field(ge=1)] = 3
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.7
    winners: Winners = "all"

    def pair(self, candidates: Candidates, seed: int) -> list[Pair]:
        """Return the pairs in the order drawn."""
        problem_id = candidates.problem_id
        winners, losers = sides(candidates, self.winners, self.threshold)
        # Texts are distinct on each side, so every pair has its own random rank.
        drawn = sorted(
            ((chosen, rejected) for chosen in winners for rejected in losers),
            key=lambda both: derive(seed, "pairs", problem_id, both[0].text, both[1].text),
        )
        return [make_pair(problem_id, *both) for both in drawn[: self.per_problem]]
