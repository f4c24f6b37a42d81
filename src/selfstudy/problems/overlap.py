"""Overlap: questions that are asked in training and again where a model is measured.

Two questions are the same where their words and numbers are, whatever their case, punctuation and white space. They
are near where they have the same numbers and half of their word trigrams in common: that much is left of a question
that was reworded a little, got another name, or another order of sentences. A question with other numbers is another
problem, however alike the words: generated problems, and whole data sets, are made of such.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from selfstudy.types import Problem

Kind = Literal["exact", "near"]

NEAR = 0.5  # of the trigrams of both, those that they share, on average
SHORTEST = 8  # words: two shorter questions are the same or not
_COMMON = 50  # a trigram that so many questions with the same numbers have leads to none of them

_WORD = re.compile(
    r"\d+(?:[.,]\d+)*"  # a number, digits grouped or not
    r"|[^\W\d_]+(?:['’][^\W\d_]+)*"  # a word
    r"|(?<![^\W\d_])[-−]|[+*/=^%<>×÷]"  # what is done with numbers; a hyphen behind a letter is none of it
)
# Not "one", which counts nothing in "one of them".
_SPELT = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9"}
_SPELT |= {"ten": "10", "eleven": "11", "twelve": "12", "fifteen": "15", "twenty": "20", "thirty": "30", "fifty": "50"}


@dataclass(frozen=True, slots=True)
class Overlap:
    """A question that measures, and the one elsewhere, in training say, that it is most like.

    Attributes:
        id: Of the problem that measures.
        other_id: Of the problem elsewhere.
        kind: Whether they are the same.
        similarity: The share of trigrams; 1 where they are the same.
    """

    id: str
    other_id: str
    kind: Kind
    similarity: float


def words(question: str) -> tuple[str, ...]:
    """Return the words and numbers of a question: ``Tom's 1,000 apples.`` is ``tom's 1000 apples``."""
    text = unicodedata.normalize("NFKC", question).casefold()
    found = (match[0].replace(",", "").replace("’", "'") for match in _WORD.finditer(text))
    return tuple(_SPELT.get(word, word) for word in found) or (text,)


def similarity(a: Sequence[str], b: Sequence[str]) -> float:
    """Return the share of word trigrams that two questions have in common (Dice's coefficient)."""
    ours, theirs = _trigrams(a), _trigrams(b)
    return 2 * len(ours & theirs) / (len(ours) + len(theirs)) if ours and theirs else 0.0


@dataclass
class _Index:
    """Questions that measure, found by their words or by their numbers with any of their trigrams."""

    exact: dict[tuple[str, ...], list[int]] = field(default_factory=lambda: defaultdict(list))
    near: dict[tuple[str, ...], dict[str, list[int]]] = field(default_factory=lambda: defaultdict(dict))


def find_overlaps(measured: Sequence[Problem], training: Iterable[Problem]) -> list[Overlap | None]:
    """Say of every problem of ``measured`` whether it is asked in training too; None where it is not.

    Those that measure are held in memory, those that train are read once. A question is compared with those alone that
    have its numbers and a trigram of its own.
    """
    asked = [words(problem.question) for problem in measured]
    index = _index(asked)
    best: dict[int, Overlap] = {}
    for problem in training:
        said = words(problem.question)
        for number, kind, share in _alike(said, asked, index):
            found = Overlap(measured[number].id, problem.id, kind, round(share, 4))
            if number not in best or _rank(found) > _rank(best[number]):  # the first of equals stays
                best[number] = found
    return [best.get(number) for number in range(len(measured))]


def _rank(overlap: Overlap) -> tuple[bool, float]:
    return overlap.kind == "exact", overlap.similarity


def _index(asked: Sequence[tuple[str, ...]]) -> _Index:
    index = _Index()
    for number, said in enumerate(asked):
        index.exact[said].append(number)
        if len(said) >= SHORTEST:
            by_trigram = index.near[_numbers(said)]
            for trigram in _trigrams(said):
                by_trigram.setdefault(trigram, []).append(number)
    return index


def _alike(said: tuple[str, ...], asked: Sequence[tuple[str, ...]], index: _Index) -> Iterator[tuple[int, Kind, float]]:
    """Yield the numbers of the questions that are the same or near, in no order that matters."""
    same = index.exact.get(said, [])
    for number in same:
        yield number, "exact", 1.0
    by_trigram = index.near.get(_numbers(said)) if len(said) >= SHORTEST else None
    if by_trigram is None:
        return
    lists = (by_trigram.get(trigram, ()) for trigram in _trigrams(said))
    candidates = {number for numbers in lists if len(numbers) <= _COMMON for number in numbers}
    for number in candidates.difference(same):
        share = similarity(said, asked[number])
        if share >= NEAR:
            yield number, "near", share


def _trigrams(said: Sequence[str]) -> set[str]:
    return {" ".join(three) for three in zip(said, said[1:], said[2:], strict=False)}


def _numbers(said: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(word for word in said if word[0].isdecimal()))
