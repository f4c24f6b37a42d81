"""Right when the final answer is the problem's, as mathematics: 1/2 is 0.5, and x(x+1) is x² + x.

The package math-verify (the extra ``math``) parses and compares. Its own time limits are switched off: they rest on
signals and count as wrong what took too long, while the worker that asks this verifier has a clock.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from selfstudy.errors import DataError
from selfstudy.judging.answers import DEFAULT_FINDER, AnswerFinder
from selfstudy.judging.verifiers import Judgement, Verifier
from selfstudy.types import Problem

logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its limits are off


class MathVerify(Verifier):
    r"""Compares expressions in LaTeX or plain text: ``\frac{1}{2}`` is ``0.5``, ``(x+1)^2`` is ``x^2+2x+1``.

    Attributes:
        digits: Decimals to which numbers must agree.
        finder: How solutions state their answer.
    """

    digits: Annotated[int, Field(ge=0)] = 6
    finder: AnswerFinder = DEFAULT_FINDER

    @model_validator(mode="after")
    def _is_installed(self) -> Self:
        if find_spec("math_verify") is None:
            raise ValueError("needs the package math-verify: pip install 'selfstudy[math]'")
        return self

    def verify(self, problem: Problem, text: str) -> Judgement:
        """Judge ``text`` by its last stated answer.

        Raises:
            DataError: The problem's own answer is no expression.
        """
        from math_verify import verify

        wanted = _parsed(problem.answer)
        if not wanted:
            raise DataError(
                f"{problem.id}: its answer {problem.answer!r:.80} is no mathematical expression; set verifier: exact, "
                "or choice"
            )
        raw = self.finder.find(text)
        if raw is None:
            return Judgement("unparsed", None, f"no answer found by {self.finder.pattern}")
        found = _parsed(raw)
        if not found:
            return Judgement("unparsed", None, f"{raw!r:.80} is no mathematical expression")
        equal = verify(wanted, found, float_rounding=self.digits, timeout_seconds=None, raise_on_error=True)
        return Judgement("right" if equal else "wrong", str(found[0]), f"{raw!r:.80} against {problem.answer!r:.80}")


def _parsed(answer: str) -> list[Any]:
    """Return the expression that ``answer`` is; empty where it is none."""
    from math_verify import parse

    return list(parse(rf"\boxed{{{answer}}}", fallback_mode="no_fallback", parsing_timeout=None, raise_on_error=True))
