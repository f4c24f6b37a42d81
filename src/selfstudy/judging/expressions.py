"""Exact arithmetic on what a model wrote: rationals, an own parser, and bounds on everything.

The grammar is that of GSM8K's annotations and of the ways in which people write the same thing::

    sum     = product (("+" | "-" | "−" | "–") product)*
    product = signed (("*" | "×" | "x" | "X" | "/" | "÷" | "//") signed)*
    signed  = ("+" | "-" | "−" | "–" | "$") signed | (number | "(" sum ")") "%"*
    number  = 12 | 1,000 | 1.5 | .5 | 5.

``//`` divides like ``/``: GSM8K writes it twice (``560//10=56``, ``180//3=60``), both exact, where its words speak of
plain division; rounding down would put a wrong result where somebody meant ``7/2``. ``5%`` is 5/100. GSM8K needs
neither powers nor multiplication without a sign, so ``2^3`` and ``2(3)`` are refused rather than guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

# Far beyond any word problem, small enough that every step costs next to nothing.
MAX_CHARACTERS = 500
MAX_OPERATORS = 100
MAX_DEPTH = 20
MAX_DIGITS = 50  # of every number: as written, and of the numerator and denominator of each intermediate value

_LIMIT = 10**MAX_DIGITS
_TOKEN = re.compile(
    r"(?P<number>(?:[0-9]{1,3}(?:,[0-9]{3})++(?:\.[0-9]*+)?+|[0-9]++\.?+[0-9]*+|\.[0-9]++)(?![0-9.,]))"
    r"|(?P<sign>//|[-−–+*×xX/÷()%$])|(?P<space>\s+)"
)
_SPELLINGS = {"−": "-", "–": "-", "×": "*", "x": "*", "X": "*", "÷": "/", "//": "/"}
_PREFIXES = {"+": "positive", "-": "negative", "$": "positive"}
_INFIXES = ("+", "-", "*", "/")
_PRECEDENCE = {"(": 0, "+": 1, "-": 1, "*": 2, "/": 2, "positive": 3, "negative": 3}


Operation = tuple[Fraction, str, Fraction, Fraction]  # left, sign, right, value


class ExpressionError(ValueError):
    """An expression has no value here; the message begins with the reason."""


def evaluate(expression: str) -> Fraction:
    """Compute an expression exactly, in bounded time and memory whatever the text.

    Raises:
        ExpressionError: ``syntax``, ``division by zero``, ``too long``, ``too deep``, ``too many operators`` or
            ``too large``. Nothing else is ever raised.
    """
    return _worked_out(expression)[0]


def steps(expression: str) -> list[Operation]:
    """Return the operations of an expression in the order in which they are computed.

    Raises:
        ExpressionError: As :func:`evaluate`.
    """
    return _worked_out(expression)[1]


def _worked_out(expression: str) -> tuple[Fraction, list[Operation]]:
    if len(expression) > MAX_CHARACTERS:
        raise ExpressionError(f"too long: {len(expression)} characters, at most {MAX_CHARACTERS}")
    values: list[Fraction] = []
    waiting: list[str] = []  # operators and opening parentheses, precedence rising between parentheses
    done: list[Operation] = []
    operators = 0
    operand_next = True  # the one bit of grammar: does an operand or an operator come next?
    for token in _tokens(expression):
        if token[-1] in "0123456789." and operand_next:
            values.append(_number(token))
            operand_next = False
        elif token == "(" and operand_next:
            waiting.append(token)
            if waiting.count("(") > MAX_DEPTH:
                raise ExpressionError(f"too deep: more than {MAX_DEPTH} open parentheses")
        elif token == ")" and not operand_next and "(" in waiting:
            _apply(waiting, values, 1, done)
            waiting.pop()
        elif token == "%" and not operand_next:
            values.append(_combine("/", values.pop(), Fraction(100)))
        elif token in (_PREFIXES if operand_next else _INFIXES):
            operators += 1
            if operators > MAX_OPERATORS:
                raise ExpressionError(f"too many operators: at most {MAX_OPERATORS}")
            if operand_next:  # binds to what follows, so nothing that waits can be applied yet
                waiting.append(_PREFIXES[token])
            else:
                _apply(waiting, values, _PRECEDENCE[token], done)
                waiting.append(token)
                operand_next = True
        else:
            wanted = "a number" if operand_next else "an operator"
            raise ExpressionError(f"syntax: {token!r} where {wanted} belongs")
    if operand_next:
        raise ExpressionError("syntax: ends where a number belongs")
    _apply(waiting, values, 1, done)
    if waiting:
        raise ExpressionError("syntax: a parenthesis is not closed")
    return values[0], done


def format_result(value: Fraction, decimals: int = 2) -> str:
    """Write ``value`` as the calculator does: the shortest exact decimal, else rounded half away from zero.

    Args:
        value: A value of :func:`evaluate`, so that its digits are bounded.
        decimals: Written where no decimal of at most :data:`MAX_DIGITS` digits is exact; at least 0. All of them are
            written (``0.10``), and a value that rounds to zero has no sign.
    """
    if decimals < 0:
        raise ValueError(f"decimals must be at least 0, received {decimals}")
    places = exact_places(value, MAX_DIGITS)
    if places is not None:
        exact = round_decimal(value, places)
        if sum(map(str.isdigit, exact)) <= MAX_DIGITS:  # a longer one could not be read again
            return exact
    return round_decimal(value, decimals)


def exact_places(value: Fraction, at_most: int) -> int | None:
    """Return how many decimals write ``value`` exactly; None where it takes more than ``at_most``."""
    return next((places for places in range(at_most + 1) if 10**places % value.denominator == 0), None)


def round_decimal(value: Fraction, places: int) -> str:
    """Write ``value`` with ``places`` decimals, half away from zero."""
    # Doubled, so that the half is an integer: floor(|v| 10^p + 1/2).
    units = (2 * abs(value.numerator) * 10**places + value.denominator) // (2 * value.denominator)
    digits = str(units).rjust(places + 1, "0")
    sign = "-" if value < 0 and units else ""
    return sign + (f"{digits[:-places]}.{digits[-places:]}" if places else digits)


def calculate(expression: str, decimals: int = 2) -> str | None:
    """Return what the calculator writes after ``expression=``; None leaves it to the model (the caller counts)."""
    try:
        return format_result(evaluate(expression), decimals)
    except ExpressionError:
        return None


def _tokens(expression: str) -> Iterator[str]:
    """Yield numbers as written and signs in one spelling each."""
    position = 0
    while position < len(expression):
        match = _TOKEN.match(expression, position)
        if match is None:
            raise ExpressionError(f"syntax: {expression[position : position + 20]!r} is no part of an expression")
        if match["number"]:
            yield match["number"]
        elif match["sign"]:
            yield _SPELLINGS.get(match["sign"], match["sign"])
        position = match.end()


def _number(text: str) -> Fraction:
    whole, _, places = text.replace(",", "").partition(".")
    if len(whole) + len(places) > MAX_DIGITS:
        raise ExpressionError(f"too large: a number of {len(whole) + len(places)} digits, at most {MAX_DIGITS}")
    return Fraction(int(whole + places), 10 ** len(places))


def _apply(waiting: list[str], values: list[Fraction], precedence: int, done: list[Operation]) -> None:
    """Apply the operators that wait since the last open parenthesis and bind at least as tightly."""
    while waiting and _PRECEDENCE[waiting[-1]] >= precedence:
        operator = waiting.pop()
        right = values.pop()
        if operator == "negative":
            values.append(-right)
        elif operator == "positive":
            values.append(right)
        else:
            left = values.pop()
            values.append(_combine(operator, left, right))
            done.append((left, operator, right, values[-1]))


def _combine(operator: str, left: Fraction, right: Fraction) -> Fraction:
    if operator == "/" and right == 0:
        raise ExpressionError("division by zero")
    match operator:
        case "+":
            value = left + right
        case "-":
            value = left - right
        case "*":
            value = left * right
        case _:
            value = left / right
    if abs(value.numerator) > _LIMIT or value.denominator > _LIMIT:
        raise ExpressionError(f"too large: a value of more than {MAX_DIGITS} digits")
    return value
