"""The paper's pairs: the most different winner and loser show most clearly what to prefer."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from selfstudy.selection.candidates import Candidates, Winners, sides
from selfstudy.selection.pairers import Pairer, make_pair
from selfstudy.selection.similarity import jaccard, token_set
from selfstudy.types import Pair


class LeastSimilar(Pairer):
    """Keeps the least similar of all winner × loser pairs; ties by the chosen, then the rejected text.

    Attributes:
        per_problem: Pairs of one problem, at most.
        threshold: On each side, a completion more similar than this to one already kept is dropped.
        winners: ``all``, the ``gold`` solution alone, or right samples (``sample``) alone.
    """

    per_problem: Annotated[int, Field(ge=1)] = 3
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.7
    winners: Winners = "all"

    def pair(self, candidates: Candidates, seed: int) -> list[Pair]:
        """Return the pairs, least similar first; ``seed`` is not needed."""
        winners, losers = sides(candidates, self.winners, self.threshold)
        losing = [(rejected, token_set(rejected)) for rejected in losers]
        scored = [
            (jaccard(tokens, other), chosen, rejected)
            for chosen, tokens in ((chosen, token_set(chosen)) for chosen in winners)
            for rejected, other in losing
        ]
        scored.sort(key=lambda pair: (pair[0], pair[1].text, pair[2].text))
        return [make_pair(candidates.problem_id, *both) for _, *both in scored[: self.per_problem]]
