"""Wordings of the generated word problems: names, things and sentences as data.

Each schema is one kind of sentence with what it does to the running quantity. Placeholders: ``{who}`` has ``{a}``
``{things}``; ``{He}``, ``{he}``, ``{him}`` or ``{his}`` is that person; ``{friend}`` is a person of the other gender,
so that a pronoun never has two readings; ``{b}`` and ``{c}`` are stated numbers; ``{group}`` and ``{pack}`` are two
kinds of containers, since what one of a kind holds is stated once; ``{e}`` is the annotated expression with its result.
A sentence names the things, never "them", since a distractor may stand between.

There are twelve ways to say everything, in an order that matters: pretraining knows the first six, problems to learn
from have three more, the tenth is for measuring progress, and the last two are for tests.
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

# By split: the wordings that all problems draw from, and those that are new in it, of which each problem has one.
SPLIT_WORDINGS = {
    "pretrain": (range(6), range(0)),
    "train": (range(9), range(0)),
    "dev": (range(9), range(9, 10)),
    "test": (range(9), range(10, 12)),
}

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
        texts: Twelve ways to say it. In a closing schema, they end in the question.
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
    "At first {who} has {a} {things}.",
    "{who} counts {a} {things} in {his} room.",
    "{who} arrives with {a} {things}.",
    "In the morning {who} has {a} {things}.",
    "{who} keeps {a} {things} in a drawer.",
    "{who} is the owner of {a} {things}.",
    "{a} {things} belong to {who}.",
    "{who} begins the week with {a} {things} in {his} bag.",
)

QUESTIONS = (  # where no closing schema asks
    "How many {things} does {who} have?",
    "How many {things} does {who} have in the end?",
    "Find how many {things} {who} has.",
    "What is the number of {things} that {who} has?",
    "How many {things} does {who} have now?",
    "How many {things} does that make for {who}?",
    "Find the number of {things} that {who} has in the end.",
    "Say how many {things} {who} has now.",
    "With how many {things} does {who} end?",
    "How many {things} are {who}'s?",
    "What number of {things} does {who} have after all this?",
    "How many {things} belong to {who} in the end?",
)

DISTRACTORS = (
    "{friend} is {n} years old.",
    "{who} also has {n} {others}.",
    "The walk home takes {n} minutes.",
    "{friend} has {n} {others}.",
    "There are {n} {others} in the shop.",
    "It is {n} degrees warm.",
    "The bag of {who} weighs {n} pounds.",
    "{friend} lives in house number {n}.",
    "A book on the desk has {n} pages.",
    "{friend} sees {n} {others} at the market.",
    "The way to school is {n} miles long.",
    "There are {n} children in {who}'s class.",
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
            "{who} owns {b} {groups} of {c} {things}.",
            "In each of {b} {groups} {who} keeps {c} {things}.",
            "{who} brings {b} {groups}, each with {c} {things}.",
            "A {group} of {who} holds {c} {things}, and {he} has {b} {groups}.",
            "{who} buys {b} {groups} of {c} {things} each.",
            "{who} counts {c} {things} in every one of {his} {b} {groups}.",
            "{b} {groups} belong to {who}, with {c} {things} in every {group}.",
            "{who} puts {c} {things} into each of {b} {groups}.",
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
            "{who} finds {b} old {things} and {c} new {things}.",
            "There are {b} {things} in {who}'s bag and {c} {things} on {his} desk.",
            "{who} gets {b} {things} from an aunt and {c} {things} from an uncle.",
            "{who} counts {b} {things} in one drawer and {c} {things} in another.",
            "{b} round {things} and {c} square {things} are {who}'s.",
            "{who} brings {b} {things} in the morning and {c} {things} in the evening.",
            "{who} owns {b} heavy {things} besides {c} light {things}.",
            "{b} {things} in one hand and {c} {things} in the other hand are all that {who} has.",
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
            "{b} more {things} come to {him} in the post.",
            "{He} picks up {b} {things} on the way.",
            "{friend} brings {him} {b} more {things}.",
            "An aunt sends {him} {b} {things}.",
            "{He} adds {b} {things} that {he} bought.",
            "{He} is given {b} {things} as a present.",
            "{He} receives another {b} {things}.",
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
            "{b} of the {things} break.",
            "{He} throws away {b} {things}.",
            "{friend} borrows {b} of the {things}.",
            "{He} sends {b} {things} to an aunt.",
            "{He} uses up {b} of the {things}.",
            "{b} of the {things} are stolen from {him}.",
            "{He} hands {b} of the {things} over to {friend}.",
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
            "{friend} owns {b} more {things} than {who} does.",
            "{who} needs {b} more {things} to have as many as {friend}.",
            "{friend} has as many {things} as {who} and {b} more.",
            "If {friend} lost {b} {things}, {friend} would have as many as {who}.",
            "{who} is {b} {things} short of what {friend} has.",
            "{friend} beats {who} by {b} {things}.",
            "{who} owns {b} {things} less than {friend}.",
            "The {things} of {friend} are {b} more than those of {who}.",
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
            "{friend} owns {b} fewer {things} than {who} does.",
            "{friend} needs {b} more {things} to have as many as {who}.",
            "{who} has as many {things} as {friend} and {b} more.",
            "If {who} lost {b} {things}, {he} would have as many as {friend}.",
            "{friend} is {b} {things} short of what {who} has.",
            "{who} beats {friend} by {b} {things}.",
            "{friend} owns {b} {things} less than {who}.",
            "The {things} of {friend} are {b} fewer than those of {who}.",
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
            "{friend} has {times} the number of {things} that {who} has.",
            "The {things} of {friend} are {times} as many as those of {who}.",
            "{friend} brings {times} as many {things} as {who} does.",
            "For {friend} it is {times} as many {things} as for {who}.",
            "{friend} counts {times} as many {things} as {he} does.",
            "Take {who}'s {things} {times}, and there are as many as {friend} has.",
            "{friend} keeps {times} as many {things} as {who}.",
            "{friend} beats {who} with {times} as many {things}.",
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
            "{He} loses all but {fraction} of the {things}.",
            "In the end only {fraction} of the {things} are {his} own.",
            "{He} sells all of the {things} but {fraction}.",
            "{friend} leaves {him} only {fraction} of the {things}.",
            "Of the {things}, {he} takes home only {fraction}.",
            "All but {fraction} of the {things} break.",
            "Only {fraction} of the {things} can be used and {he} keeps those.",
            "No more than {fraction} of the {things} remain with {him}.",
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
            "{He} deals the {things} out to {b} children equally. How many {things} does one child get?",
            "{b} people take equal parts of the {things}. How many {things} are in one part?",
            "{He} puts the {things} in {b} equal rows. How many {things} are in each row?",
            "The {things} are laid in {b} equal piles. How many {things} are in one pile?",
            "How many {things} are in one of {b} equal parts of the {things}?",
            "If {b} children get equal parts of the {things}, how many {things} does one child get?",
            "{b} friends each take home the same number of {things}. How many {things} does each friend take home?",
            "{He} makes {b} equal piles of the {things}. Find how many {things} a pile has.",
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
            "{He} puts the {things} into {packs}, {b} {things} in each. How many {packs} are that?",
            "Each {pack} takes {b} {things}. How many {packs} do the {things} fill?",
            "{b} {things} go into one {pack}. How many {packs} does {he} use?",
            "If {b} {things} fit in a {pack}, how many {packs} does {he} need?",
            "With {b} {things} in every {pack}, how many {packs} are there?",
            "A {pack} is full with {b} {things}. How many full {packs} does that make?",
            "Find how many {packs} {he} fills when {b} {things} go into each {pack}.",
            "{He} sorts the {things} into {packs} that take {b} {things} each. How many {packs} are needed?",
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
            "{friend} owns {b} {things}. How many {things} are that with {who}'s?",
            "{friend} counts {b} {things} of {friend}'s own. How many {things} do both have together?",
            "{friend} has {b} {things}. What is the total of both?",
            "Another {b} {things} are {friend}'s. How many {things} do they have in all?",
            "{friend} comes with {b} {things}. How many {things} do {who} and {friend} have then?",
            "If {friend} owns {b} {things}, how many {things} do the two have in total?",
            "{b} {things} belong to {friend}. Find how many {things} both have in all.",
            "{friend} puts {b} {things} beside those of {who}. How many {things} lie there?",
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
            "How many {things} are there in all?",
            "How many {things} do the two have together?",
            "Find the total of their {things}.",
            "What is the number of {things} that both have together?",
            "How many {things} do both of them have in all?",
            "Say how many {things} {earlier} and {who} have together.",
            "How many {things} is that for {earlier} and {who} together?",
            "What do their {things} add up to?",
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
            "{He} sells the {things} at {b} dollars each. How many dollars is that?",
            "If one {thing} costs {b} dollars, how many dollars do the {things} cost?",
            "The price of a {thing} is {b} dollars. How many dollars does {he} get for the {things}?",
            "For every {thing} {he} gets {b} dollars. How many dollars does {he} get?",
            "A shop buys the {things} at {b} dollars for each {thing}. How many dollars does {he} get?",
            "How many dollars are the {things} worth, at {b} dollars for one {thing}?",
            "Somebody pays {him} {b} dollars for each {thing}. Find how many dollars that makes.",
            "At {b} dollars a {thing}, how many dollars does {he} get for the {things}?",
        ),
        ("The {things} cost {e} dollars.", "That makes {e} dollars."),
    ),
}
