"""Rows of data files, streamed with their line numbers; one that cannot be used becomes a :class:`BadRow`."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import IO, Any

from selfstudy.errors import DataError, did_you_mean
from selfstudy.judging.answers import normalise
from selfstudy.judging.expressions import MAX_DIGITS
from selfstudy.types import Problem

MAX_LINE = 1 << 20  # bytes; a longer one is a damaged file, and would be held in memory whole
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")  # NUL, and what surrogateescape makes of bytes that are not UTF-8


@dataclass(frozen=True, slots=True)
class Row:
    """One record; ``line`` counts from 1 (records, where the format has no lines)."""

    file: str
    line: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A record that cannot be used, and why."""

    file: str
    line: int
    field: str
    reason: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}"
        return f"{where}: {self.field}: {self.reason}" if self.field else f"{where}: {self.reason}"


class FieldError(Exception):
    """A field of one row is unusable; :func:`problems_from` turns it into a :class:`BadRow`."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def problems_from(rows: Iterator[Row | BadRow], make: Callable[[Row], Problem]) -> Iterator[Problem | BadRow]:
    """Make a problem of each row; a :class:`FieldError` that ``make`` raises becomes a bad row."""
    for row in rows:
        if isinstance(row, BadRow):
            yield row
            continue
        try:
            problem = make(row)
        except FieldError as error:
            yield BadRow(row.file, row.line, error.field, error.reason)
        else:
            yield problem


def text_of(row: Row, field: str) -> str:
    """Return a field as stripped text: a string, or a number written plainly (``27.0``, never ``2.7E+1``).

    Raises:
        FieldError: It is missing, empty, of another type, or holds NUL or bytes that are not UTF-8.
    """
    if field not in row.values:
        raise FieldError(field, f"no such field{did_you_mean(field, row.values)}")
    value = row.values[field]
    if isinstance(value, str):
        text = value.strip()
    elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        text = _plain(value)
    else:
        raise FieldError(field, f"text or a number is needed, received {'null' if value is None else repr(value):.80}")
    if not text:
        raise FieldError(field, "is empty")
    if found := _NOT_TEXT.search(text):
        raise FieldError(field, f"holds {'a NUL byte' if found[0] == chr(0) else 'bytes that are not UTF-8'}")
    return text


def number_of(row: Row, field: str) -> str:
    """Return a field as a normalised number.

    Raises:
        FieldError: As :func:`text_of`, or it is no number.
    """
    text = text_of(row, field)
    number = normalise(text)
    if number is None:
        raise FieldError(field, f"is no number, received {text!r:.80}")
    return number


def read_rows(path: Path, needed: tuple[str, ...] = ()) -> Iterator[Row | BadRow]:
    """Stream the records of a ``.jsonl``, ``.json`` (one array), ``.csv`` or ``.parquet`` file.

    Args:
        path: The file; its suffix says the format.
        needed: Columns that a CSV or Parquet file must have. JSON has no header: each row is checked for itself.

    Raises:
        DataError: The file is missing, of another format, damaged as a whole, or lacks a needed column.
    """
    if path.is_dir():
        raise DataError(f"{path}: a folder, and a file is needed")
    reader = TABLES.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: the format is told by the suffix; use one of {', '.join(TABLES)}")
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    return reader(path, needed)


def _plain(value: float | Decimal) -> str:
    number = value if isinstance(value, Decimal) else Decimal(str(value))
    writable = number.is_finite() and abs(number.adjusted()) <= 2 * MAX_DIGITS  # 1e999999999 has as many zeros
    return format(number, "f") if writable else str(number)


def _object(file: str, line: int, value: Any) -> Row | BadRow:
    if not isinstance(value, dict):
        return BadRow(file, line, "", f"a record is an object of fields, received {value!r:.60}")
    return Row(file, line, value)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _decimal(text: str) -> Decimal:
    """Keep the digits that a number has."""
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text:.80} is out of range") from None


_DECODER = json.JSONDecoder(parse_float=_decimal, parse_constant=_no_constant)


def _parse_json(text: bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: Not JSON, not UTF-8, or nested too deeply to be a record.
    """
    try:
        return _DECODER.decode(text.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _lines(file: IO[bytes]) -> Iterator[bytes | None]:
    """Yield lines; None for one that is over long, of which only a part is ever in memory."""
    while line := file.readline(MAX_LINE + 1):
        if len(line) <= MAX_LINE:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE)
        yield None


def _read_jsonl(path: Path, needed: tuple[str, ...]) -> Iterator[Row | BadRow]:
    with path.open("rb") as file:
        for number, line in enumerate(_lines(file), start=1):
            if line is None:
                yield BadRow(str(path), number, "", f"longer than {MAX_LINE} bytes")
            elif b"\0" in line:
                yield BadRow(str(path), number, "", "holds a NUL byte")
            elif line.strip():
                try:
                    value = _parse_json(line)
                except ValueError as error:
                    yield BadRow(str(path), number, "", f"not JSON: {error}")
                else:
                    yield _object(str(path), number, value)


class _Values:
    """The JSON values of a file, one after the other; only a window of the file is ever in memory."""

    def __init__(self, file: IO[str]) -> None:
        self._file, self._text, self._at = file, "", 0

    def peek(self) -> str:
        """Return the next character that is no white space, empty at the end."""
        while True:
            self._at = len(self._text) - len(self._text[self._at :].lstrip(" \t\r\n"))
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def skip(self, expected: str) -> None:
        """Go past a character."""
        if self.peek() != expected:
            raise ValueError(f"'{expected}' is needed, received {self.peek()!r}")
        self._at += 1

    def take(self) -> Any:
        """Return the next value; the window grows until it is whole."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except RecursionError:
                raise ValueError("nested too deeply") from None
            except ValueError as error:
                if len(self._text) - self._at > MAX_LINE:
                    raise ValueError(f"longer than {MAX_LINE} characters, or damaged") from None
                if not self._more():
                    raise ValueError(getattr(error, "msg", error)) from None  # without the place in the window
            else:
                if end < len(self._text) or not self._more():  # a number may go on
                    self._at = end
                    return value

    def _more(self) -> bool:
        read = self._file.read(MAX_LINE // 4)
        self._text, self._at = self._text[self._at :] + read, 0
        return bool(read)


def _read_json(path: Path, needed: tuple[str, ...]) -> Iterator[Row | BadRow]:
    number = 0
    with path.open(encoding="utf-8-sig", newline="") as file:
        values = _Values(file)
        try:
            if values.peek() != "[":
                received = type(values.take()).__name__
                raise DataError(f"{path}: an array of records is needed, received a {received}")
            values.skip("[")
            while values.peek() != "]":
                if number:
                    values.skip(",")
                number += 1
                yield _object(str(path), number, values.take())
            values.skip("]")
            if values.peek():
                raise ValueError("more stands behind the array")
        except ValueError as error:
            where = f"{path}: record {number}" if number else path
            remedy = "an array of records is needed; a file with one record a line ends in .jsonl"
            raise DataError(f"{where}: not JSON: {error}; {remedy}") from None


def _check_columns(path: Path, columns: list[str], needed: tuple[str, ...]) -> None:
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise DataError(f"{path}: column '{twice[0]}' is there twice")
    for name in needed:
        if name not in columns:
            raise DataError(f"{path}: no column '{name}'{did_you_mean(name, columns)} (columns: {', '.join(columns)})")


class _TextLines:
    """The lines of a file, counted; one that is over long is an error, after which the next one is read."""

    def __init__(self, file: IO[str]) -> None:
        self.read, self._file = 0, file

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._file.readline(MAX_LINE + 1)
        if not line:
            raise StopIteration
        self.read += 1
        if len(line) <= MAX_LINE:
            return line
        while line and not line.endswith(("\n", "\r")):
            line = self._file.readline(MAX_LINE)
        raise csv.Error(f"longer than {MAX_LINE} characters")


def _read_csv(path: Path, needed: tuple[str, ...]) -> Iterator[Row | BadRow]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        lines = _TextLines(file)
        reader = csv.reader(lines, strict=True)
        try:
            columns = next(reader, [])
        except csv.Error as error:
            raise DataError(f"{path}:1: not CSV: {error}") from None
        _check_columns(path, columns, needed)
        line = lines.read + 1  # where the next record starts; a quoted field may span lines
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield BadRow(str(path), line, "", f"not CSV: {error}")
            else:
                if cells and len(cells) != len(columns):
                    yield BadRow(str(path), line, "", f"{len(columns)} columns are needed, received {len(cells)}")
                elif cells:
                    yield Row(str(path), line, dict(zip(columns, cells, strict=True)))
            line = lines.read + 1


def _read_parquet(path: Path, needed: tuple[str, ...]) -> Iterator[Row | BadRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            _check_columns(path, list(file.schema_arrow.names), needed)
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(str(path), number, values)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: not a Parquet file, or a damaged one: {error}") from None


TABLES = {".jsonl": _read_jsonl, ".json": _read_json, ".csv": _read_csv, ".parquet": _read_parquet}  # by suffix
