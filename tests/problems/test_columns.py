"""Which column is what: tables as people have them."""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from selfstudy.errors import DataError
from selfstudy.problems.columns import guess_roles, survey_columns

QUESTION = "Tom has 3 apples and eats one. How many are left?"
WORKED = "He has 3 - 1 = <<3-1=2>>2 apples."


def write(tmp_path: Path, *records: Any, copies: int = 4) -> Path:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records * copies))
    return path


def roles(path: Path, **given: str) -> tuple[str, str | None, str | None]:
    found = guess_roles(path, *survey_columns(path), given)
    return found.question, found.answer, found.solution


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"question": QUESTION, "answer": "2"}, ("question", "answer", None)),
        ({"id": "1", "problem": QUESTION, "answer": "2", "solution": WORKED}, ("problem", "answer", "solution")),
        ({"question": QUESTION, "answer": f"{WORKED}\n#### 2"}, ("question", None, "answer")),
        ({"question": QUESTION, "answer": f"{WORKED}\n#### 2", "final_answer": 2},
         ("question", "final_answer", "answer")),
        ({"sQuestion": QUESTION, "correctAnswer": "2", "lSolution": WORKED},
         ("sQuestion", "correctAnswer", "lSolution")),
        ({"question": QUESTION, "rationale": WORKED, "correct": "B", "options": ["A)1", "B)2"]},
         ("question", "correct", "rationale")),
        ({"question_type": "word", "question": QUESTION, "answer_type": "int", "answer": 2},
         ("question", "answer", None)),
        ({"nr": 7, "frage": QUESTION, "ergebnis": 2}, ("frage", "ergebnis", None)),
        ({"instruction": QUESTION, "input": "x", "output": "2"}, ("instruction", "output", None)),
        ({"text": QUESTION, "label": 2}, ("text", "label", None)),
        ({"question": QUESTION, "answer": 2, "solution": "short"}, ("question", "answer", None)),
        ({"question": QUESTION, "answer": 2, "worked": "He has 3 - 1 = <<3-1=2>>2."}, ("question", "answer", "worked")),
    ],
)  # fmt: skip
def test_tables_as_people_have_them(row: dict[str, Any], expected: tuple[str, ...], tmp_path: Path) -> None:
    assert roles(write(tmp_path, row)) == expected


def test_what_is_said_counts(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"question": QUESTION, "answer": 2, "other": QUESTION, "grade": 3, "notes": "He has 3 - 1 = 2 of them."},
    )
    assert roles(path) == ("question", "answer", None)
    assert roles(path, question="other", answer="grade", solution="notes") == ("other", "grade", "notes")
    found = guess_roles(path, *survey_columns(path), {"answer": "grade"})
    assert found.why == {"answer": "as you said", "question": "by its name"}


def test_a_column_that_most_rows_lack_is_no_question(tmp_path: Path) -> None:
    path = write(tmp_path, {"question": "", "task": QUESTION, "answer": 2}, {"task": QUESTION, "answer": 2})
    assert roles(path) == ("task", "answer", None)


def test_two_that_could_be_it_are_asked_about(tmp_path: Path) -> None:
    path = write(tmp_path, {"question": QUESTION, "first": 2, "second": 3, "flag": True})
    with pytest.raises(DataError) as raised:
        roles(path)
    assert "no column is clearly the answer" in str(raised.value)
    assert "first (4 texts of 1 characters on average), second" in str(raised.value)
    assert "flag (lists or the like, not texts)" in str(raised.value)
    assert "--answer COLUMN" in str(raised.value)
    assert roles(path, answer="second") == ("question", "second", None)


def test_cells_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path, {"a": "why?", "b": 10}, {"a": " ", "b": None}, {"a": ["x"], "c": "#### 7"}, copies=1)
    rows, columns = survey_columns(path)
    assert rows == 3
    found = {column.name: astuple(column)[1:] for column in columns}
    assert found == {"a": (1, 1, 4, 4, 1, 0, 0, 0), "b": (1, 0, 2, 2, 0, 1, 0, 0), "c": (1, 0, 6, 6, 0, 1, 1, 0)}


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("question,answer\n")
    with pytest.raises(DataError, match="holds no row"):
        survey_columns(tmp_path / "empty.csv")
    (tmp_path / "list.jsonl").write_text("[1, 2]\n3\n")
    with pytest.raises(DataError, match="holds no row"):
        survey_columns(tmp_path / "list.jsonl")
