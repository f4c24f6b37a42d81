"""Right when the final answer is the problem's, as text."""

from __future__ import annotations

from selfstudy.errors import DataError
from selfstudy.judging.answers import DEFAULT_FINDER, AnswerFinder
from selfstudy.judging.verifiers import Judgement, Verifier
from selfstudy.types import Problem


class Exact(Verifier):
    """Compares text after white space is reduced to single spaces between words.

    Attributes:
        ignore_case: Whether ``Paris`` is ``paris``.
        finder: How solutions state their answer.
    """

    ignore_case: bool = True
    finder: AnswerFinder = DEFAULT_FINDER

    @property
    def bounded(self) -> bool:
        """As the finder is."""
        return self.finder.bounded

    def verify(self, problem: Problem, text: str) -> Judgement:
        """Judge ``text`` by its last stated answer.

        Raises:
            DataError: The problem's own answer is empty.
        """
        wanted = self._plain(problem.answer)
        if not wanted:
            raise DataError(f"{problem.id}: its answer is empty; give it one or leave the problem out")
        found = self._plain(self.finder.find(text) or "")
        if not found:
            return Judgement("unparsed", None, f"no answer found by {self.finder.pattern}")
        if found == wanted:
            return Judgement("right", found, f"{found!r:.80} is the answer")
        return Judgement("wrong", found, f"{found!r:.80} is not {wanted!r:.80}")

    def _plain(self, answer: str) -> str:
        plain = " ".join(answer.split())
        return plain.casefold() if self.ignore_case else plain
