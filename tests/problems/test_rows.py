"""Reading records: every format gives the same rows, and damage is named by line."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
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


@pytest.mark.parametrize("number", ["1e999999999999", "-1E-999999999999", "1e20000000", "1e9999999999999999999"])
def test_a_number_out_of_range_is_a_bad_row(tmp_path: Path, number: str) -> None:
    """Written plainly, the first would fill the memory; the last is more than a decimal can be."""
    (tmp_path / "a.jsonl").write_text(f'{{"question": "q", "answer": {number}}}')
    (row,) = read_rows(tmp_path / "a.jsonl")
    if isinstance(row, Row):
        assert len(text_of(row, "answer")) < 40
        with pytest.raises(FieldError, match="is no number"):
            number_of(row, "answer")
    else:
        assert "out of range" in row.reason


def test_a_number_out_of_range_in_an_array_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"answer": 1}, {"answer": 1e9999999999999999999}]')
    with pytest.raises(DataError, match="record 2: not JSON: 1e9999999999999999999 is out of range"):
        list(read_rows(tmp_path / "a.json"))


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
        ("a.json", b"", "not JSON"),
        ("a.json", b"[{}", "record 1: not JSON: ',' is needed"),
        ("a.json", b"[{},]", "record 2: not JSON"),
        ("a.json", b"[{} {}]", "record 1: not JSON: ',' is needed, received '{'"),
        ("a.json", b"[{}] 1", "more stands behind"),
        ("a.json", b'[{}, {"a": NaN}]', "record 2: not JSON: NaN"),
        ("a.json", b'[{"a": "\xff"}]', "utf-8"),
        ("a.json", b"[" * 100_000, "nested too deeply"),
        ("a.json", b'[{"a": "' + b"x" * 3_000_000, "record 1: not JSON: longer than 1048576 characters, or damaged"),
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


BIDI, LONE = "a\u202eb\u2066c\u200b", "\ud800"


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv"])
def test_hostile_text_is_accepted_or_a_bad_field(tmp_path: Path, suffix: str) -> None:
    """Controls that turn text round are text; what is no text at all is refused where it is used."""
    path = tmp_path / f"data{suffix}"
    texts = [BIDI, LONE, "a\0b", "\x1b[2Jx", "\ufeffx", "x" * 100_000]
    if suffix == ".csv":
        path.write_bytes(("question,answer\n" + "".join(f'"{t}",1\n' for t in texts)).encode(errors="surrogatepass"))
    else:
        rows_ = [json.dumps({"question": text, "answer": "1"}) for text in texts]
        path.write_text("\n".join(rows_) if suffix == ".jsonl" else f"[{','.join(rows_)}]")
    found = [row for row in read_rows(path) if isinstance(row, Row)]
    assert len(found) == len(texts)
    for row, text in zip(found, texts, strict=True):
        if text in (LONE, "a\0b"):
            with pytest.raises(FieldError, match=r"UTF-8|NUL"):
                text_of(row, "question")
        else:
            assert text_of(row, "question") == text.strip()


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_line_of_ten_megabytes_is_one_bad_row_and_never_in_memory_whole(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    good = {".jsonl": '{"question": "q", "answer": "1"}\n', ".csv": '"q",1\n'}[suffix]
    with path.open("w") as file:
        file.write("question,answer\n" if suffix == ".csv" else "")
        file.write(good)
        file.write('{"question": "' if suffix == ".jsonl" else '"')
        for _ in range(160):
            file.write("x" * 65_536)
        file.write('"}\n' if suffix == ".jsonl" else '",1\n')
        file.write(good)
    tracemalloc.start()
    found = list(read_rows(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    first, bad, last = found
    header = suffix == ".csv"
    assert isinstance(first, Row)
    assert isinstance(last, Row)
    assert isinstance(bad, BadRow)
    assert (first.line, bad.line, last.line) == (1 + header, 2 + header, 3 + header)
    assert "longer than" in bad.reason
    assert peak < 8 * rows.MAX_LINE


def test_an_array_is_read_record_by_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of a few characters, so that every value is cut somewhere: as the whole file is read at once."""
    monkeypatch.setattr(rows, "MAX_LINE", 64)
    path = tmp_path / "a.json"
    values = [{"a": 1.50}, {"a": "ä]\\", "b": [1, {}]}, {}, {"a": 12345678}, {"a": None}, {"a": -0.25e2}]
    for indent in (None, 1):
        path.write_text("\ufeff" + json.dumps(values, indent=indent) + "\n")
        found = list(read_rows(path))
        assert [(row.line, row.values) for row in found if isinstance(row, Row)] == list(enumerate(values, start=1))


def test_a_long_array_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    path = tmp_path / "long.json"
    with path.open("w") as file:
        file.write("[" + ",\n".join('{"question": "' + "x" * 2000 + '", "answer": 1}' for _ in range(10_000)) + "]")
    tracemalloc.start()
    assert sum(isinstance(row, Row) for row in read_rows(path)) == 10_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * rows.MAX_LINE


def test_a_field_of_csv_that_never_ends_is_bounded(tmp_path: Path) -> None:
    """An open quote takes in line after line; the reader gives up at its limit of a field."""
    path = tmp_path / "open.csv"
    path.write_text('question,answer\n"open\n' + "a line of some length\n" * 50_000)
    found = list(read_rows(path))
    assert isinstance(found[0], BadRow)
    assert "limit" in found[0].reason


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


FORMATS = st.sampled_from([".jsonl", ".json", ".csv"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.text('{}[]",:\\\n\r01aeu\ud800\0', max_size=80).map(_bytes), FORMATS)
def test_any_bytes_are_rows_bad_rows_or_a_damaged_file(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"any{suffix}"
    path.write_bytes(content)
    try:
        found = list(read_rows(path))
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017
        return
    for row in found:
        assert row.file == str(path)
        for field in row.values if isinstance(row, Row) else ():
            with suppress(FieldError):
                text_of(row, field).encode()  # no surrogate


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 400))
def test_a_parquet_file_that_is_cut_is_named(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path / "whole.parquet", RECORDS)
    content = path.read_bytes()
    (tmp_path / "cut.parquet").write_bytes(content[: min(cut, len(content) - 1)])
    with pytest.raises(DataError, match=r"cut\.parquet: not a Parquet file"):
        list(read_rows(tmp_path / "cut.parquet"))
