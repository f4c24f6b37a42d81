"""Right when the chosen letter is the problem's."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

from selfstudy.errors import DataError
from selfstudy.judging.answers import DEFAULT_FINDER, AnswerFinder
from selfstudy.judging.verifiers import Judgement, Verifier
from selfstudy.types import Problem

_INTRODUCTION = re.compile(r"(?:the )?(?:correct |right )?(?:answer|option|choice)(?: is)? ?[:=]? ?", re.IGNORECASE)
# B · b. · (B) · [b] · **B** · B) 42 apples; "A dog" is no choice, since nothing sets the letter apart.
_LETTER = re.compile(r"""(?:\\text|[\s(\[{*$"'`])*+(?P<letter>[A-Za-z])(?:\s?[)\]}]|[*$"'`.:,!]|\s*$)""")
# A second letter, set apart likewise: (B) or (C) · A, B · A) and c.
_ANOTHER = re.compile(r"[(\[][A-Za-z][)\]]|(?:[,;&/]|\band|\bor) ?[A-Za-z](?:[)\]}.]| ?$)", re.IGNORECASE)


class Choice(Verifier):
    """Compares letters: ``B``, ``b.``, ``(B)``, ``Answer: b`` and ``B) 42 apples`` are the same choice.

    Attributes:
        letters: The options, in capitals.
        finder: How solutions state their answer.
    """

    letters: Annotated[str, Field(pattern="^[A-Z]+$")] = "ABCDE"
    finder: AnswerFinder = DEFAULT_FINDER

    @property
    def bounded(self) -> bool:
        """As the finder is."""
        return self.finder.bounded

    def verify(self, problem: Problem, text: str) -> Judgement:
        """Judge ``text`` by its last stated choice.

        Raises:
            DataError: The problem's own answer is none of the letters.
        """
        wanted = self._letter(problem.answer)
        if wanted is None:
            raise DataError(
                f"{problem.id}: its answer {problem.answer!r:.80} is none of the letters {self.letters}; "
                "set the verifier's letters, or another verifier"
            )
        raw = self.finder.find(text)
        if raw is None:
            return Judgement("unparsed", None, f"no answer found by {self.finder.pattern}")
        found = self._letter(raw)
        if found is None:
            return Judgement("unparsed", None, f"{raw!r:.80} names no one letter of {self.letters}")
        if found == wanted:
            return Judgement("right", found, f"{found} is the answer")
        return Judgement("wrong", found, f"{found} is not {wanted}")

    def _letter(self, answer: str) -> str | None:
        plain = " ".join(answer.split())
        introduction = _INTRODUCTION.match(plain)
        match = _LETTER.match(plain, introduction.end() if introduction else 0)
        if match is None or _ANOTHER.search(plain, match.end("letter")):
            return None
        letter = match["letter"].upper()
        return letter if letter in self.letters else None
