"""Notation: how a worked solution marks its arithmetic, so that a calculator can write the results.

GSM8K's ``<<expr=result>>`` with newlines, or ``[ expr = result ]`` on one line for vocabularies without ``<`` (T5's has
neither ``<`` nor a newline). Rewriting one into the other is idempotent and changes annotations and newlines only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Notation:
    """One way to write annotations.

    Attributes:
        name: ``angle`` or ``bracket``.
        opening: Text that opens an annotation.
        equals: Text between expression and result.
        closing: Text that ends an annotation.
        newline: What separates the steps of a solution.
    """

    name: str
    opening: str
    equals: str
    closing: str
    newline: str

    def annotate(self, expression: str, result: str) -> str:
        """Write one annotation."""
        return f"{self.opening}{expression}{self.equals}{result}{self.closing}"

    def rewrite(self, solution: str) -> str:
        """Write a solution, given in either notation, in this one.

        Only annotations and newlines change (a newline becomes one space where there is none); idempotent.
        """
        # Newlines first, since one may stand inside an annotation.
        text = solution if self.newline == "\n" else _NEWLINES.sub(self.newline, solution)
        return _ANNOTATION.sub(lambda match: self.annotate(*_parts(match)), text)


ANGLE = Notation("angle", opening="<<", equals="=", closing=">>", newline="\n")
BRACKET = Notation("bracket", opening="[ ", equals=" = ", closing=" ]", newline=" ")
NOTATIONS = {notation.name: notation for notation in (ANGLE, BRACKET)}


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotation of a text, in either notation.

    Attributes:
        start: Where it begins, in characters.
        stop: Where it ends.
        expression: What is computed.
        result: What it is said to be.
    """

    start: int
    stop: int
    expression: str
    result: str


def find_annotations(text: str) -> list[Annotation]:
    """Find the annotations of a text."""
    return [Annotation(*match.span(), *_parts(match)) for match in _ANNOTATION.finditer(text)]


_ANNOTATION = re.compile(r"<<([^<>=\n]*)=([^<>\n]*)>>|\[ ([^\[\]=\n]*) = ([^\[\]\n]*) \]")
_NEWLINES = re.compile(r"(?<![ \t])[ \t]*[\r\n][ \t\r\n]*")  # the lookbehind keeps long blanks linear


def _parts(match: re.Match[str]) -> tuple[str, str]:
    angle_expression, angle_result, bracket_expression, bracket_result = match.groups()
    if angle_expression is not None:
        return angle_expression.strip(), angle_result.strip()
    return bracket_expression.strip(), bracket_result.strip()
