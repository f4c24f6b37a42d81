"""The table of decisions about answers, and properties over arbitrary text."""

from __future__ import annotations

import json
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from selfstudy.config import Settings
from selfstudy.errors import ConfigError
from selfstudy.judging.answers import AnswerFinder, ensure_answer_line, find_answer, normalise, values_equal
from selfstudy.judging.notation import ANGLE, BRACKET

NBSP, THIN, NARROW = "\u00a0", "\u2009", "\u202f"

# raw text, canonical number (None: no answer), why
CASES: list[tuple[str, str | None, str]] = [
    # Plain numbers: one string for one value.
    ("5", "5", "itself"),
    ("-3", "-3", "itself"),
    ("+5", "5", "a plus says nothing"),
    ("5.", "5", "the full stop of a sentence"),
    ("5,", "5", "its comma"),
    ("5:", "5", "its colon"),
    ("5!", "5", "its exclamation mark; nobody answers with a factorial"),
    (".5", "0.5", "as calculators write it"),
    ("-.5", "-0.5", "with a sign too"),
    ("0.50", "0.5", "trailing zeros carry no value"),
    ("1.000", "1", "a point is the decimal point, never a thousands mark"),
    ("5.0", "5", "as floats are printed"),
    ("00012", "12", "leading zeros"),
    ("-0", "0", "zero has no sign"),
    ("-0.00", "0", "nor as a decimal"),
    ("3.14159265358979", "3.14159265358979", "decimals are exact, never floats"),
    # Thousands.
    ("1,000", "1000", "commas removed (METHOD)"),
    ("2,520,000", "2520000", "all of them"),
    ("$1,234.50", "1234.5", "with decimals"),
    ("1,00", None, "one comma too early: 100, 1.00 or a slip"),
    ("12,5", None, "a decimal comma, or 125"),
    (",5", None, "likewise"),
    ("1,00,000", None, "lakhs: too near a slip to be accepted"),
    ("1.000.000", None, "two points"),
    ("1 000", None, "two numbers as far as one can tell"),
    (f"1{NBSP}000", "1000", "a no-break space between groups of three has no other use"),
    (f"12{THIN}345{NARROW}678", "12345678", "nor has a thin one"),
    (f"5{NBSP}apples", "5", "elsewhere it is a space"),
    ("1'000", None, "two numbers"),
    ("1_000", None, "two numbers"),
    ("1{,}000", "1000", "LaTeX's spelling"),
    # Money, percent, units: GSM8K's answers are bare numbers.
    ("$5", "5", "the unit is no part of the number"),
    ("$ 5", "5", "likewise"),
    ("5$", "5", "likewise"),
    ("€5", "5", "likewise"),
    ("-$5", "-5", "the sign may stand before the currency"),
    ("$-5", "-5", "or after it"),
    ("- $5", "-5", "or apart, when nothing stands before"),
    ("Rs.5", "5", "a point after letters is an abbreviation's"),
    ("50%", "50", "percent is a unit here; the gold answer of 'what percent' is 50"),
    (r"50\%", "50", "LaTeX's spelling"),
    ("5 dollars", "5", "unit"),
    ("3 apples", "3", "unit"),
    ("5kg", "5", "unit without a space"),
    ("5 km/h", "5", "a unit with a slash"),
    ("5 m2", "5", "digits in a unit are no number"),
    ("5 m^2", "5", "likewise"),
    ("5 m²", "5", "likewise"),
    ("5th", "5", "an ordinal"),
    ("5-year-old", "5", "the hyphen is behind the number"),
    ("5 million", "5", "words are units, 'million' too; a gold answer of 5000000 is not met"),
    # Words around it.
    ("= 5", "5", "an equals sign before it"),
    ("x = 5", "5", "a name before it"),
    ("x = -5", "-5", "with its sign"),
    ("(5)", "5", "parentheses are not the accountant's minus"),
    ("(-5)", "-5", "the sign counts inside"),
    ("**5**", "5", "markdown"),
    ("$5$", "5", "LaTeX"),
    (r"5 \text{ cm}", "5", "LaTeX"),
    ("is -5", "-5", "a sign that touches its number"),
    ("...5", "5", "an ellipsis is no decimal point"),
    ("about 5", "5", "hedging words are not judged"),
    # Signs in other clothes, and signs that may be dashes.
    ("−3", "-3", "Unicode minus"),
    ("–3", "-3", "en dash"),
    ("－３", "-3", "full width"),
    ("- 5", "-5", "apart, but nothing before it"),
    ("= - 5", "-5", "likewise"),
    ("total - 5", None, "dash or minus?"),
    ("x-5", None, "hyphen or minus?"),
    ("COVID-19", None, "likewise"),
    ("—5", None, "an em dash is a dash"),
    ("--5", None, "two signs"),
    ("±5", None, "two values"),
    # Fractions: exact.
    ("1/2", "0.5", "a decimal where one is exact"),
    ("2/6", "1/3", "else reduced"),
    ("-1/3", "-1/3", "with its sign"),
    ("1 / 2", "0.5", "spaces"),
    ("4/2", "2", "a whole number"),
    ("1.5/2", "0.75", "decimals above or below"),
    ("3/4 cup", "0.75", "unit"),
    ("5 1/2", "5.5", "a mixed number"),
    ("-5 1/2", "-5.5", "the sign is the whole's"),
    ("5½", "5.5", "one character"),
    ("½", "0.5", "alone"),
    ("1⁄2", "0.5", "the fraction slash"),
    (r"\frac{1}{2}", "0.5", "LaTeX"),
    (r"-\frac{3}{4}", "-0.75", "LaTeX"),
    (r"5\frac{1}{2}", "5.5", "LaTeX"),
    (r"5\,\frac{1}{2}", "5.5", "a thin space"),
    (r"5\ \frac{1}{2}", "5.5", "a space"),
    (r"2\!\dfrac{3}{4}", "2.75", "a space taken back"),
    ("3.½", None, "a sentence ends, or it is garbled"),
    ("0.½", None, "likewise"),
    ("is -½", "-0.5", "a sign stays with it"),
    (r"$-\frac{1}{2}$", "-0.5", "likewise"),
    ("**-½**", "-0.5", "likewise"),
    ("- ½", "-0.5", "as with - 5"),
    ("total - ½", None, "a dash"),
    ("1,000½", "1000.5", "a whole number with commas"),
    ("½½", None, "two numbers"),
    ("about½", "0.5", "nothing joins it to a word"),
    ("5 3/2", None, "no mixed number: two numbers"),
    ("1/0", None, "no value"),
    ("1/2/2024", None, "a date"),
    # Exponents.
    ("1e3", "1000", "exact"),
    ("1.5E-3", "0.0015", "exact"),
    ("1e00000003", None, "bounded in length"),
    ("1e999999", None, "bounded in size"),
    ("10^2", None, "arithmetic is not carried out in an answer"),
    ("10²", None, "likewise, and it is not 102"),
    ("3 x 10^4", None, "likewise"),
    # Other digits.
    ("５", "5", "full width"),
    ("٤٢", "42", "any decimal digits"),
    # Several numbers: which one is the answer?
    ("3 or 4", None, "a hedge earns nothing"),
    ("3+4", None, "not carried out"),
    ("3 + 4 = 7", None, "the calculation is no answer line"),
    ("2x4", None, "a product, not 2 of x4"),
    ("5-10", None, "a range"),
    ("12:30", None, "a time"),
    ("3:4", None, "a ratio"),
    ("1.2.3", None, "a section"),
    ("> 5", None, "an inequality"),
    (r"\sqrt{2}", None, "a root"),
    ("2π", None, "not two"),
    # No number.
    ("", None, "nothing"),
    ("five", None, "words are not numbers"),
    ("apples", None, "a unit alone"),
    ("Infinity", None, "no number"),
    ("nan", None, "no number"),
    ("v1.5", None, "a name"),
    ("CO2", None, "a name"),
    ("²", None, "a power of nothing"),
    # Size.
    ("9" * 50, "9" * 50, "the longest"),
    ("9" * 51, None, "digits are bounded: a model that repeats itself has no answer"),
    ("1e-60", None, "so are decimals"),
]


@pytest.mark.parametrize(("raw", "canonical", "why"), CASES, ids=[repr(case[0])[:24] for case in CASES])
def test_normalise(raw: str, canonical: str | None, why: str) -> None:
    assert normalise(raw) == canonical, why


# text, canonical number, why; the pattern is the default ####
FOUND: list[tuple[str, str | None, str]] = [
    ("so it is 5.\n#### 5", "5", "the usual place"),
    ("#### 5 #### 7", "7", "the last one counts"),
    ("#### 5\nwait\n#### 7", "7", "likewise"),
    ("#### 5 ####", "5", "a marker without a value is not the last one"),
    ("[ 3+4 = 7 ] 7 apples. #### 7", "7", "on one line"),
    ("####7", "7", "without a space"),
    ("#####7", "7", "a fifth #"),
    ("####\n7", "7", "on the next line"),
    ("#### 7\nThe 2 others left.", "7", "the line ends the answer"),
    ("#### 7\r\n", "7", "carriage returns"),
    ("#### 7 and 8", None, "two numbers"),
    ("#### apples", None, "no number"),
    ("#### 5\n#### apples", None, "the last statement counts, even when it is no number"),
    ("### 7", None, "three # are a heading"),
    ("it is 7", None, "no statement"),
    ("", None, "nothing"),
    ("####", None, "nothing"),
]


@pytest.mark.parametrize(("text", "canonical", "why"), FOUND)
def test_find_answer(text: str, canonical: str | None, why: str) -> None:
    assert find_answer(text) == canonical, why


@pytest.mark.parametrize(
    ("pattern", "text", "raw"),
    [
        ("The answer is", "The answer is 5.", "5"),
        ("The answer is", "so the answer is: $1,000.50. Then 3 more.", "$1,000.50"),
        ("The answer is", "The answer is 5. No, the  answer\nis 7", "7"),
        ("The answer is", "The answer is (B). Because", "(B)"),
        ("The answer is", "The answer is", None),
        ("The answer is", "#### 5", None),
        (r"\boxed{}", r"so \boxed{5} and \boxed{7}.", "7"),
        (r"\boxed{}", r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{}", r"\boxed {5 \text{ cm}}", r"5 \text{ cm}"),
        (r"\boxed{}", r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{}", r"\boxed{5} and \boxed{7", "5"),  # cut off
        (r"\boxed{}", r"{ \boxed{ } } \boxed{\{5\}}", r"\{5\}"),
        (r"\boxed{}", r"} {{ \boxed{5}", "5"),
        (r"\boxed{}", r"\boxed 5", None),
        (r"Answer: *(.*)", "Answer: 5\nAnswer:  7 ", "7"),
        (r"Answer: *(.*)", "Answer: 5\nAnswer:", "5"),
        (r"A(\d)?", "A", None),  # the group took no part
        (r"=([^=]+)$", "1 = 2\n + 3", "2 + 3"),  # on one line
    ],
)
def test_patterns(pattern: str, text: str, raw: str | None) -> None:
    assert AnswerFinder(pattern=pattern).find(text) == raw


def test_a_boxed_fraction_is_a_number() -> None:
    assert find_answer(r"\boxed{-\frac{1}{3}}", AnswerFinder(pattern=r"\boxed{}")) == "-1/3"


@pytest.mark.parametrize("pattern", ["answer", "(a)(b)", "(", ""])
def test_a_pattern_needs_one_group(pattern: str) -> None:
    with pytest.raises(ValidationError, match=r"one of: ####, The answer is, \\boxed\{\}"):
        AnswerFinder(pattern=pattern)


def test_a_finder_may_be_written_as_its_pattern() -> None:
    class Holder(Settings):
        finder: AnswerFinder

    assert Holder.parse({"finder": "The answer is"}, "here").finder.pattern == "The answer is"
    with pytest.raises(ConfigError, match=r"here: finder.patern is not a setting; did you mean 'pattern'\?"):
        Holder.parse({"finder": {"patern": "####"}}, "here")


@given(st.text() | st.text("0123456789.,-+/$%:eExX #{}\\ ½²", max_size=40))
def test_total_and_idempotent(text: str) -> None:
    canonical = normalise(text)
    if canonical is not None:
        assert normalise(canonical) == canonical
        assert normalise(f" ${canonical}. ") == canonical or "/" in canonical
        assert abs(Fraction(canonical)) >= 0
    for pattern in ("####", "The answer is", r"\boxed{}", r"=(.*)"):
        find_answer(text, AnswerFinder(pattern=pattern))


@given(st.fractions(max_denominator=10**9))
def test_one_string_for_one_value(value: Fraction) -> None:
    canonical = normalise(f"{value.numerator}/{value.denominator}")
    assert canonical is not None
    assert Fraction(canonical) == value
    assert normalise(f"{value.numerator * 7}/{value.denominator * 7}") == canonical


@pytest.mark.parametrize(
    "piece",
    [
        *(" ", "-", "$ ", "1 ", "1", "1,", ".", ".1", "1/", "1 1/", "x1", "a ", "^{1", f"1{NBSP}", "\n"),
        *(r"\frac{", r"\frac ", "{", "}", r"\boxed{", r"\boxed{}", "####", "#### ", "####\n", "the answer is ", "the "),
    ],
)
def test_linear_on_hostile_text(piece: str) -> None:
    """Quadratic work on this length would take minutes."""
    text = piece * (200_000 // len(piece))
    start = time.perf_counter()
    normalise(text)
    for pattern in ("####", "The answer is", r"\boxed{}"):
        find_answer(text, AnswerFinder(pattern=pattern))
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("a", "b", "tolerance", "equal"),
    [
        ("1", "1.0", 1e-4, True),
        ("33.33", "100/3", 1e-4, False),
        ("33.3333", "100/3", 1e-4, True),
        ("1", "1.0001", 1e-4, False),  # "less than", and exactly: floats say 0.99999...e-4
        ("1", "1.00009999", 1e-4, True),
        ("0.3", "0.3", 0.0, True),  # equal ones always are
        ("0.3", "0.30000001", 0.0, False),
        ("-2", "2", 1e-4, False),
        ("10000000000000000000000001", "10000000000000000000000002", 1e-4, False),  # beyond floats
    ],
)
def test_values_equal(a: str, b: str, tolerance: float, equal: bool) -> None:
    assert values_equal(a, b, tolerance) is equal
    assert values_equal(b, a, tolerance) is equal


def test_values_equal_refuses_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="'apples' is not a number"):
        values_equal("1", "apples")


@pytest.mark.parametrize(
    ("solution", "answer", "line"),
    [
        ("3+4 = <<3+4=7>>7", "7", "3+4 = <<3+4=7>>7\n#### 7"),
        ("3+4 = <<3+4=7>>7\n", "7", "3+4 = <<3+4=7>>7\n#### 7"),
        ("3+4 = <<3+4=7>>7\n#### 7", "7", "3+4 = <<3+4=7>>7\n#### 7"),
        ("[ 3+4 = 7 ]7 apples. #### 7", "7", "[ 3+4 = 7 ]7 apples. #### 7"),
        ("It is Paris.", "Paris", "It is Paris.\n#### Paris"),
        ("#### 1,000", "1000", "#### 1,000"),  # as the data has it
        ("", "7", "#### 7"),
    ],
)
def test_ensure_answer_line(solution: str, answer: str, line: str) -> None:
    assert ensure_answer_line(solution, answer) == line


@given(st.text(max_size=30) | st.text("# \n7", max_size=12), st.integers(-99, 99).map(str))
def test_ensure_answer_line_properties(solution: str, answer: str) -> None:
    once = ensure_answer_line(solution, answer)
    assert ensure_answer_line(once, answer) == once
    assert AnswerFinder().find(once) is not None
    # In either order, the line reaches the one-line notation.
    assert ensure_answer_line(BRACKET.rewrite(once), answer, newline=" ") == BRACKET.rewrite(once)


def test_gsm8k(data) -> None:
    for split in ("train", "dev"):
        for line in (data / "gsm8k" / f"{split}.jsonl").open(encoding="utf-8"):
            row = json.loads(line)
            found = find_answer(row["answer"])
            assert found is not None
            assert Fraction(found) == Fraction(row["ans"])
            assert ensure_answer_line(row["answer"], found) == row["answer"]
            for notation in (ANGLE, BRACKET):
                assert find_answer(notation.rewrite(row["answer"])) == found
