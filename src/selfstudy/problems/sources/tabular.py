"""Any table of questions and answers: JSONL, JSON, CSV or Parquet, column names configurable."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from selfstudy.config import Place
from selfstudy.errors import DataError
from selfstudy.judging.answers import DEFAULT_FINDER, ensure_answer_line, normalise, values_equal
from selfstudy.problems.rows import BadRow, FieldError, Row, problems_from, read_rows, text_of
from selfstudy.problems.sources import ProblemSource
from selfstudy.types import Problem

# Numbers and nothing else: "Room 3" is a text. A leading zero ("007") is a code, not a number.
_NUMERIC = re.compile(
    r"[-+−]?\s*[$€£]?\s*[-+−]?(?:(?:0|[1-9][\d,]*)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,3})?(?:\s*/\s*\d+)?\s*%?\.?"
)


class Tabular(ProblemSource):
    """A file of one's own.

    Attributes:
        path: The file; ``.jsonl``, ``.json`` (one array), ``.csv`` or ``.parquet``.
        dataset: What ids begin with; the file's name without suffix by default.
        question: Column of the question.
        answer: Column of the final answer; None to take it from the last ``#### value`` of the solution.
        solution: Column of the worked solution, where there is one; an empty cell means that this row has none.
        id: Column of a unique id; by default the number of its line, from 0.
        answers: ``auto`` normalises what is a number and keeps any other text (for the verifiers exact and choice);
            ``number`` refuses rows whose answer is none; ``text`` keeps every answer as it is.
    """

    path: Place
    dataset: str = ""
    question: str = "question"
    answer: str | None = "answer"
    solution: str | None = None
    id: str | None = None
    answers: Literal["auto", "number", "text"] = "auto"

    @model_validator(mode="before")
    @classmethod
    def _default_dataset(cls, values: Any) -> Any:
        # Written into the settings, since ids depend on it and the path itself enters no fingerprint.
        if isinstance(values, dict) and not values.get("dataset") and isinstance(values.get("path"), str):
            return {**values, "dataset": Path(values["path"]).stem}
        return values

    @model_validator(mode="after")
    def _answer_or_solution(self) -> Tabular:
        if self.answer is None and self.solution is None:
            raise ValueError("answer: null takes answers from the solutions, so it needs the solution: column")
        return self

    def files(self) -> tuple[Path, ...]:
        """Return the file."""
        path = Path(self.path).expanduser()
        if not path.is_file():
            raise DataError(f"{self.path}: no such file (looked in {Path.cwd()})")
        return (path,)

    def read(self) -> Iterator[Problem | BadRow]:
        """Yield the problems; ids are ``<dataset>/<id>``."""
        needed = tuple(name for name in (self.question, self.answer, self.solution, self.id) if name is not None)
        return problems_from(read_rows(self.files()[0], needed), self._problem)

    def _problem(self, row: Row) -> Problem:
        solution = self._solution(row)
        answer = self._answer(row, solution)
        key = f"{row.line - 1:05d}" if self.id is None else text_of(row, self.id)
        return Problem(
            id=f"{self.dataset}/{key}",
            question=text_of(row, self.question),
            answer=answer,
            solution=None if solution is None else ensure_answer_line(solution, answer),
        )

    def _solution(self, row: Row) -> str | None:
        value = None if self.solution is None else row.values.get(self.solution)
        if self.solution is None or value is None or (isinstance(value, str) and not value.strip()):
            return None
        return text_of(row, self.solution)

    def _answer(self, row: Row, solution: str | None) -> str:
        stated = None if solution is None else DEFAULT_FINDER.find(solution)
        if self.answer is not None:
            answer = self._form(text_of(row, self.answer), self.answer)
            if stated and normalise(answer) and normalise(stated) and not values_equal(answer, stated):
                raise FieldError(self.answer, f"is {answer}, but the solution ends in #### {stated:.80}")
            return answer
        assert self.solution is not None
        if stated is None:
            raise FieldError(self.solution, "has no last line '#### answer', and no answer column is set")
        return self._form(stated, self.solution)

    def _form(self, text: str, field: str) -> str:
        number = None if self.answers == "text" else normalise(text)
        if self.answers == "number" and number is None:
            raise FieldError(field, f"is no number, received {text!r:.80}")
        if self.answers == "auto" and not _NUMERIC.fullmatch(text):
            return text
        return number or text
