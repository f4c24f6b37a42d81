r"""Answers: the one place where a final answer is found in a text and brought to one form.

Finding yields what a solution states as its answer; normalising turns that into the canonical number: one string for
one value, a decimal where one is exact (``-3``, ``0.5``, ``1800``), else a reduced fraction (``1/3``). Both accept any
text, take time linear in it, and never guess: what names no number, or more than one (``3 or 4``), has no answer.
``tests/judging/test_answers.py`` holds the table of decisions.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from typing import Any

from pydantic import field_validator, model_validator

from selfstudy.config import Settings
from selfstudy.judging.expressions import MAX_DIGITS, exact_places, round_decimal

_BOXED = r"\boxed{}"
_MARKERS = {
    "####": re.compile(r"#{4,}"),
    "The answer is": re.compile(r"\bthe\s+answer\s+is\b:?", re.IGNORECASE),
}
_BRACES = re.compile(r"\\[{}]|(?P<box>\\boxed\s*\{)|(?P<open>\{)|(?P<close>\})")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
_SPACES = re.compile(r"[ \t\r\n\f\v]+")  # not the no-break ones, which may group digits


class AnswerFinder(Settings):
    r"""How a solution states its final answer; the last statement counts. Also written as its pattern alone.

    Attributes:
        pattern: ``####`` (what follows on the line), ``The answer is`` (the rest of the sentence, in any case),
            ``\boxed{}`` (what is in the braces), or a regular expression whose one group is the answer. Such an
            expression can be slow on hostile text; the others are linear.
    """

    pattern: str = "####"

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"pattern": value} if isinstance(value, str) else value

    @field_validator("pattern")
    @classmethod
    def _has_one_group(cls, pattern: str) -> str:
        if pattern in _MARKERS or pattern == _BOXED:
            return pattern
        known = ", ".join((*_MARKERS, _BOXED))
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"not a regular expression ({error}), nor one of: {known}") from None
        if groups != 1:
            raise ValueError(f"a regular expression with exactly one group is needed, or one of: {known}")
        return pattern

    @property
    def bounded(self) -> bool:
        """Whether it takes time linear in the text, whatever that is; a regular expression may not."""
        return self.pattern in _MARKERS or self.pattern == _BOXED

    def find(self, text: str) -> str | None:
        """Return the last answer as written, on one line; None where there is none."""
        if self.pattern == _BOXED:
            return _last_box(text)
        if self.pattern in _MARKERS:
            return _after_last_marker(self.pattern, text)
        found = None
        for match in re.finditer(self.pattern, text):
            found = _one_line(match[1] or "") or found
        return found


DEFAULT_FINDER = AnswerFinder()


def find_answer(text: str, finder: AnswerFinder = DEFAULT_FINDER) -> str | None:
    """Return the final answer of a solution as a canonical number; None where there is none."""
    raw = finder.find(text)
    return None if raw is None else normalise(raw)


def ensure_answer_line(solution: str, answer: str, newline: str = "\n") -> str:
    """Return ``solution`` with its ``#### answer`` line: unchanged where it has one, else with one added.

    Idempotent. ``newline`` stands before the line; a notation on one line passes its own, or is rewritten afterwards.
    """
    if DEFAULT_FINDER.find(solution) is not None:
        return solution
    body = solution.rstrip()
    return f"{body}{newline}#### {answer}" if body else f"#### {answer}"


def values_equal(a: str, b: str, tolerance: float = 1e-4) -> bool:
    """Say whether two numbers are nearer than ``tolerance``, exactly; equal ones always are.

    The default is that of arXiv 2407.18248's evaluation.

    Raises:
        ValueError: One of them is not a number.
    """
    return near(_value(a), _value(b), tolerance)


def near(a: Fraction, b: Fraction, tolerance: float) -> bool:
    """Say whether two values are nearer than ``tolerance``; equal ones always are."""
    # The decimal that the config says, not the binary fraction beside it.
    return a == b or abs(a - b) < Fraction(str(tolerance))


def _value(number: str) -> Fraction:
    canonical = normalise(number)
    if canonical is None:
        raise ValueError(f"{number!r:.80} is not a number")
    return Fraction(canonical)


def _one_line(raw: str) -> str | None:
    return _SPACES.sub(" ", raw).strip() or None


def _after_last_marker(name: str, text: str) -> str | None:
    """Return the rest of the line, or of the sentence, after the last marker that something follows."""
    for part in reversed(_MARKERS[name].split(text)[1:]):
        line = part.strip().partition("\n")[0]
        if name != "####":
            line = _SENTENCE_END.split(line, maxsplit=1)[0]
        if found := _one_line(line):
            return found
    return None


def _last_box(text: str) -> str | None:
    """Return the content of the closed box that starts last; the inner one of nested boxes."""
    found, latest = None, -1
    starts: list[int] = []  # of the open braces' content, -1 where they are no box
    for match in _BRACES.finditer(text):
        if match["close"] and starts:
            start = starts.pop()
            if start > latest and (content := _one_line(text[start : match.start()])):
                found, latest = content, start
        elif match["box"] or match["open"]:
            starts.append(match.end() if match["box"] else -1)
    return found


_FOLDED = str.maketrans(
    {
        **dict.fromkeys("−–－‐‑", "-"),
        **{"＋": "+", "．": ".", "，": ",", "：": ":", "／": "/", "⁄": "/", "＄": "$"},
        **{"½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"},
    }
)
# Where a fraction begins that may stand behind a whole number (5½, 5\frac{1}{2}); a sign stays with it.
_JOINED = re.compile(r"(?<![-−–－‐‑+＋])(?=[½¼¾⅓⅔]|\\[dt]?frac)")
_FOREIGN_DIGIT = re.compile(r"[^\D0-9]")
_GROUP_SPACE = re.compile(r"(?<=[0-9])[\u00a0\u2009\u202f](?=[0-9]{3}(?![0-9]))")
_LATEX = (
    (re.compile(r"\\[dt]?frac\s*\{([0-9]+)\}\s*\{([0-9]+)\}"), r"\1/\2"),
    (re.compile(r"\\([$%])"), r"\1"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[!,;: ]"), ""),
)
# Not one plain value: an inequality, a dash that may be a minus, a root, a power of the number itself.
_NOT_PLAIN = re.compile(r"[±∓<>≤≥≠—√π∞]|[0-9][⁰¹²³⁴-⁹]|sqrt|\\pi\b")
_BLOB = r"(?:(?<![\w.,])[.,])?[0-9][0-9.,:]*+"
_TOKEN = re.compile(
    r"(?![xX][0-9])[^\W\d_]++(?:\^?\{?[0-9][\w.,]*+)?"  # a word; the digits in m2, m^2 or CO2 are no number of ours
    r"|(?P<whole>(?:[0-9]{1,3}(?:,[0-9]{3})++|[0-9]++) (?=[0-9]++ ?/ ?[0-9]))?"
    rf"(?P<top>{_BLOB})(?: ?/ ?(?P<bottom>{_BLOB}))?(?P<power>[eE][-+]?[0-9]++)?"
)
_PLAIN = re.compile(r"(?:[0-9]{1,3}(?:,[0-9]{3})++|[0-9]++)?+(?:\.[0-9]*+)?+")
_CURRENCIES = " $€£¥₹"


def normalise(raw: str) -> str | None:
    """Return the one number that ``raw`` names, as a canonical string; None where it names none, or several.

    Words around the number are its unit, and so is ``%``: GSM8K's answers are bare numbers. Numbers of more than
    :data:`~selfstudy.judging.expressions.MAX_DIGITS` digits are none.
    """
    return _remembered(raw) if len(raw) <= _SHORT else _normalise(raw)


def _normalise(raw: str) -> str | None:
    text = _JOINED.sub(" ", raw).translate(_FOLDED)
    text = _FOREIGN_DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), text)
    for pattern, replacement in _LATEX:
        text = pattern.sub(replacement, text)
    text = " ".join(_GROUP_SPACE.sub(",", text).split())
    if _NOT_PLAIN.search(text):
        return None
    numbers = list(islice((match for match in _TOKEN.finditer(text) if match["top"]), 2))
    if len(numbers) != 1:
        return None
    sign = _sign(text[: numbers[0].start()])
    size = _size(numbers[0])
    if sign is None or size is None:
        return None
    value = sign * size
    places = exact_places(value, MAX_DIGITS)
    canonical = f"{value.numerator}/{value.denominator}" if places is None else round_decimal(value, places)
    return canonical if all(len(re.findall("[0-9]", part)) <= MAX_DIGITS for part in canonical.split("/")) else None


_SHORT = 40  # characters; a run asks for the same few thousand numbers a million times
_remembered = lru_cache(2**14)(_normalise)


def _sign(head: str) -> int | None:
    """Read the sign from the text before a number; None where it may be a dash (``total - 5``, ``x-5``, ``--5``)."""
    bare = head.rstrip(_CURRENCIES)
    if not bare.endswith(("-", "+")):
        return 1
    before = bare[:-1]
    apart = head[len(bare) :].startswith(" ")
    if apart and before.rstrip() and before.rstrip()[-1] not in "=:(":
        return None
    if before and (before[-1].isalnum() or before[-1] in "+-)]}"):
        return None
    return -1 if bare.endswith("-") else 1


def _size(match: re.Match[str]) -> Fraction | None:
    """Compute ``5``, ``1,800.50``, ``1e3``, ``1/2`` or ``5 1/2``; None where it is malformed, too long or x/0."""
    parts = [_plain(part) for part in match.group("whole", "top", "bottom") if part is not None]
    power = match["power"] or "e0"
    if None in parts or len(power) > 5 or abs(int(power[1:])) > MAX_DIGITS:
        return None
    numbers = [part for part in parts if part is not None]
    if match["bottom"] is None:
        return numbers[0] * Fraction(10) ** int(power[1:])
    if numbers[-1] == 0 or match["power"]:
        return None
    fraction = numbers[-2] / numbers[-1]
    if match["whole"] is None:
        return fraction
    return numbers[0] + fraction if fraction < 1 else None


def _plain(blob: str) -> Fraction | None:
    text = blob.rstrip(" .,:")  # the punctuation of a sentence
    if not text or len(text) > 2 * MAX_DIGITS or not _PLAIN.fullmatch(text):
        return None
    digits = text.replace(",", "")
    return Fraction(digits if digits[0] != "." else "0" + digits) if len(digits) <= MAX_DIGITS + 1 else None
