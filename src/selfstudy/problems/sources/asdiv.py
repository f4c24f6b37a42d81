"""ASDiv (Miao et al. 2020): 2305 diverse problems as XML.

Kept are the items with one numeric answer. The rule: ``Answer``, stripped, is one number and nothing else, or one
number followed by one parenthesised unit. A number has an optional minus sign, digits with optional thousands
commas and decimal places, and optionally a fraction's denominator, the fraction perhaps in parentheses:
``9 (apples)``, ``0.46 (dollars)``, ``383``, ``5/2``, ``-(1/3)``. Left out are several values (``8; 40``), clock times
and ratios (``5:45``, ``2:3``), ordinals and dates (``6th``), names, and yes or no. This keeps n = 2093 of 2305
(Wang, Li and Lu 2024 used 2096 and give no rule).

Worked solutions are built from ``Formula`` (``11-(2*3)=5``), a line for each operation with its annotation, where it is
arithmetic whose exact value is the answer.

The folds are those of ASDiv-A, the arithmetic subset of 1218 items, in five files of ids beside the XML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self
from xml.parsers import expat

from pydantic import Field, model_validator

from selfstudy.config import Place
from selfstudy.errors import DataError
from selfstudy.judging.expressions import MAX_DIGITS, ExpressionError, exact_places, format_result, steps
from selfstudy.problems.files import Hub, PublishedSource, locate
from selfstudy.problems.rows import BadRow, Row, number_of, problems_from, read_rows, text_of
from selfstudy.problems.sources.svamp import join_question
from selfstudy.types import Problem

_NUMBER = r"(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)"
_ONE_NUMBER = re.compile(rf"(?P<value>-?(?:{_NUMBER}(?:/\d+)?|\({_NUMBER}(?:/\d+)?\)))\s*(?:\((?P<unit>[^;]*)\))?")
_FOLDS = 5


class Asdiv(PublishedSource):
    """ASDiv, or a part of ASDiv-A's folds.

    Attributes:
        split: There is only ``test``.
        fold: None for all of ASDiv; else a fold of ASDiv-A, from 0.
        part: With a ``fold``: the problems it holds out, the rest of ASDiv-A, or all of ASDiv-A.
        path: ``ASDiv.xml`` (the fold files beside it) or its folder; else ``asdiv/`` in SELFSTUDY_DATA, else the Hub
            (without folds, since the ids are not there).
    """

    split: Literal["test"] = "test"
    fold: int | None = Field(None, ge=0, lt=_FOLDS)
    part: Literal["held_out", "rest", "all"] = "all"
    path: Place | None = None

    @model_validator(mode="after")
    def _part_needs_fold(self) -> Self:
        if self.fold is None and self.part != "all":
            raise ValueError(f"part: {self.part} says nothing without fold: 0 to {_FOLDS - 1}")
        return self

    def _locate(self, *, download: bool) -> tuple[Path, ...]:
        """Return the XML file, followed by the fold files that are needed."""
        if self.fold is None:
            folds = range(0)
            hub = Hub("EleutherAI/asdiv", ("*validation*",))
        else:
            folds = range(self.fold, self.fold + 1) if self.part == "held_out" else range(_FOLDS)
            hub = None
        names = ("ASDiv.xml", *(f"asdiv-a.fold{n}.txt" for n in folds))
        return locate("asdiv", names, self.path, hub, download=download)

    def read(self) -> Iterator[Problem | BadRow]:
        """Yield the problems with one numeric answer; ids are ``asdiv/test/<ID>``."""
        first, *others = self.files()
        rows = _read_xml(first) if first.suffix == ".xml" else _lower_case(read_rows(first))
        if self.fold is not None:
            folds = {file.name: _ids(file) for file in others}
            wanted = frozenset[str]().union(*folds.values())
            if self.part == "rest":
                wanted -= folds[f"asdiv-a.fold{self.fold}.txt"]
            rows = (row for row in rows if isinstance(row, BadRow) or row.values.get("ID") in wanted)
        return problems_from((row for row in rows if isinstance(row, BadRow) or _has_one_number(row)), _problem)


def _ids(fold: Path) -> frozenset[str]:
    try:
        return frozenset(fold.read_text(encoding="utf-8").split())
    except UnicodeDecodeError as error:
        raise DataError(f"{fold}: not UTF-8 text ({error}); fetch it again") from None


def _has_one_number(row: Row) -> bool:
    answer = row.values.get("Answer")  # a missing or empty one is a bad row, not one to leave out
    return not isinstance(answer, str) or not answer.strip() or _ONE_NUMBER.fullmatch(answer.strip()) is not None


def _problem(row: Row) -> Problem:
    match = _ONE_NUMBER.fullmatch(text_of(row, "Answer"))
    assert match is not None  # _has_one_number
    value = Row(row.file, row.line, {"Answer": match["value"].replace("(", "").replace(")", "")})
    answer = number_of(value, "Answer")
    formula = row.values.get("Formula")
    # Without the formula, which is the solution and would stand in a problem whose solution may not be seen.
    meta: dict[str, Any] = {"type": row.values.get("Solution-Type")}
    if match["unit"]:
        meta["unit"] = match["unit"].strip()
    return Problem(
        id=f"asdiv/test/{text_of(row, 'ID')}",
        question=join_question(text_of(row, "Body"), text_of(row, "Question")),
        answer=answer,
        solution=_solution(formula, answer) if isinstance(formula, str) else None,
        meta={key: text for key, text in meta.items() if text},
    )


def _solution(formula: str, answer: str) -> str | None:
    """Work a formula such as ``(3+4)*2=14`` out; None where it is not arithmetic that gives the answer exactly."""
    try:
        done = steps(formula.partition("=")[0])
    except ExpressionError:
        return None
    numbers = [number for left, _, right, value in done for number in (left, right, value)]
    if not done or any(exact_places(number, MAX_DIGITS) is None for number in numbers):
        return None
    lines = []
    for left, sign, right, value in done:
        a, b, result = (format_result(number) for number in (left, right, value))
        lines.append(f"{a} {sign} {b} = <<{a}{sign}{b}={result}>>{result}")
    return "\n".join([*lines, f"#### {answer}"]) if format_result(done[-1][3]) == answer else None


def _lower_case(rows: Iterator[Row | BadRow]) -> Iterator[Row | BadRow]:
    """Give the Hub's columns (body, solution_type, …) the names of the XML, and row numbers for ids."""
    names = ("Body", "Question", "Answer", "Formula", "Solution-Type")
    for row in rows:
        if isinstance(row, Row):
            values = {name: row.values.get(name.lower().replace("-", "_")) for name in names}
            yield Row(row.file, row.line, {"ID": f"{row.line - 1:05d}", **values})
        else:
            yield row


def _read_xml(path: Path) -> Iterator[Row | BadRow]:
    """Read every ``Problem`` element.

    A document type is refused: it is the door to entity expansion and to other files, and ASDiv has none.
    """
    rows: list[Row] = []
    current: dict[str, str] = {}
    text: list[str] = []
    line = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal current, line
        text.clear()
        if name == "Problem":
            current, line = dict(attributes), parser.CurrentLineNumber

    def end(name: str) -> None:
        if name == "Problem":
            rows.append(Row(str(path), line, current))
        else:
            current[name] = "".join(text).strip()

    def refuse(*_: object) -> None:
        raise DataError(f"{path}:{parser.CurrentLineNumber}: a document type is refused; remove <!DOCTYPE …>")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text.append
    parser.StartDoctypeDeclHandler = refuse
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
    except expat.ExpatError as error:
        raise DataError(f"{path}:{error.lineno}: not XML: {expat.ErrorString(error.code)}") from None
    return iter(rows)
