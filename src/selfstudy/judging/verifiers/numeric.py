"""Right when the final number is within a tolerance of the problem's."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated

from pydantic import Field

from selfstudy.errors import DataError
from selfstudy.judging.answers import DEFAULT_FINDER, AnswerFinder, near, normalise
from selfstudy.judging.verifiers import Judgement, Verifier
from selfstudy.types import Problem


class Numeric(Verifier):
    """Compares numbers, exactly: ``1,800.0`` is ``$1800``.

    Attributes:
        tolerance: Differences below it are none; with 0 the numbers must be equal.
        finder: How solutions state their answer.
    """

    tolerance: Annotated[float, Field(ge=0)] = 1e-4
    finder: AnswerFinder = DEFAULT_FINDER

    @property
    def bounded(self) -> bool:
        """As the finder is."""
        return self.finder.bounded

    def verify(self, problem: Problem, text: str) -> Judgement:
        """Judge ``text`` by its last stated number.

        Raises:
            DataError: The problem's own answer is not a number.
        """
        wanted = normalise(problem.answer)
        if wanted is None:
            raise DataError(
                f"{problem.id}: its answer {problem.answer!r:.80} is not a number; set verifier: exact, or choice"
            )
        raw = self.finder.find(text)
        if raw is None:
            return Judgement("unparsed", None, f"no answer found by {self.finder.pattern}")
        found = normalise(raw)
        if found is None:
            return Judgement("unparsed", None, f"{raw!r:.80} is not one number")
        if near(Fraction(found), Fraction(wanted), self.tolerance):
            return Judgement("right", found, f"{found} equals {wanted}")
        return Judgement("wrong", found, f"{found} is not {wanted}")
