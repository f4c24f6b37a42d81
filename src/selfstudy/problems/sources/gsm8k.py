"""GSM8K (Cobbe et al. 2021): grade-school problems with worked solutions.

Reads the files of the self-training papers (``train.jsonl``, ``dev.jsonl``, ``test.jsonl`` with a number ``ans``) and
the official ones, which have no ``ans`` and no dev split. The answer is the last ``#### value``; where ``ans``
is there as well, the two must agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from selfstudy.config import Place
from selfstudy.errors import DataError
from selfstudy.judging.answers import ensure_answer_line, find_answer, values_equal
from selfstudy.problems.files import AbsentError, Hub, PublishedSource, locate
from selfstudy.problems.rows import BadRow, FieldError, Row, number_of, problems_from, read_rows, text_of
from selfstudy.types import Problem


class Gsm8k(PublishedSource):
    """One split of GSM8K.

    Attributes:
        split: Which file. The official release has no ``dev``.
        path: The file, or the folder that holds it; else ``gsm8k/`` in SELFSTUDY_DATA, else the Hub.
    """

    split: Literal["train", "dev", "test"] = "train"
    path: Place | None = None

    def _locate(self, *, download: bool) -> tuple[Path, ...]:
        """Return the split's file (or files, from the Hub)."""
        # The Hub holds the official release; its train rows are the papers' train and dev rows together.
        hub = None if self.split == "dev" else Hub("openai/gsm8k", (f"main/{self.split}*",))
        try:
            return locate("gsm8k", (f"{self.split}.jsonl",), self.path, hub, download=download)
        except AbsentError as error:
            if hub is not None:
                raise
            hint = "the official release has no dev split: with it, problems.dev=700 holds as many out of train"
            raise AbsentError(f"{error}; {hint}") from None

    def read(self) -> Iterator[Problem | BadRow]:
        """Yield the problems; ids are ``gsm8k/<split>/<line from 0>``."""
        files = self.files()
        if len(files) != 1:
            raise DataError(f"gsm8k: one file a split is expected, found {', '.join(map(str, files))}")
        return problems_from(read_rows(files[0], ("question", "answer")), self._problem)

    def _problem(self, row: Row) -> Problem:
        solution = text_of(row, "answer")
        answer = find_answer(solution)
        if row.values.get("ans") is not None:
            stated = number_of(row, "ans")
            if answer is None:
                answer = stated
            elif not values_equal(answer, stated):
                raise FieldError("ans", f"is {stated}, but the solution ends in #### {answer}")
        if answer is None:
            raise FieldError("answer", "has no last line '#### number', and there is no field ans")
        return Problem(
            id=f"gsm8k/{self.split}/{row.line - 1:05d}",
            question=text_of(row, "question"),
            answer=answer,
            solution=ensure_answer_line(solution, answer),
        )
