"""SVAMP (Patel et al. 2021): one- and two-step problems written to defeat shallow cues.

The body often ends without a full stop ("If there are 7 peaches"): body and question are then joined by a comma after
a clause that the question completes, else by a full stop.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Literal

from selfstudy.config import Place
from selfstudy.problems.files import Hub, PublishedSource, locate
from selfstudy.problems.rows import BadRow, Row, number_of, problems_from, read_rows, text_of
from selfstudy.types import Problem

_CLAUSE = re.compile(r"(?:^|[.?!]\s+)(?:If|When|After|Given)\b[^.?!]*$")
_OPENERS = ("How", "What", "About", "Together", "Total")  # first words that are no names


def join_question(body: str, question: str) -> str:
    """Join the two halves of a problem into running text, white space made single."""
    body, question = " ".join(body.split()), " ".join(question.split())
    if not body or body.endswith((".", "?", "!", '"')):
        return f"{body} {question}".strip()
    body = body.rstrip(" ,")
    if _CLAUSE.search(body):
        if question.startswith(_OPENERS):
            question = question[0].lower() + question[1:]
        return f"{body}, {question}"
    return f"{body}. {question}"


class Svamp(PublishedSource):
    """All 1000 problems; a test set, without solutions.

    Attributes:
        split: There is only ``test``.
        path: ``SVAMP.json`` or its folder; else ``svamp/`` in SELFSTUDY_DATA, else the Hub.
    """

    split: Literal["test"] = "test"
    path: Place | None = None

    def _locate(self, *, download: bool) -> tuple[Path, ...]:
        """Return the file (two from the Hub, where 700 and 300 problems lie apart)."""
        hub = Hub("ChilleD/SVAMP", ("*train*", "*test*"))
        return locate("svamp", ("SVAMP.json",), self.path, hub, download=download)

    def read(self) -> Iterator[Problem | BadRow]:
        """Yield the problems; ids are ``svamp/test/<ID>``."""
        needed = ("ID", "Body", "Question", "Answer")
        return problems_from(chain.from_iterable(read_rows(file, needed) for file in self.files()), _problem)


def _problem(row: Row) -> Problem:
    return Problem(
        id=f"svamp/test/{text_of(row, 'ID')}",
        question=join_question(text_of(row, "Body"), text_of(row, "Question")),
        answer=number_of(row, "Answer"),
        # Without the equation, which is the solution and would stand in a problem whose solution may not be seen.
        meta={"type": text_of(row, "Type")} if row.values.get("Type") else {},
    )
