"""Generated word problems with worked solutions, so that everything runs offline.

A problem is a chain: an opening states a quantity, changes act on it, and a question, perhaps with a last operation,
closes it. Sentences come from :mod:`selfstudy.problems.wordings`. Numbers are positive integers, divisions are exact,
and every step of the solution is one sentence with an annotation ``<<a+b=c>>``.

Splits differ in wordings: problems to learn from are told in more ways than pretraining knows, and every problem for
measuring holds one sentence that is worded as in no other split (:data:`wordings.SPLIT_WORDINGS`).

Candidate ``j`` is a pure function of the settings and ``(seed, j)``. Train, dev and test are kept apart by a hash of
the question with names and things blanked out as well, so they share no question, not even under other names, whatever
their seeds, counts and other settings. A split is its candidates in order, without repeats; a larger ``count``
extends a smaller one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from selfstudy.problems import wordings
from selfstudy.problems.generated import RESULT, Generated, annotated, bucket, different, seeded
from selfstudy.problems.rows import BadRow
from selfstudy.problems.wordings import Schema
from selfstudy.types import Problem

LARGEST = 1000  # no result is larger
_LARGEST_SMALL = 10  # factors and divisors, as in the multiplication table
_SPLITS: dict[int, Literal["dev", "test"]] = {0: "dev", 1: "test"}  # of 8 buckets; the others are train
_PRONOUNS = ("He", "She", "he", "she", "him", "his", "her")
_BLANKED = re.compile(
    rf"\b(?:{'|'.join((*wordings.BOYS, *wordings.GIRLS, *_PRONOUNS))}|(?:{'|'.join(wordings.THINGS)})s?)\b"
)


class WordProblems(Generated):
    """A split of generated problems.

    Attributes:
        split: Train, dev and test share no question, and dev and test have wordings of their own; in ``pretrain``,
            everything is told in fewer ways.
        count: How many problems.
        seed: Of the candidates; splits stay disjoint over seeds.
        min_steps: Fewest operations in a problem.
        max_steps: Most operations in a problem.
        max_number: The largest number that a sentence states (results may be larger, up to 1000).
        distractors: Probability that a problem holds a sentence with a number that does not matter.
    """

    modules: ClassVar[tuple[str, ...]] = ("selfstudy.problems.wordings",)
    split: Literal["pretrain", "train", "dev", "test"] = "train"
    count: int = Field(1000, ge=1)
    seed: int = 0
    min_steps: int = Field(1, ge=1, le=4)
    max_steps: int = Field(3, ge=1, le=4)
    max_number: int = Field(20, ge=5, le=100)
    distractors: float = Field(0.1, ge=0, le=1)

    @model_validator(mode="after")
    def _ordered_steps(self) -> Self:
        if self.min_steps > self.max_steps:
            raise ValueError(f"min_steps: {self.min_steps} is larger than max_steps: {self.max_steps}")
        return self

    def read(self) -> Iterator[Problem | BadRow]:
        """Generate the problems; ids are ``word_problems/<split>/<number from 0>``.

        Raises:
            DataError: The settings allow fewer different questions than ``count``.
        """
        named, remedy = f"word_problems/{self.split}", "raise max_steps or max_number"
        for number, story in different(self.count, self._candidate, _Story.question, named=named, remedy=remedy):
            yield Problem(
                id=f"word_problems/{self.split}/{number:05d}",
                question=story.question(),
                answer=str(story.quantity),
                solution=story.solution(),
                meta={
                    "steps": len(story.steps),
                    "schemas": story.schemas,
                    "distractor": story.distracted,
                },
            )

    def _candidate(self, number: int) -> _Story | None:
        """Tell one story; None where no last operation fits it, such as sharing a large prime, or of another split."""
        draw = seeded(self.seed, self.split, number)
        story = _Story.begin(draw, self.max_number, self.split)
        steps = draw.randint(self.min_steps, self.max_steps)
        opened = draw.random() < 0.5
        closed = steps > opened and draw.random() < 0.5
        changes = steps - opened - closed
        if self.split in ("dev", "test"):
            story.new = draw.randrange(1 + changes + 1)
        story.open(opened)
        for _ in range(changes):
            story.apply(wordings.CHANGES)
        if draw.random() < self.distractors:
            story.distract()
        if closed and not story.apply(wordings.CLOSINGS):
            return None
        if not closed:
            story.say(wordings.QUESTIONS)
        return story if split_of(story.question()) == self.split.removeprefix("pre") else None


def split_of(question: str) -> Literal["train", "dev", "test"]:
    """Return the split that a question belongs to: the same for all names and things."""
    canonical = _BLANKED.sub("_", question).lower()
    return _SPLITS.get(bucket(canonical, 8), "train")


@dataclass(slots=True)
class _Story:
    """A problem in the making: who has how many, and the sentences so far."""

    draw: Random
    largest: int
    split: str
    words: dict[str, str]
    people: tuple[list[str], list[str]]  # still without a quantity: boys, girls
    boy: bool
    quantity: int = 0
    earlier: int = 0  # quantity of the other person, while there are two and nothing happened since; else 0
    moves: int = 0  # how often the quantity went over to another person
    sentences: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    schemas: list[str] = field(default_factory=list)
    distracted: bool = False
    new: int | None = None  # the number from 0 of the sentence that is worded as in no other split

    @classmethod
    def begin(cls, draw: Random, largest: int, split: str) -> _Story:
        thing, other = draw.sample(wordings.THINGS, 2)
        (groups, group), (packs, pack) = draw.sample(wordings.GROUPS, 2)
        words = {"thing": thing, "things": f"{thing}s", "others": f"{other}s"}
        words |= {"groups": groups, "group": group, "packs": packs, "pack": pack}
        # No problem has more than 4 changes, so 5 names of each are more than enough.
        people = draw.sample(wordings.BOYS, 5), draw.sample(wordings.GIRLS, 5)
        boy = draw.random() < 0.5
        story = cls(draw, largest, split, words, people, boy)
        story._introduce(story.people[0 if boy else 1].pop())
        return story

    def _introduce(self, who: str) -> None:
        """Make ``who`` the one whose quantity is followed, and choose a friend of the other gender."""
        he, his, him = ("he", "his", "him") if self.boy else ("she", "her", "her")
        friend = self.people[1 if self.boy else 0].pop()
        self.words |= {"who": who, "he": he, "He": he.capitalize(), "his": his, "him": him, "friend": friend}

    def open(self, with_step: bool) -> None:
        if with_step:
            self.apply(wordings.OPENINGS)
        else:
            self.quantity = self._stated()
            self.say(wordings.START, a=str(self.quantity))

    def apply(self, schemas: dict[str, Schema]) -> bool:
        """Draw a schema that fits the quantity, state it, and write its step; False where none fits."""
        for name in self.draw.sample(list(schemas), len(schemas)):
            operands = self._operands(schemas[name])
            if operands is not None:
                self._state(name, schemas[name], *operands)
                return True
        return False

    def _state(self, name: str, schema: Schema, left: int, right: int) -> None:
        result = RESULT[schema.symbol](left, right)
        self.say(schema.texts, b=str(left if schema.operands == "two" else right), c=str(right), **_spelt(right))
        expression = annotated(left, schema.symbol, right)
        self.steps.append(self.draw.choice(schema.steps).format_map({**self.words, "e": expression}))
        self.schemas.append(name)
        self.earlier = self.quantity if schema.moves and not self.moves else 0
        self.quantity = result
        if schema.moves:
            self.moves += 1
            self.words["earlier"] = self.words["who"]
            self.boy = not self.boy
            self._introduce(self.words["friend"])

    def say(self, texts: tuple[str, ...], **numbers: str) -> None:
        known, new = wordings.SPLIT_WORDINGS[self.split]
        text = texts[self.draw.choice(new if len(self.sentences) == self.new else known)]
        self.sentences.append(text.format_map({**self.words, **numbers}))

    def distract(self) -> None:
        """Put a sentence that does not matter anywhere after the opening."""
        self.say(wordings.DISTRACTORS, n=str(self._stated()))
        sentence = self.sentences.pop()
        self.sentences.insert(self.draw.randint(1, len(self.sentences)), sentence)
        self.distracted = True

    def question(self) -> str:
        return " ".join(self.sentences)

    def solution(self) -> str:
        return "\n".join((*self.steps, f"#### {self.quantity}"))

    def _stated(self) -> int:
        return self.draw.randint(2, self.largest)

    def _operands(self, schema: Schema) -> tuple[int, int] | None:
        """Draw the two numbers of a step; None where the schema does not fit the quantity. No result is below 2."""
        a = self.quantity
        small = min(_LARGEST_SMALL, self.largest)
        match schema.operands:
            case "two" if schema.symbol == "*":
                return self.draw.randint(2, small), self.draw.randint(2, small)
            case "two":
                return self._stated(), self._stated()
            case "earlier":
                return (self.earlier, a) if 0 < self.earlier <= LARGEST - a else None
            case "joined" if self.moves:  # "together" would be of three people
                return None
            case "stated" | "joined" if schema.symbol == "+":
                return (a, self.draw.randint(2, min(self.largest, LARGEST - a))) if a <= LARGEST - 2 else None
            case "stated":
                return (a, self.draw.randint(2, min(self.largest, a - 2))) if a >= 4 else None
            case "times" | "factor":
                most = min(LARGEST // a, max(wordings.TIMES) if schema.operands == "times" else small)
                return (a, self.draw.randint(2, most)) if most >= 2 else None
            case "fraction" | "divisor":
                most = max(wordings.FRACTIONS) if schema.operands == "fraction" else small
                divisors = [b for b in range(2, most + 1) if a % b == 0 and a // b >= 2]
                return (a, self.draw.choice(divisors)) if divisors else None
        raise AssertionError(schema.operands)


def _spelt(number: int) -> dict[str, str]:
    return {"times": wordings.TIMES.get(number, ""), "fraction": wordings.FRACTIONS.get(number, "")}
