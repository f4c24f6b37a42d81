"""Wordings of the generated word problems: names, things and sentences as data.

Each schema is one kind of sentence with what it does to the running quantity. Placeholders: ``{who}`` has ``{a}``
``{things}``; ``{He}``, ``{he}`` or ``{him}`` is that person; ``{friend}`` is a person of the other gender, so that a
pronoun never has two readings; ``{b}`` and ``{c}`` are stated numbers; ``{group}`` and ``{pack}`` are two kinds of
containers, since what one of a kind holds is stated once; ``{e}`` is the annotated expression with its result. A
sentence names the things, never "them", since a distractor may stand between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BOYS = ("Tom", "Ben", "Sam", "Max", "Leo", "Adam", "Paul", "Omar")
GIRLS = ("Ann", "Mia", "Eva", "Lisa", "Zoe", "Sara", "Rosa", "Nina")
THINGS = ("apple", "book", "pen", "coin", "card", "egg", "cookie", "stone", "shell", "ball", "stamp", "flower")
GROUPS = (("boxes", "box"), ("bags", "bag"), ("jars", "jar"), ("baskets", "basket"))
FRACTIONS = {2: "half", 3: "a third", 4: "a quarter", 5: "a fifth"}
TIMES = {2: "twice", 3: "3 times", 4: "4 times", 5: "5 times"}

Operands = Literal["two", "stated", "joined", "divisor", "fraction", "times", "factor", "earlier"]


@dataclass(frozen=True, slots=True)
class Schema:
    """One kind of sentence.

    Attributes:
        symbol: The operation: ``a symbol b``.
        operands: Where the numbers come from: ``two`` stated ones; or the running quantity and another: any
            ``stated`` one, likewise of a second person (``joined``), one that divides it (``divisor``, or of
            a ``fraction`` in words), one that multiplies it (``factor``, or in words ``times``), or the
            ``earlier`` person's.
        texts: Ways to say it. In a closing schema, they end in the question.
        steps: Ways to write the step in a solution.
        moves: Whether the quantity is now ``{friend}``'s.
    """

    symbol: str
    operands: Operands
    texts: tuple[str, ...]
    steps: tuple[str, ...]
    moves: bool = False


START = (  # no step: states {a}
    "{who} has {a} {things}.",
    "{who} starts with {a} {things}.",
    "There are {a} {things} on {who}'s desk.",
    "{who} owns {a} {things}.",
)

QUESTIONS = (  # where no closing schema asks
    "How many {things} does {who} have?",
    "How many {things} does {who} have in the end?",
    "Find how many {things} {who} has.",
    "What is the number of {things} that {who} has?",
)

DISTRACTORS = (
    "{friend} is {n} years old.",
    "{who} also has {n} {others}.",
    "The walk home takes {n} minutes.",
    "{friend} has {n} {others}.",
    "There are {n} {others} in the shop.",
)

OPENINGS = {
    "groups": Schema(
        "*",
        "two",
        (
            "{who} has {b} {groups} with {c} {things} each.",
            "{who} fills {b} {groups}. Each {group} holds {c} {things}.",
            "Each of {who}'s {b} {groups} holds {c} {things}.",
            "There are {c} {things} in each {group}. {who} has {b} {groups}.",
        ),
        ("{who} has {e} {things}.", "The {groups} hold {e} {things}."),
    ),
    "kinds": Schema(
        "+",
        "two",
        (
            "{who} has {b} red {things} and {c} blue {things}.",
            "{who} has {b} big {things} and {c} small {things}.",
            "{who} buys {b} {things} on Monday and {c} {things} on Sunday.",
            "{who} has {b} {things} at home and {c} {things} at school.",
        ),
        ("{who} has {e} {things}.", "In total there are {e} {things}."),
    ),
}

CHANGES = {
    "gain": Schema(
        "+",
        "stated",
        (
            "{He} buys {b} more {things}.",
            "{He} finds {b} {things}.",
            "{friend} gives {him} {b} {things}.",
            "Then {he} gets {b} more {things}.",
            "{He} wins {b} {things} in a game.",
        ),
        ("{who} has {e} {things}.", "Now {he} has {e} {things}."),
    ),
    "lose": Schema(
        "-",
        "stated",
        (
            "{He} loses {b} {things}.",
            "{He} gives {b} {things} to {friend}.",
            "{He} sells {b} of the {things}.",
            "Then {friend} takes {b} {things} from {him}.",
            "{He} drops {b} of the {things} on the way.",
        ),
        ("{who} has {e} {things} left.", "Now {he} has {e} {things}."),
    ),
    "more": Schema(
        "+",
        "stated",
        (
            "{friend} has {b} more {things} than {who}.",
            "{who} has {b} fewer {things} than {friend}.",
            "{friend} has {b} {things} more than {he} has.",
            "Compared with {who}, {friend} has {b} more {things}.",
        ),
        ("{friend} has {e} {things}.", "So {friend} has {e} {things}."),
        moves=True,
    ),
    "fewer": Schema(
        "-",
        "stated",
        (
            "{friend} has {b} fewer {things} than {who}.",
            "{who} has {b} more {things} than {friend}.",
            "{friend} has {b} {things} less than {he} has.",
            "Compared with {who}, {friend} has {b} fewer {things}.",
        ),
        ("{friend} has {e} {things}.", "So {friend} has {e} {things}."),
        moves=True,
    ),
    "times": Schema(
        "*",
        "times",
        (
            "{friend} has {times} as many {things} as {who}.",
            "{friend} owns {times} as many {things} as {he} does.",
            "Compared with {who}, {friend} has {times} as many {things}.",
            "{friend} collects {times} as many {things} as {who} has.",
        ),
        ("{friend} has {e} {things}.", "So {friend} has {e} {things}."),
        moves=True,
    ),
    "fraction": Schema(
        "/",
        "fraction",
        (
            "{He} keeps only {fraction} of the {things}.",
            "Only {fraction} of the {things} stay with {him}.",
            "After a week only {fraction} of the {things} are left.",
            "{He} gives away all but {fraction} of the {things}.",
        ),
        ("{who} has {e} {things} left.", "Now {he} has {e} {things}."),
    ),
}

CLOSINGS = {
    "share": Schema(
        "/",
        "divisor",
        (
            "{He} shares the {things} equally among {b} friends. How many {things} does each friend get?",
            "The {things} are split equally between {b} children. How many {things} does each child get?",
            "{b} friends share the {things} equally. How many {things} does each one get?",
            "How many {things} does each of {b} friends get if {he} shares the {things} equally?",
        ),
        ("Each one gets {e} {things}.", "That is {e} {things} each."),
    ),
    "pack": Schema(
        "/",
        "divisor",
        (
            "{He} puts {b} {things} in each {pack}. How many {packs} does {he} need?",
            "{He} packs the {things} in {packs} of {b}. How many {packs} does {he} fill?",
            "A {pack} holds {b} {things}. How many {packs} are needed for the {things}?",
            "How many {packs} does {he} need if each {pack} holds {b} {things}?",
        ),
        ("{who} needs {e} {packs}.", "That takes {e} {packs}."),
    ),
    "total": Schema(
        "+",
        "joined",
        (
            "{friend} has {b} {things}. How many {things} do they have together?",
            "{friend} has {b} {things}. How many {things} do {who} and {friend} have in total?",
            "{friend} brings {b} {things}. How many {things} are there in all?",
            "How many {things} do they have together if {friend} has {b} {things}?",
        ),
        ("Together they have {e} {things}.", "In total there are {e} {things}."),
    ),
    "together": Schema(
        "+",
        "earlier",
        (
            "How many {things} do they have together?",
            "How many {things} do they have in total?",
            "How many {things} do {who} and {earlier} have together?",
            "Find how many {things} {earlier} and {who} have in all.",
        ),
        ("Together they have {e} {things}.", "In total there are {e} {things}."),
    ),
    "price": Schema(
        "*",
        "factor",
        (
            "Each {thing} costs {b} dollars. How many dollars do the {things} cost?",
            "{He} sells each {thing} for {b} dollars. How many dollars does {he} get?",
            "A {thing} costs {b} dollars. How many dollars are the {things} worth?",
            "How many dollars does {he} get if {he} sells the {things} for {b} dollars each?",
        ),
        ("The {things} cost {e} dollars.", "That makes {e} dollars."),
    ),
}
