"""Reading records: every format gives the same rows, and damage is named by line."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfstudy.errors import DataError
from selfstudy.problems import rows
from selfstudy.problems.rows import BadRow, FieldError, Row, number_of, read_rows, text_of

RECORDS = [{"question": 'a, "b"\nc?', "answer": "5"}, {"question": "Größe?", "answer": "1,000"}]


def write(path: Path, records: list[dict[str, str]]) -> Path:
    match path.suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps(record) + "\n" for record in records))
        case ".json":
            path.write_text(json.dumps(records))
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(records), path)
        case ".csv":
            quoted = ['"' + '","'.join(v.replace('"', '""') for v in r.values()) + '"\r\n' for r in records]
            path.write_bytes(b"\xef\xbb\xbf" + ("question,answer\r\n" + "".join(quoted)).encode())
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_formats_agree(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"data{suffix}", RECORDS)
    assert [dict(row.values) for row in read_rows(path) if isinstance(row, Row)] == RECORDS


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_missing_column_is_named_with_a_suggestion(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"data{suffix}", RECORDS)
    with pytest.raises(
        DataError, match=r"no column 'qestion'; did you mean 'question'\? \(columns: question, answer\)"
    ):
        list(read_rows(path, ("qestion",)))


def test_jsonl_names_the_line_of_each_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_LINE", 200)
    path = tmp_path / "bad.jsonl"
    long_line = b'{"a": "' + b"x" * 1000 + b'"}'
    lines = [b'{"a": 1}', b"{oops", b'{"a": "\0"}', b"", long_line, b"[1]", b'{"a": NaN}', b"\xff", b'{"a": 2}']
    path.write_bytes(b"\n".join([*lines, b"[" * 190]))
    found = list(read_rows(path))
    assert [(row.line, row.values["a"]) for row in found if isinstance(row, Row)] == [(1, 1), (9, 2)]
    bad = {row.line: row.reason for row in found if isinstance(row, BadRow)}
    assert sorted(bad) == [2, 3, 5, 6, 7, 8, 10]  # line 4 is blank: nothing to refuse
    assert "NUL" in bad[3]
    assert "longer than 200" in bad[5]
    assert "object" in bad[6]
    assert "NaN" in bad[7]


def test_deep_nesting_is_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "deep.jsonl"
    path.write_text('{"a":' * 200_000)
    assert "nested" in str(*read_rows(path)) or "not JSON" in str(*read_rows(path))


def test_csv_names_the_line_where_a_bad_record_starts(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(b'question,answer\r\n"two\nlines",1\r\nonly one\r\n\r\nfine,2\r\n"x"y,3\r\n\xffq,4\r\nb\0d,5\r\n')
    found = list(read_rows(path))
    good = [row for row in found if isinstance(row, Row)]
    assert [(row.line, row.values["answer"]) for row in good] == [(2, "1"), (6, "2"), (8, "4"), (9, "5")]
    assert [row.line for row in found if isinstance(row, BadRow)] == [4, 7]
    with pytest.raises(FieldError, match="UTF-8"):
        text_of(good[2], "question")
    with pytest.raises(FieldError, match="NUL"):
        text_of(good[3], "question")


def test_an_open_quote_at_the_end_is_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "open.csv"
    path.write_text('question,answer\nq,1\n"never closed,2\n')
    last = list(read_rows(path))[-1]
    assert isinstance(last, BadRow)
    assert last.line == 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "told by the suffix"),
        ("a.parquet", b"no", "not a Parquet file"),
        ("a.json", b"{}", "array of records"),
        ("a.json", b"{", "not JSON"),
        ("a.csv", b"q,q\n", "twice"),
    ],
)
def test_a_file_damaged_as_a_whole_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_rows(tmp_path / name))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_rows(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("value", "message"),
    [(None, "null"), (True, "True"), ([1], "received"), ("  ", "empty"), ("a\0b", "NUL"), ({}, "received")],
)
def test_text_of_refuses(value: object, message: str) -> None:
    with pytest.raises(FieldError, match=message):
        text_of(Row("f", 1, {"a": value}), "a")


def test_a_missing_field_is_suggested() -> None:
    with pytest.raises(FieldError, match="did you mean 'answer'"):
        text_of(Row("f", 1, {"answer": "1"}), "anser")


@given(st.integers(-(10**12), 10**12))
def test_numbers_are_written_plainly(number: int) -> None:
    row = Row("f", 1, {"a": number, "b": float(number), "c": str(number)})
    assert number_of(row, "a") == number_of(row, "b") == number_of(row, "c") == str(number)
