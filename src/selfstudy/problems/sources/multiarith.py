"""MultiArith (Roy and Roth 2015): 600 problems of several steps, a test set without solutions.

Reads the published JSON (a list of objects with ``iIndex``, ``sQuestion`` and ``lSolutions``, a list of one number) and
the Hub's form (``question``, ``final_ans``; 420 and 180 problems in two files).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Literal

from selfstudy.config import Place
from selfstudy.problems.files import Hub, PublishedSource, locate
from selfstudy.problems.rows import BadRow, FieldError, Row, number_of, problems_from, read_rows, text_of
from selfstudy.types import Problem


class Multiarith(PublishedSource):
    """All problems of MultiArith.

    Attributes:
        split: There is only ``test``.
        path: ``MultiArith.json`` or its folder; else ``multiarith/`` in SELFSTUDY_DATA, else the Hub.
    """

    split: Literal["test"] = "test"
    path: Place | None = None

    def _locate(self, *, download: bool) -> tuple[Path, ...]:
        """Return the file (two from the Hub)."""
        hub = Hub("ChilleD/MultiArith", ("*train*", "*test*"))
        return locate("multiarith", ("MultiArith.json",), self.path, hub, download=download)

    def read(self) -> Iterator[Problem | BadRow]:
        """Yield the problems; ids are ``multiarith/test/<iIndex>``, from the Hub ``multiarith/test/<file>-<row>``."""
        return problems_from(chain.from_iterable(map(read_rows, self.files())), _problem)


def _problem(row: Row) -> Problem:
    if "final_ans" in row.values:
        part = Path(row.file).stem.split("-")[0]
        return Problem(
            id=f"multiarith/test/{part}-{row.line - 1:05d}",
            question=" ".join(text_of(row, "question").split()),
            answer=number_of(row, "final_ans"),
        )
    solutions = row.values.get("lSolutions")
    if not isinstance(solutions, list) or len(solutions) != 1:
        raise FieldError("lSolutions", f"a list of one number is needed, received {solutions!r:.80}")
    only = Row(row.file, row.line, {"lSolutions": solutions[0]})
    return Problem(
        id=f"multiarith/test/{text_of(row, 'iIndex')}",
        question=" ".join(text_of(row, "sQuestion").split()),
        answer=number_of(only, "lSolutions"),
    )
