"""What is fuzzed: a function of bytes each, which raises where a promise is broken."""

from __future__ import annotations

import tempfile
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from selfstudy.config import parse_yaml, read_dotenv
from selfstudy.errors import ConfigError, DataError
from selfstudy.generation.hooks.calculator import BoundCalculator
from selfstudy.judging.answers import AnswerFinder, find_answer, normalise
from selfstudy.judging.audit import audit
from selfstudy.judging.expressions import ExpressionError, calculate, evaluate
from selfstudy.judging.notation import ANGLE, find_annotations
from selfstudy.problems.rows import FieldError, Row, read_rows, text_of
from selfstudy.problems.sources.asdiv import _read_xml

FINDERS = [AnswerFinder(pattern=pattern) for pattern in ("####", "The answer is", r"\boxed{}")]


def expression(data: bytes) -> None:
    """A value, or a reason; the two functions agree on which."""
    text = _text(data)
    try:
        evaluate(text)
    except ExpressionError:
        assert calculate(text) is None


def answer(data: bytes) -> None:
    """What is found is one line; what is normalised stays as it is."""
    text = _text(data)
    for finder in FINDERS:
        found = find_answer(text, finder)
        assert found is None or normalise(found) == found
    number = normalise(text)
    assert number is None or normalise(number) == number


def solution(data: bytes) -> None:
    """Annotations lie in the text, in order; any solution can be audited."""
    text = _text(data)
    end = 0
    for found in find_annotations(text):
        assert end <= found.start < found.stop <= len(text)
        end = found.stop
    audit(text[: len(text) // 2], text)


def calculator(data: bytes) -> None:
    """Whatever text a model draws, in whatever tokens, what is forced says a result and the closing marker."""
    bound = _calculator()
    row = bound.start()
    for byte in data[:300]:
        forced = row.feed(bound.texts.index(bytes([byte])) if byte < 128 else byte)
        if forced is not None:
            assert b"".join(bound.texts[token] for token in forced.token_ids).endswith(bound.closing)
    assert row.counts["annotations"] == row.counts["evaluated"] + row.counts["left"]


@cache
def _calculator() -> BoundCalculator:
    from tests.fakes import byte_tokenizer

    return BoundCalculator(byte_tokenizer(), ANGLE, 2)


def _rows(suffix: str, data: bytes) -> None:
    path = _scratch() / f"any{suffix}"
    path.write_bytes(data)
    with suppress(DataError):
        for row in read_rows(path):
            for field in row.values if isinstance(row, Row) else ():
                with suppress(FieldError):
                    text_of(row, field).encode()


def jsonl(data: bytes) -> None:
    """Rows, bad rows, or a damaged file."""
    _rows(".jsonl", data)


def json_array(data: bytes) -> None:
    """Likewise."""
    _rows(".json", data)


def csv(data: bytes) -> None:
    """Likewise."""
    _rows(".csv", data)


def xml(data: bytes) -> None:
    """Likewise."""
    path = _scratch() / "any.xml"
    path.write_bytes(data)
    with suppress(DataError):
        list(_read_xml(path))


def config(data: bytes) -> None:
    """YAML or ``.env``, or an error that says where."""
    with suppress(ConfigError):
        parse_yaml(_text(data), "here")
    path = _scratch() / ".env"
    path.write_bytes(data)
    with suppress(ConfigError):
        read_dotenv(path)


@cache
def _scratch() -> Path:
    return Path(tempfile.mkdtemp(prefix="selfstudy-fuzz-"))


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="surrogateescape")


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (expression, answer, solution, calculator, jsonl, json_array, csv, xml, config)
}
# What fuzzing begins from, and what each commit tries: one of each kind that has been, or could be, a fault.
CORPUS = Path(__file__).with_name("corpus")


def write_corpus(name: str, inputs: Sequence[bytes]) -> None:
    """Keep inputs of a target, a line of base64 each."""
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{name}.txt").write_text("".join(f"{b64encode(data).decode()}\n" for data in inputs), encoding="ascii")


def read_corpus(name: str) -> list[bytes]:
    """Return the inputs that were kept of a target; none where it was never fuzzed for long."""
    path = CORPUS / f"{name}.txt"
    return [b64decode(line) for line in path.read_text(encoding="ascii").splitlines()] if path.is_file() else []


_RANGE = b'{"question": "q", "answer": 1e999999999999, "a": 1e9999999999999999999}'
SEEDS: dict[str, list[bytes]] = {
    "expression": [b"9**9**9", b"(" * 10_000, b"1,000*$5/.5", b"2*(3+4)-5%", "3×4÷2−1".encode(), b"\xff\0", b"1e999"],
    "answer": [b"#### 1,000", b"The answer is 3/4.", rb"\boxed{\frac{1}{2}}", "#### \u202e12".encode(), b"#### \xff"],
    "solution": [b"He has 3 + 4 = <<3+4=7>>7 apples.\n#### 7", b"[ 1 + 2 = 3 ] 3", b"<<" * 2000, b"1 = 2 = 3\0"],
    "calculator": [b"<<1+2=", bytes(range(200)), b"<<9**9=<<((((=="],
    "jsonl": [b'{"question": "q", "answer": 1}\n{"a": NaN}\n', b'{"a":' * 3000, b"\xef\xbb\xbf{}\n\0", _RANGE],
    "json_array": [b'[{"question": "q"}, {"a": 1.50}]', b"[" * 3000, b'[{}, 1, "\\ud800"', b"[{},]", b"[%b]" % _RANGE],
    "csv": [b'question,answer\n"a ""b""\nc",1\n', b'q,a\n"never closed', b"q,q\n", b"q\n\xff\0\r\r\n"],
    "xml": [
        b'<P><Problem ID="1"><Body>b</Body><Answer>9 (apples)</Answer></Problem></P>',
        b'<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><x>&b;</x>',
        b"<a>" * 3000,
    ],
    "config": [
        b"a: &a [1, 2]\nb: [*a, *a]",
        b"${X}: 3e-7",
        b"export A='b' # c",
        b"a: !!python/name:os.system",
        b"\xff",
    ],
}
