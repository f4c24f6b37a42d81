"""A verifier of one's own: the answer must be right, and so must all arithmetic on the way to it."""

from __future__ import annotations

import re

from selfstudy import Judgement, Problem, Verifier
from selfstudy.judging.answers import find_answer, normalise, values_equal
from selfstudy.judging.expressions import calculate
from selfstudy.judging.notation import ANGLE

_ANNOTATION = re.compile(r"<<([^<>=]*)=([^<>]*)>>")


class Checked(Verifier):
    """Right when the answer is, and every annotation states what the calculator would write.

    Attributes:
        min_annotations: A solution with fewer annotations is wrong: its answer may be a lucky guess.
    """

    min_annotations: int = 1

    def verify(self, problem: Problem, text: str) -> Judgement:
        """Judge the last ``#### number``, then the annotations in either notation."""
        found = find_answer(text)
        if found is None:
            return Judgement("unparsed", None, "no line '#### number'")
        if not values_equal(found, problem.answer):
            return Judgement("wrong", found, f"{found} is not {problem.answer}")
        annotations = _ANNOTATION.findall(ANGLE.rewrite(text))
        if len(annotations) < self.min_annotations:
            return Judgement("wrong", found, f"{len(annotations)} annotations, {self.min_annotations} are needed")
        for expression, stated in annotations:
            result = calculate(expression)
            if result is None or normalise(stated) is None or not values_equal(result, stated):
                return Judgement("wrong", found, f"{expression} is {result}, not {stated}")
        return Judgement("right", found, f"{found}, by {len(annotations)} checked steps")
