"""Generated word problems of many kinds, in wordings of which some are kept for tests.

Situations and sentences come from :mod:`selfstudy.problems.families`. Each split has wordings of its own: what a model
is tested on, it has read neither in pretraining nor among the problems that it learns from, whatever the numbers. The
solutions are sentences with an annotation ``<<a+b=c>>`` for each step.

Candidate ``j`` is a pure function of the settings and ``(seed, j)``; a larger ``count`` extends a smaller one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from random import Random
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from selfstudy.errors import did_you_mean
from selfstudy.problems.families import FAMILIES
from selfstudy.problems.families.family import Family
from selfstudy.problems.families.nouns import HERS, HIS, PEOPLE, PLACES, SINGULAR, THINGS, UNITS
from selfstudy.problems.generated import RESULT, Generated, annotated, different, seeded
from selfstudy.problems.rows import BadRow
from selfstudy.types import Problem

LARGEST = 20_000  # no result is larger
_NOT_PRETRAINED: Mapping[str, tuple[int, ...]] = {"train": (0, 1, 2, 3, 4), "dev": (5,), "test": (6, 7)}
# Which of a family's wordings belong to which split, by the family's home.
SPLIT_WORDINGS: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "pretrain": {"pretrain": tuple(range(12))},
    "all": {"pretrain": (0, 1, 2, 3), "train": (4,), "dev": (5,), "test": (6, 7)},
    "train": _NOT_PRETRAINED,
    "transfer": _NOT_PRETRAINED,
}
_TRIES = 300  # numbers drawn for a family until all results are integers
_ASIDES = (
    "It is {n} degrees outside.",
    "The road to the {place} has {n} bends.",
    "There are {n} chairs in the room.",
    "The clock struck {n} minutes ago.",
)
_BY_NAME = {family.name: family for family in FAMILIES}


class Stories(Generated):
    """A split of generated word problems.

    Attributes:
        split: Splits share no wording, hence no question.
        count: How many problems.
        seed: Of the candidates.
        families: Which kinds, by name; ``null``: all of the split but two that are for transfer. Most kinds are for
            ``pretrain`` alone, which refuses half of the others.
        distractors: Probability of a sentence with a number that does not matter.
    """

    modules: ClassVar[tuple[str, ...]] = tuple(
        f"selfstudy.problems.families.{name}"
        for name in ("counting", "measuring", "longer", "tested", "family", "nouns")
    )
    split: Literal["pretrain", "train", "dev", "test"] = "train"
    count: int = Field(1000, ge=1)
    seed: int = 0
    families: tuple[str, ...] | None = Field(None, min_length=1)
    distractors: float = Field(0.1, ge=0, le=1)

    @field_validator("families")
    @classmethod
    def _known(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in names or ():
            if name not in _BY_NAME:
                raise ValueError(f"there is no family '{name}'{did_you_mean(name, _BY_NAME)}")
        return names

    @model_validator(mode="after")
    def _kept_from_pretraining(self) -> Self:
        for name in self.families or ():
            if self.split not in SPLIT_WORDINGS[_BY_NAME[name].home]:
                raise ValueError(f"family '{name}' is not for split {self.split}")
        return self

    def read(self) -> Iterator[Problem | BadRow]:
        """Generate the problems; ids are ``stories/<split>/<number from 0>``.

        Raises:
            DataError: The settings allow fewer different questions than ``count``.
        """
        named, remedy = f"stories/{self.split}", "name more families"
        for number, problem in different(
            self.count, self._candidate, lambda problem: problem.question, named=named, remedy=remedy
        ):
            yield replace(problem, id=f"stories/{self.split}/{number:06d}")

    def _families(self) -> tuple[Family, ...]:
        if self.families is not None:
            return tuple(_BY_NAME[name] for name in self.families)
        known = (family for family in FAMILIES if family.home != "transfer")
        return tuple(family for family in known if self.split in SPLIT_WORDINGS[family.home])

    def _candidate(self, number: int) -> Problem | None:
        """Tell one problem, yet without an id; None where no numbers fit its family."""
        draw = seeded(self.seed, self.split, number)
        family = draw.choice(self._families())
        for _ in range(_TRIES):
            values = {letter: draw.randint(*bounds) for letter, bounds in family.numbers.items()}
            lines = _solved(family, values)
            if lines is not None:
                break
        else:
            return None
        wording = draw.choice(SPLIT_WORDINGS[family.home][self.split])
        words = _words(draw) | {letter: str(values[letter]) for letter in family.numbers}
        question = family.wordings[wording].format_map(words)
        aside = draw.random() < self.distractors
        if aside:  # in front, where no "them" or "that" can mean it
            question = f"{draw.choice(_ASIDES).format(n=draw.randint(2, 60), **words)} {question}"
        steps = [
            draw.choice(step.texts).format_map({**words, "e": line})
            for step, line in zip(family.steps, lines, strict=True)
        ]
        answer = str(values[family.steps[-1].name])
        meta = {"family": family.name, "wording": wording, "steps": len(steps), "distractor": aside}
        return Problem("", question, answer, "\n".join([*steps, f"#### {answer}"]), meta)


def _solved(family: Family, values: dict[str, int]) -> list[str] | None:
    """Add the results of all steps to ``values`` and return the annotated expressions.

    None where a division is not exact, or a result is out of bounds. ("1 remain" would be no English.)
    """
    lines = []
    for step in family.steps:
        left, right = (values[side] if side in values else int(side) for side in (step.left, step.right))
        if step.symbol == "/" and left % right:
            return None
        result = RESULT[step.symbol](left, right)
        if not 2 <= result <= LARGEST:
            return None
        values[step.name] = result
        lines.append(annotated(left, step.symbol, right))
    return lines


def _words(draw: Random) -> dict[str, str]:
    """Draw people of unlike pronouns, so that none has two readings, things, units and a place."""
    who = draw.choice(sorted(PEOPLE))
    he, his, him = PEOPLE[who]
    friend = draw.choice(
        sorted(name for name, theirs in PEOPLE.items() if theirs is (HERS if PEOPLE[who] is HIS else HIS))
    )
    things, others = draw.sample(THINGS, 2)
    words = {"who": who, "he": he, "He": he.capitalize(), "his": his, "him": him, "friend": friend}
    units = {unit: draw.choice(names) for unit, names in UNITS.items()}
    units["foot"] = SINGULAR[units["feet"]]
    return {**words, **units, "things": things, "others": others, "place": draw.choice(PLACES)}
