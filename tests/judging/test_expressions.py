"""Exact arithmetic against Fraction-built trees, simpleeval and every annotation of GSM8K."""

from __future__ import annotations

import json
import re
import tracemalloc
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import assume, event, example, given, settings
from hypothesis import strategies as st

from selfstudy.judging import expressions
from selfstudy.judging.expressions import ExpressionError, calculate, evaluate, format_result, steps


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("15+7", "22"),
        ("2+3*4-6/2", "11"),
        ("10-4-3", "3"),  # from the left
        ("360/20/1", "18"),
        ("10/(1/16)", "160"),
        ("((2+3))*4", "20"),
        ("-48/4", "-12"),
        ("71+-3", "68"),
        ("-18/-2", "9"),
        ("3*+6", "18"),
        ("-(2+3)*2", "-10"),
        ("--5", "5"),
        ("5--3", "8"),
        ("+11", "11"),
        (".5+5.", "11/2"),
        ("1,000*2", "2000"),
        ("1,234,567.5", "2469135/2"),
        ("$5*3", "15"),
        ("-$5", "-5"),
        ("$-5", "-5"),
        ("$(5+1)", "6"),
        ("50%*80", "40"),
        ("100-20%", "499/5"),  # 5% is 5/100 and nothing else: not "20% of 100"
        ("(5+5)%", "1/10"),
        ("-5%", "-1/20"),
        ("2x3", "6"),
        ("2 X 3", "6"),
        ("2×3", "6"),
        ("6÷4", "3/2"),
        ("5−3", "2"),
        ("5–3", "2"),
        ("7//2", "7/2"),  # a division sign written twice, see the module
        ("560//10", "56"),
        ("33/.55", "60"),  # the float residue of eval is 59.99999999999999
        ("0.1+0.2", "3/10"),
        ("  1 +\t2 ", "3"),
        ("007", "7"),
    ],
)
def test_values(expression: str, value: str) -> None:
    assert evaluate(expression) == Fraction(value)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "syntax: ends"),
        ("1+", "syntax: ends"),
        ("*2", "syntax: '*' where a number belongs"),
        ("()", "syntax: ')' where a number belongs"),
        ("(1+2", "syntax: a parenthesis is not closed"),
        ("1+2)", "syntax: ')' where an operator belongs"),
        ("1 000", "syntax: '000' where an operator belongs"),
        ("2(3)", "syntax: '(' where an operator belongs"),
        ("5%4", "syntax: '4' where an operator belongs"),
        ("%5", "syntax: '%' where a number belongs"),
        ("5$", "syntax: '$' where an operator belongs"),
        ("2**3", "syntax: '*' where a number belongs"),
        ("2^3", "syntax: '^3'"),
        ("1,00", "syntax: '1,00'"),
        ("1,000,00", "syntax: '1,000,00'"),
        ("1.2.3", "syntax: '1.2.3'"),
        (".", "syntax: '.'"),
        ("1e3", "syntax: 'e3'"),
        ("1_000", "syntax: '_000'"),
        ("5=5", "syntax: '=5'"),
        ("five", "syntax: 'five'"),
        ("__import__('os')", 'syntax: "__import__'),
        ("1/0", "division by zero"),
        ("1/(2-2)", "division by zero"),
        ("9" * 51, "too large: a number of 51 digits"),
        ("9" * 30 + "*" + "9" * 30, "too large: a value"),
        ("1/" + "9" * 30 + "/" + "9" * 30, "too large: a value"),
        ("(" * 21 + "1" + ")" * 21, "too deep"),
        ("-" * 101 + "1", "too many operators"),
        ("1" + "+1" * 101, "too many operators"),
        ("(" * 10_000, "too long: 10000 characters"),
        ("9**9**9", "syntax"),
    ],
)
def test_reasons(expression: str, reason: str) -> None:
    with pytest.raises(ExpressionError, match="^" + re.escape(reason)):
        evaluate(expression)
    assert calculate(expression) is None


def test_bounds_are_reached() -> None:
    assert evaluate("(" * 20 + "1" + ")" * 20) == 1
    assert evaluate("1" + "+1" * 100) == 101
    assert evaluate("9" * 50) == 10**50 - 1


def test_long_text_costs_nothing() -> None:
    text = "9*" * 5_000_000
    tracemalloc.start()
    assert calculate(text) is None
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        ("3", 2, "3"),
        ("-3", 2, "-3"),
        ("1/2", 2, "0.5"),
        ("-1/8", 2, "-0.125"),
        ("1234567/100", 2, "12345.67"),
        ("100/3", 2, "33.33"),
        ("200/3", 2, "66.67"),
        ("-200/3", 2, "-66.67"),
        ("2/3", 0, "1"),
        ("2/3", 5, "0.66667"),
        ("299/300", 2, "1.00"),
        ("1/999", 2, "0.00"),
        ("-1/999", 2, "0.00"),  # no negative zero
        ("1/2048", 2, "0.00048828125"),
        (f"1/{2**49}", 2, f"0.{5**49:049}"),  # fifty digits are still written, and read
        (f"1/{2**50}", 2, "0.00"),  # more are rounded
        ("2049/4096", 2, "0.500244140625"),
        (f"{2**50 + 1}/{2**51}", 2, "0.50"),
        (f"{3**31}/{2**50}", 2, "0.55"),
    ],
)
def test_format(value: str, decimals: int, text: str) -> None:
    assert format_result(Fraction(value), decimals) == text


def test_half_goes_away_from_zero() -> None:
    # Only a value with more than MAX_DIGITS exact places is both rounded and able to be a half.
    half = Fraction(5, 10**52)
    assert format_result(half, 51) == f"0.{1:051}"
    assert format_result(-half, 51) == f"-0.{1:051}"
    with pytest.raises(ValueError, match="at least 0"):
        format_result(half, -1)


@given(st.integers(-(10**12), 10**12), st.integers(0, 60), st.integers(0, 30))
def test_what_is_written_can_be_read_again(numerator: int, twos: int, fives: int) -> None:
    text = format_result(Fraction(numerator, 2**twos * 5**fives))
    assert evaluate(text) == Fraction(text)


@given(st.fractions(-(10**12), 10**12, max_denominator=10**6), st.integers(0, 6))
def test_format_against_decimal(value: Fraction, decimals: int) -> None:
    text = format_result(value, decimals)
    exact = [k for k in range(expressions.MAX_DIGITS + 1) if (value * 10**k).denominator == 1]
    if exact:
        assert Fraction(text) == value
        assert len(text.partition(".")[2]) == exact[0]
    else:
        with localcontext(prec=60):
            quotient = Decimal(value.numerator) / Decimal(value.denominator)
            rounded = quotient.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)
        assert Decimal(text) == rounded
        assert len(text.partition(".")[2]) == decimals


numbers = st.one_of(
    st.integers(0, 10**6).map(lambda n: (str(n), Fraction(n))),
    st.integers(1000, 10**9).map(lambda n: (f"{n:,}", Fraction(n))),
    st.decimals(0, 1000, places=3).map(lambda d: (str(d), Fraction(d))),
    st.integers(0, 99).map(lambda n: (f".{n:02}", Fraction(n, 100))),
    st.integers(0, 99).map(lambda n: (f"{n}.", Fraction(n))),
    st.integers(0, 500).map(lambda n: (f"{n}%", Fraction(n, 100))),
    st.integers(0, 500).map(lambda n: (f"${n}", Fraction(n))),
)
SIGNS = {"+": "+", "-": "-", "−": "-", "*": "*", "x": "*", "×": "*", " X ": "*", "/": "/", "÷": "/", " // ": "/"}


def _join(parts) -> tuple[str, Fraction | None]:
    """Two subtrees as text, fully parenthesised, and their value by Fraction; None after a division by zero."""
    (left_text, left), sign, (right_text, right) = parts
    text = f"({left_text}){sign}({right_text})"
    if left is None or right is None or (SIGNS[sign] == "/" and right == 0):
        return text, None
    match SIGNS[sign]:
        case "+":
            return text, left + right
        case "-":
            return text, left - right
        case "*":
            return text, left * right
    return text, left / right


trees = st.recursive(
    numbers,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(sorted(SIGNS)), inner).map(_join),
        inner.map(lambda pair: (f"-({pair[0]})", None if pair[1] is None else -pair[1])),
    ),
    max_leaves=6,
)


def test_steps_come_in_the_order_of_computing() -> None:
    """Tighter signs first, then from left to right; a sign in front of a number is no step."""
    found = [f"{left}{sign}{right}={value}" for left, sign, right, value in steps("2 + 3*-4 - (5-1)/8")]
    assert found == ["3*-4=-12", "2+-12=-10", "5-1=4", "4/8=1/2", "-10-1/2=-21/2"]
    assert steps("7") == []


@given(trees)
def test_the_last_step_gives_the_value(tree: tuple[str, Fraction | None]) -> None:
    """But for a sign in front of it all."""
    text, value = tree
    try:
        expected, done = evaluate(text), steps(text)
    except ExpressionError as refusal:
        event(str(refusal))
    else:
        assert not done or abs(done[-1][3]) == abs(expected)
        assert value == expected


@given(trees)
def test_against_fraction_trees(tree: tuple[str, Fraction | None]) -> None:
    text, value = tree
    assume(len(text) <= expressions.MAX_CHARACTERS)
    if value is None:
        with pytest.raises(ExpressionError, match=r"^(division by zero|too large)"):
            evaluate(text)
        return
    try:
        result = evaluate(text)
    except ExpressionError as refusal:
        reason = str(refusal)
    else:
        assert result == value
        return
    assert reason.startswith("too large")  # an intermediate value may be so where the last one is not
    assert len(text) > expressions.MAX_DIGITS


@given(st.lists(st.sampled_from(["1", "2", "3", "7", "+", "-", "*", "/", "(", ")"]), max_size=12).map("".join))
@example("2-3-4*5/2")
@example("-(1+2)*-3")
def test_precedence_against_simpleeval(text: str) -> None:
    """Python's grammar without powers and calls: whatever simpleeval accepts has the same value here."""
    simpleeval = pytest.importorskip("simpleeval")
    assume("**" not in text and "//" not in text)
    # Fractions in simpleeval too: every number becomes a name.
    named = re.sub(r"\d+", lambda number: f"n{number[0]}", text)
    names = {f"n{number}": Fraction(number) for number in re.findall(r"\d+", text)}
    try:
        expected = simpleeval.SimpleEval(names=names, functions={}).eval(named)
    except ZeroDivisionError:
        expected = None
    except (SyntaxError, simpleeval.InvalidExpression, TypeError):
        with pytest.raises(ExpressionError):
            evaluate(text)
        return
    assume(expected != ())
    if expected is None:
        with pytest.raises(ExpressionError, match="division by zero"):
            evaluate(text)
    else:
        assert evaluate(text) == expected


@settings(max_examples=300)
@given(st.text() | st.text("0123456789.,+-*/x×÷()%$ −=^", max_size=60))
def test_total(text: str) -> None:
    try:
        evaluate(text)
    except ExpressionError:
        assert calculate(text) is None
    else:
        result = calculate(text)
        assert result is not None
        assert re.fullmatch(r"-?\d+(\.\d+)?", result)


# Annotations whose result is not the exact value, as "split/line: expression=result": reason. The paper's files hold
# none, and no result of more than three places either: what does not terminate is not annotated there.
EXCEPTIONS: dict[str, str] = {}


def test_every_annotation_of_gsm8k(data) -> None:
    different = []
    count = 0
    for split in ("train", "dev"):
        for number, line in enumerate((data / "gsm8k" / f"{split}.jsonl").open(encoding="utf-8")):
            for expression, result in re.findall(r"<<([^=]*)=(.*?)>>", json.loads(line)["answer"]):
                count += 1
                written = calculate(expression)
                if written is None or Fraction(written) != Fraction(result) or evaluate(expression) != Fraction(result):
                    different.append(f"{split}/{number:05d}: {expression}={result}")
    assert count == 23716
    assert different == list(EXCEPTIONS)
