"""The audit of a worked solution: what in its steps cannot be right, whatever its answer is.

A right answer may be reached by wrong steps, and a verifier that looks at answers alone does not see it. Read here are
the arithmetic and where its numbers come from; what the words mean is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from selfstudy.judging.expressions import MAX_DIGITS, ExpressionError, evaluate
from selfstudy.judging.notation import find_annotations

Kind = Literal["equation", "contradiction", "unknown", "unused"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something in a solution that cannot be right, or a given number that it leaves out.

    Attributes:
        kind: ``equation``: one that does not hold. ``contradiction``: text and annotation say different things.
            ``unknown``: a number that stands neither in the question nor in an earlier step. ``unused``: a number of
            the question that the solution never mentions, which may be right.
        start: Where it begins, in characters of the solution; of the question for ``unused``.
        stop: Where it ends.
        message: What is wrong, for people.
    """

    kind: Kind
    start: int
    stop: int
    message: str


def audit(question: str, solution: str) -> list[Fault]:
    """Return the faults of a solution in either notation, in the order of its text, unused numbers last."""
    known = _said(question) | _implied(f"{question} {solution}".lower())
    faults: list[Fault] = []
    seen = 0
    for match in find_annotations(solution):
        for end in _STEP_END.finditer(solution, seen, match.start):
            known |= _said(solution[seen : end.end()])
            seen = end.end()
        faults += _judged(solution, match.start, match.stop, match.expression, match.result)
        # A number alone was computed elsewhere, by algebra say.
        for number in _numbers(match.expression) if _OPERATOR.search(match.expression.strip()[1:]) else ():
            if not _derivable(_value(number), known):
                message = f"{number[0]} stands neither in the question nor in an earlier step"
                faults.append(Fault("unknown", match.start, match.stop, message))
        known |= _said(match.result)
    faults += _plain_equations(solution)
    faults.sort(key=lambda fault: (fault.start, fault.kind))
    return faults + _unused(question, solution)


def sound(question: str, solution: str) -> bool:
    """Say whether no step of a solution can be seen to be wrong; it may leave out given numbers."""
    return all(fault.kind == "unused" for fault in audit(question, solution))


_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
_NUMBER = re.compile(rf"(?<![\d.])(?:{_DIGITS})")
_OPERATOR = re.compile(r"[-+−–*×x/÷]")
_STEP_END = re.compile(r"\n|[.!?;](?=\s)")
_RESULT = re.compile(rf"[ \t]*+\$?[ \t]*+(-?[ \t]?\$?(?:{_DIGITS}))")
# Nothing between two numbers is given back: a text that fails at its end would be tried in every split of its blanks.
# A line ends what stands in it: "12", and below it "- 5 + 2 = 7", is a list.
_BLANKS = r"[^\S\n]*+"
_TERM = rf"[($]*+{_BLANKS}(?:{_DIGITS})%?\)*+"
_ARITHMETIC = rf"{_TERM}(?:{_BLANKS}[-+−–*×x/÷]{_BLANKS}{_TERM})+"
_APART = r"(?<![\w.,)%*+/÷×−–-])(?<![-+*/x×÷] )"  # not the end of something longer
_BEFORE = re.compile(rf"{_APART}({_ARITHMETIC}){_BLANKS}={_BLANKS}\$?{_BLANKS}$")
_NO_MORE = rf"(?![\d.,]*{_BLANKS}[-+*/x×÷%(<\d])"  # an equation that goes on says nothing yet
_PLAIN = re.compile(rf"{_APART}({_ARITHMETIC}){_BLANKS}={_BLANKS}\$?{_BLANKS}(-?(?:{_DIGITS})){_NO_MORE}")


def _numbers(text: str) -> Iterator[re.Match[str]]:
    """Yield the numbers of a text; one longer than the calculator takes, as a model in a loop writes, is none."""
    return (number for number in _NUMBER.finditer(text) if len(number[0]) <= MAX_DIGITS)


def _value(number: re.Match[str]) -> Fraction:
    return _small(number[0]) if len(number[0]) <= 12 else Fraction(number[0].replace(",", ""))


@lru_cache(2**12)
def _small(number: str) -> Fraction:
    return Fraction(number.replace(",", ""))


def _computed(expression: str) -> Fraction | None:
    try:
        return evaluate(expression)
    except ExpressionError:
        return None


def _read(result: str) -> Fraction | None:
    return _computed(result.rstrip("%"))


def _agree(value: Fraction, written: Fraction, text: str) -> bool:
    """Say whether ``written`` is ``value``, or what rounding or cutting it off to so many places leaves."""
    places = len(text.rstrip("% ").partition(".")[2])
    exact = (value * 10**places).denominator == 1
    return value == written or (not exact and abs(value - written) < Fraction(1, 10**places))


def _judged(solution: str, start: int, stop: int, expression: str, result: str) -> Iterator[Fault]:
    """Compare an annotation with itself, with what stands before it, and with what follows."""
    value, written = _computed(expression), _read(result)
    if written is None:
        return
    if value is not None and not _agree(value, written, result):
        yield Fault("equation", start, stop, f"{expression} is not {result}")
    after = _RESULT.match(solution, stop)
    if after is not None and (repeated := _read(after[1])) is not None and repeated != written:
        yield Fault("contradiction", start, after.end(), f"{result} is computed and {after[1].strip()} written")
    before = _BEFORE.search(solution, max(0, start - 200), start)
    if before is not None and value is not None:
        told = _computed(before[1])
        if told is not None and value not in (told, 100 * told):  # "1/4 x 100%" is 25 or 0.25
            yield Fault(
                "contradiction", before.start(1), stop, f"{before[1].strip()} is written, {expression} computed"
            )


def _plain_equations(solution: str) -> Iterator[Fault]:
    spans = [(match.start, match.stop) for match in find_annotations(solution)]
    for match in _PLAIN.finditer(solution):
        if any(start < match.end() and match.start() < stop for start, stop in spans):
            continue
        value, written = _computed(match[1]), _read(match[2])
        if value is not None and written is not None and not _agree(value, written, match[2]):
            yield Fault("equation", match.start(), match.end(), f"{match[1].strip()} is not {match[2]}")


# Numbers in words, and words that bring a number with them.
_ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_WORDS = {word: value for value, word in enumerate([*_ONES.split(), "seventeen", "eighteen", "nineteen"])}
_WORDS |= {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
_LARGE = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_PARTS = {
    "half": 2,
    "halve": 2,
    "halves": 2,
    "halved": 2,
    "third": 3,
    "quarter": 4,
    "fourth": 4,
    "fifth": 5,
    "sixth": 6,
}
_PARTS |= {"seventh": 7, "eighth": 8, "ninth": 9, "tenth": 10, "twelfth": 12}
_TIMES = {"once": 1, "single": 1, "twice": 2, "double": 2, "doubled": 2, "both": 2, "pair": 2, "couple": 2, "thrice": 3}
_TIMES |= {"triple": 3, "tripled": 3, "quadruple": 4, "dozen": 12, "score": 20}
_WORD = re.compile(r"[a-z]+")
_ANY_CARDINAL = "|".join((*_WORDS, *_LARGE))
_CARDINAL = re.compile(rf"\b(?:{_ANY_CARDINAL})\b(?:[\s-]+(?:and\s+)?(?:{_ANY_CARDINAL})\b)*")
_FRACTION = re.compile(r"(?<!\d)(\d{1,12})\s*/\s*(\d{1,12})(?!\d)")
_HUNDREDTHS = re.compile(r"(?i)\b(?:cents?|cm|centimet\w+)\b|¢")
# What the world brings: words that let numbers be used. In the singular.
_WORLD = tuple(
    (frozenset(words.split()), frozenset(map(Fraction, numbers)))
    for words, numbers in (
        ("minute hour second min hr", (60,)),
        ("hour day clock midnight noon am pm", (12, 24)),
        ("week day daily weekly weekday weekend", (2, 5, 7)),
        ("month monthly year yearly annual annually", (4, 12, 30)),
        ("year yearly annual annually", (52, 365)),
        ("foot feet inch inche", (12,)),
        ("yard", (3,)),
        ("pound ounce", (16,)),
        ("cup pint quart gallon", (2, 4, 8, 16)),
        ("cent dollar quarter dime nickel penny pennie", (5, 10, 25, 100)),
        ("kilometer kilometre km kilogram kg gram liter litre ml milliliter ton", (1000,)),
        ("decade", (10,)),
        ("square rectangle rectangular side", (4,)),
        ("triangle angle degree", (3, 90, 180, 360)),
    )
)


def _said(text: str) -> set[Fraction]:
    """Return the numbers that a text states, in digits or in words, and parts and multiples that it names."""
    found = {_value(number) for number in _numbers(text)}
    lower = text.lower()
    for match in _FRACTION.finditer(lower):
        if int(match[1]) < int(match[2]):
            share = Fraction(int(match[1]), int(match[2]))
            found |= {share, 1 - share, 1 + share, Fraction(int(match[2]) - int(match[1]))}
    for match in _CARDINAL.finditer(lower):
        found |= _cardinals(match[0])
    for word in _WORD.findall(lower):
        singular = word.removesuffix("s")
        if n := _PARTS.get(singular) or _PARTS.get(word):
            found |= {Fraction(n), Fraction(1, n), 1 - Fraction(1, n), 1 + Fraction(1, n), Fraction(n - 1)}
        if times := _TIMES.get(singular):
            found.add(Fraction(times))
    return found


def _cardinals(words: str) -> set[Fraction]:
    """Return what number words say, taken together and one by one."""
    parts = [word for word in re.split(r"[\s-]+", words) if word != "and"]
    singles = {Fraction((_WORDS | _LARGE)[word]) for word in parts}
    total = current = 0
    for word in parts:
        if word in _LARGE:
            scaled = max(current, 1) * _LARGE[word]
            total, current = (total, scaled) if word == "hundred" else (total + scaled, 0)
        else:
            current += _WORDS[word]
    return singles | {Fraction(total + current)}


def _implied(lower: str) -> set[Fraction]:
    """Return the numbers that everybody may use, and those that words of the text bring with them."""
    words = {word.removesuffix("s") for word in _WORD.findall(lower)}
    found = {Fraction(1), Fraction(2), Fraction(100)}
    for named, numbers in _WORLD:
        if words & named:
            found |= numbers
    return found


def _derivable(value: Fraction, known: set[Fraction]) -> bool:
    """Say whether a number is known: as it is, as a per cent or in cents, or what a per cent leaves or adds up to."""
    if value in known:
        return True
    percent, share = 100 * value, value / 100
    ways = (percent, 100 - percent, percent - 100, share, 1 - share, 1 + share, 100 - value, 100 + value)
    return not known.isdisjoint(ways)


def _unused(question: str, solution: str) -> list[Fault]:
    mentioned = _said(solution)
    in_hundredths = _HUNDREDTHS.search(f"{question} {solution}") is not None
    fractions = {place: _said(match[0]) for match in _FRACTION.finditer(question) for place in range(*match.span())}
    faults = []
    for number in _numbers(question):
        value, behind = _value(number), question[number.end() :].lower()
        if value <= 1 or behind.startswith(("st", "nd", "rd", "th", ":")):
            continue  # ordinals and times are names rather than amounts
        ways = {value} | fractions.get(number.start(), set())
        if behind.lstrip().startswith(("%", "percent")):
            ways |= {value / 100, 100 - value, 100 + value, 1 - value / 100, 1 + value / 100}
        if in_hundredths:
            ways |= {value / 100, 100 * value}
        if mentioned.isdisjoint(ways):
            faults.append(Fault("unused", number.start(), number.end(), f"{number[0]} is given and never used"))
    return faults
