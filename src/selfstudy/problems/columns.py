"""Which columns of a file of one's own are question, answer and worked solution: a guess by name and by content."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from selfstudy.errors import DataError, did_you_mean
from selfstudy.judging.answers import DEFAULT_FINDER, normalise
from selfstudy.judging.notation import find_annotations
from selfstudy.problems.rows import BadRow, FieldError, Row, read_rows, text_of

# In order of preference. A name also counts where it ends in one of these: "math_question", "correctAnswer".
_QUESTION = ("question", "problem", "prompt", "query", "instruction", "input", "task", "exercise", "text", "body")
_ANSWER = (
    *("final_answer", "answer", "gold", "target", "label", "result", "expected", "correct"),
    *("output", "response", "completion", "key", "value"),
)
_SOLUTION = (
    *("solution", "rationale", "explanation", "reasoning", "chain_of_thought", "cot", "derivation", "working"),
    *("steps", "proof", "thought", "completion", "response"),
)
_ID = {"id", "idx", "index", "uid", "uuid", "row", "no", "nr", "number", "unnamed"}
_LONG = 20  # characters; a question is longer on average, a bare answer is not
_LETTER = re.compile(r"\(?[A-Za-z][).]?")


@dataclass
class Column:
    """What stands in one column, over all rows.

    Attributes:
        name: As the file has it.
        texts: Cells with a text or a number.
        others: Cells with a list, an object or a truth value, of which no text is made.
        characters: Of all texts together.
        longest: Characters of the longest text.
        asking: Texts with a question mark.
        short: Texts that are one number, or one letter.
        marked: Texts that state an answer as GSM8K does: ``#### 42``.
        annotated: Texts that mark their arithmetic as GSM8K does: ``<<3+4=7>>``.
    """

    name: str
    texts: int = 0
    others: int = 0
    characters: int = 0
    longest: int = 0
    asking: int = 0
    short: int = 0
    marked: int = 0
    annotated: int = 0

    @property
    def mean(self) -> float:
        """Return the characters of a text on average."""
        return self.characters / self.texts if self.texts else 0.0

    @property
    def states_answers(self) -> bool:
        """Whether most texts end in a marked answer."""
        return 2 * self.marked > self.texts

    def __str__(self) -> str:
        if self.texts:
            return f"{self.name} ({self.texts:,} texts of {self.mean:,.0f} characters on average)"
        return f"{self.name} ({'lists or the like, not texts' if self.others else 'empty'})"

    def take(self, row: Row) -> None:
        """Count the row's cell."""
        try:
            text = text_of(row, self.name)
        except FieldError:  # whether that makes the row unusable is for the source to say
            self.others += not isinstance(row.values[self.name], str | None)
            return
        self.texts += 1
        self.characters += len(text)
        self.longest = max(self.longest, len(text))
        self.asking += "?" in text
        self.short += len(text) <= _LONG and (normalise(text) is not None or bool(_LETTER.fullmatch(text)))
        self.marked += DEFAULT_FINDER.find(text) is not None
        self.annotated += bool(find_annotations(text))


@dataclass(frozen=True)
class Roles:
    """Which columns are what.

    Attributes:
        question: The column of the question.
        answer: That of the answer; None where solutions state it.
        solution: That of the worked solution, if there is one.
        why: How each of them was found, by the role's name.
    """

    question: str
    answer: str | None
    solution: str | None
    why: Mapping[str, str]


def survey_columns(path: Path) -> tuple[int, list[Column]]:
    """Read a file once; return how many rows it has and its columns, in the file's order.

    Raises:
        DataError: It cannot be read, or holds no row.
    """
    columns: dict[str, Column] = {}
    rows, bad = 0, ""
    for row in read_rows(path):
        rows += 1
        if isinstance(row, BadRow):
            bad = bad or f"; the first that cannot be used: {row}"
        else:
            for name in row.values:
                columns.setdefault(name, Column(name)).take(row)
    if not columns:
        raise DataError(f"{path}: holds no row with columns{bad}")
    return rows, list(columns.values())


def guess_roles(path: Path, rows: int, columns: Sequence[Column], given: Mapping[str, str]) -> Roles:
    """Guess which columns are question, answer and solution.

    Args:
        path: Named in errors.
        rows: Of the file.
        columns: Its columns.
        given: What the user says: ``question``, ``answer`` or ``solution`` to a column's name.

    Raises:
        DataError: A given column is not there, or no column looks like the question, or like the answer; lists them.
    """
    names = [column.name for column in columns]
    for role, name in given.items():
        if name not in names:
            raise DataError(f"{path}: --{role} {name}: no such column{did_you_mean(name, names)}")
    why = dict.fromkeys(given, "as you said")
    taken = set(given.values())
    usual = [column for column in columns if 2 * column.texts >= rows]  # those that every row may well have

    def found(role: str, *ways: tuple[str, Iterable[Column]]) -> str | None:
        if role in given:
            return given[role]
        for how, some in ways:
            for column in some:
                if column.name not in taken:
                    taken.add(column.name)
                    why[role] = how
                    return column.name
        return None

    question = found(
        "question",
        ("by its name", (c for c in _named(_QUESTION, usual) if not c.states_answers)),
        ("by its content", _only([c for c in usual if c.mean >= _LONG and 2 * c.asking > c.texts], taken)),
        ("by its content", _only([c for c in usual if c.mean >= _LONG and not c.states_answers], taken)),
    )
    if question is None:
        raise _unclear(path, "question", columns)
    stating = [column for column in columns if column.states_answers]
    solution = found(
        "solution",
        ("by its name and its lines #### answer", _named(_SOLUTION, stating)),
        ("by its lines #### answer", stating),
        ("by its name", (c for c in _named(_SOLUTION, columns) if c.mean >= _LONG)),
        ("by its marked arithmetic", (c for c in columns if 2 * c.annotated > c.texts)),
    )
    answer = found("answer", ("by its name", _named(_ANSWER, usual)))
    if answer is None and solution not in {column.name for column in stating}:
        bare = [c for c in usual if 10 * c.short >= 9 * c.texts and _words(c.name)[-1] not in _ID]
        answer = found("answer", ("by its content", _only(bare, taken)))
        if answer is None:
            raise _unclear(path, "answer", columns)
    return Roles(question, answer, solution, why)


def _words(name: str) -> list[str]:
    """Split ``finalAnswer``, ``final_answer`` and ``Final answer`` alike."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)] or [name.lower()]


def _named(wanted: Sequence[str], columns: Sequence[Column]) -> list[Column]:
    """Return the columns whose whole name is a wanted word, then those whose name ends in one."""
    whole = [c for word in wanted for c in columns if "_".join(_words(c.name)) == word]
    ending = [c for word in wanted for c in columns if "_".join(_words(c.name)).endswith(f"_{word}")]
    return [*whole, *ending]


def _only(columns: Sequence[Column], taken: Collection[str]) -> list[Column]:
    """Return the one column that is left; of several, none is a guess worth making."""
    left = [column for column in columns if column.name not in taken]
    return left if len(left) == 1 else []


def _unclear(path: Path, role: str, columns: Sequence[Column]) -> DataError:
    remedy = f"say which: --{role} COLUMN; what lies inside of lists or objects must become columns of its own first"
    return DataError(f"{path}: no column is clearly the {role}; there are: {', '.join(map(str, columns))}; {remedy}")
