"""MsAT: generated arithmetic in several steps, to be learnt before word problems (Wang and Lu 2023, arXiv 2306.01707).

An item is drawn as a prefix template such as ``+ * n n n``: one to three operators over numbers, some of which have
names. It is told as equations in any order, among others that do not matter, and asks for the result, for a part of it
that has a name, or for one of the named numbers, which then has to be found backwards. All values are positive
integers, divisions are exact, and each step of the solution has an annotation ``<<a+b=c>>``.

Candidate ``j`` is a pure function of the settings and ``(seed, j)``. The split it belongs to is a hash of the template
that has to be worked out, its numbers and what is asked, so two splits share no problem, whatever its names, order and
the equations that do not matter; nor does one split hold a problem twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from string import ascii_uppercase
from typing import Literal, Self

from pydantic import Field, model_validator

from selfstudy.problems.generated import RESULT, Generated, annotated, bucket, different, seeded
from selfstudy.problems.rows import BadRow
from selfstudy.types import Problem

LARGEST = 10_000  # no value is larger
_TRIES = 300  # numbers drawn for a template until its values are integers
_SPLITS: dict[int, Literal["dev", "test"]] = {0: "dev", 1: "test"}  # of 16 buckets; the others are train


class Msat(Generated):
    """A split of generated arithmetic.

    Attributes:
        split: Splits share no question.
        count: How many items.
        seed: Of the candidates; splits stay disjoint over seeds.
        min_operators: Fewest operators, each of which is a step of the solution.
        max_operators: Most operators.
        max_number: The largest number that is drawn (values may be larger, up to 10000).
        literals: Probability that a number stands in the equation itself, without a name.
        parts: Probability that an inner operation has an equation of its own.
        backwards: Probability that a named number is asked for instead of the result, or a named part of it.
        distractors: Most equations that do not matter.
    """

    split: Literal["train", "dev", "test"] = "train"
    count: int = Field(1000, ge=1)
    seed: int = 0
    min_operators: int = Field(1, ge=1, le=3)
    max_operators: int = Field(3, ge=1, le=3)
    max_number: int = Field(50, ge=5, le=1000)
    literals: float = Field(0.3, ge=0, le=1)
    parts: float = Field(0.3, ge=0, le=1)
    backwards: float = Field(0.5, ge=0, le=1)
    distractors: int = Field(4, ge=0, le=4)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_operators > self.max_operators:
            raise ValueError(f"min_operators: {self.min_operators} is larger than max_operators: {self.max_operators}")
        return self

    def read(self) -> Iterator[Problem | BadRow]:
        """Generate the items; ids are ``msat/<split>/<number from 0>``.

        Raises:
            DataError: The settings allow fewer different questions than ``count``.
        """
        named, remedy = f"msat/{self.split}", "raise max_operators or max_number"
        for number, item in different(self.count, self._candidate, lambda item: item.key, named=named, remedy=remedy):
            yield Problem(
                id=f"msat/{self.split}/{number:06d}",
                question=item.question,
                answer=str(item.answer),
                solution="\n".join((*item.steps, f"#### {item.answer}")),
                meta=item.meta,
            )

    def _candidate(self, number: int) -> _Item | None:
        """Draw one item; None where no numbers make its template's values integers, or of another split."""
        draw = seeded(self.seed, number)
        root = _template(draw, draw.randint(self.min_operators, self.max_operators))
        if not any(_valued(root, draw, self.max_number) for _ in range(_TRIES)):
            return None
        names = iter(draw.sample(ascii_uppercase, 12))
        root.name = next(names)
        leaves: list[_Node] = []
        inner: list[_Node] = []
        for node in _below(root):
            (leaves if node.leaf else inner).append(node)
        for node in leaves:
            node.name = "" if draw.random() < self.literals else next(names)
        for node in inner:
            node.name = next(names) if draw.random() < self.parts else ""
        named = [node for node in leaves if node.name]
        parts = [root, *(node for node in inner if node.name)]
        asked = draw.choice(named) if named and draw.random() < self.backwards else draw.choice(parts)
        told = [f"{node.name} = {_written(node, told=True)}." for node in (root, *inner) if node.name]
        told += [f"{node.name} = {node.value}." for node in named if node is not asked]
        if asked.leaf:
            told.append(f"{root.name} = {root.value}.")
        others = draw.randint(0, self.distractors)
        told += [f"{next(names)} = {self._other(draw)}." for _ in range(others)]
        draw.shuffle(told)
        meta: dict[str, int | str] = {
            "operators": len(inner) + 1,
            "template": _prefix(root),
            "asked": "number" if asked.leaf else "result" if asked is root else "part",
            "distractors": others,
        }
        question = " ".join([*told, f"What is {asked.name}?"])
        # What a part is part of does not matter to it, but a number is found from all the others.
        key = _key(root if asked.leaf else asked, asked)
        item = _Item(question, asked.value, _steps(root, asked), meta, key)
        return item if _SPLITS.get(bucket(item.key, 16), "train") == self.split else None

    def _other(self, draw: Random) -> str:
        """Write what an equation that does not matter says."""
        first, second = (draw.randint(1, self.max_number) for _ in range(2))
        return f"{first} {draw.choice('+-*')} {second}" if draw.random() < 0.3 else f"{first}"


@dataclass(frozen=True, slots=True)
class _Item:
    question: str
    answer: int
    steps: tuple[str, ...]
    meta: dict[str, int | str]
    key: str


@dataclass(slots=True, eq=False)
class _Node:
    """An operation on two others, or a number; without a name it stands where it is used."""

    symbol: str = ""
    parts: tuple[_Node, ...] = ()
    value: int = 0
    name: str = ""

    @property
    def leaf(self) -> bool:
        return not self.parts


def _template(draw: Random, operators: int) -> _Node:
    if not operators:
        return _Node()
    left = draw.randrange(operators)
    symbol = draw.choice("+-*/")
    return _Node(symbol, (_template(draw, left), _template(draw, operators - 1 - left)))


def _valued(node: _Node, draw: Random, most: int) -> bool:
    """Draw the numbers of a template; return whether all values are positive integers."""
    if node.leaf:
        node.value = draw.randint(1, most)
        return True
    if not all(_valued(part, draw, most) for part in node.parts):
        return False
    first, second = node.parts
    if node.symbol == "/" and not _divided(first, second, draw, most):
        return False
    left, right = first.value, second.value
    node.value = RESULT[node.symbol](left, right)
    return 0 < node.value <= LARGEST


def _divided(left: _Node, right: _Node, draw: Random, most: int) -> bool:
    """Make a division exact by drawing a number of it anew; return whether it is, with results that say something."""
    if left.leaf and right.leaf:
        right.value = draw.randint(2, math.isqrt(most))
    if left.leaf:
        if right.value < 2 or 2 * right.value > most:
            return False
        left.value = right.value * draw.randint(2, most // right.value)
    elif right.leaf:
        divisors = [d for d in range(2, min(most, left.value // 2) + 1) if left.value % d == 0]
        right.value = draw.choice(divisors) if divisors else 1
    return right.value > 1 and left.value > right.value and left.value % right.value == 0


def _below(node: _Node) -> Iterator[_Node]:
    """Yield everything below a node."""
    for part in node.parts:
        yield part
        yield from _below(part)


def _written(node: _Node, *, told: bool = False) -> str:
    """Write a node as an equation's right side (``told``), or as what stands in another."""
    if node.name and not told:
        return node.name
    if node.leaf:
        return f"{node.value}"
    sides = [f"({_written(part)})" if part.parts and not part.name else _written(part) for part in node.parts]
    return f" {node.symbol} ".join(sides)


def _prefix(node: _Node) -> str:
    return "n" if node.leaf else " ".join([node.symbol, *map(_prefix, node.parts)])


def _key(node: _Node, asked: _Node) -> str:
    """Write a template with its numbers and a mark at what is asked; a sum or product is the same either way round."""
    mark = "?" if node is asked else ""
    if node.leaf:
        return f"{mark}{node.value}"
    parts = [_key(part, asked) for part in node.parts]
    return " ".join([f"{mark}{node.symbol}", *(sorted(parts) if node.symbol in "+*" else parts)])


def _steps(root: _Node, asked: _Node) -> tuple[str, ...]:
    """Write the steps to what is asked: forwards to a result, backwards to a number."""
    steps = [] if asked.leaf else _forwards(asked)
    node = root if asked.leaf else asked
    while node is not asked:
        left, right = node.parts
        if asked is left or asked in _below(left):
            steps += _forwards(right)
            steps.append((node.value, _INVERSE[node.symbol], right.value))
            node = left
        else:
            steps += _forwards(left)
            # What is taken away or divided by is found by the operation itself.
            same = node.symbol in "-/"
            pair = (left.value, node.symbol, node.value) if same else (node.value, _INVERSE[node.symbol], left.value)
            steps.append(pair)
            node = right
    lines = [annotated(*step) for step in steps]
    return (*lines[:-1], f"{asked.name} = {lines[-1]}")


def _forwards(node: _Node) -> list[tuple[int, str, int]]:
    if node.leaf:
        return []
    left, right = node.parts
    return [*_forwards(left), *_forwards(right), (left.value, node.symbol, right.value)]


_INVERSE = {"+": "-", "-": "+", "*": "/", "/": "*"}
