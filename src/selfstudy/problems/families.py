"""Families of generated word problems: numbers, steps and wordings as data.

A family is one kind of situation. Placeholders of its texts: ``{a}`` … ``{d}`` are stated numbers; ``{who}`` is a person,
``{he}``, ``{He}``, ``{his}`` and ``{him}`` likewise, ``{friend}`` another one; ``{things}`` and ``{others}`` are two kinds
of things, ``{place}`` is a place. Steps name what they compute, so that later ones can use it.

Every family has eight wordings, in an order that matters: :mod:`selfstudy.problems.sources.stories` gives the first four
to pretraining, the next two to training, and keeps the last two for tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

WORDINGS = 8

HIS = ("he", "his", "him")
HERS = ("she", "her", "her")
PEOPLE = {
    **dict.fromkeys(("Tom", "Ben", "Sam", "Max", "Leo", "Adam", "Paul", "Omar", "Ivan", "Hugo", "Raj", "Luis"), HIS),
    **dict.fromkeys(("Ann", "Mia", "Eva", "Lisa", "Zoe", "Sara", "Rosa", "Nina", "Ida", "Jana", "Priya", "Wen"), HERS),
}
THINGS = (
    "apples", "books", "pens", "coins", "cards", "eggs", "cookies", "stones", "shells", "balls", "stamps", "flowers",
    "marbles", "stickers", "buttons", "candles", "pears", "ribbons", "badges", "beads",
)  # fmt: skip
PLACES = ("market", "school", "library", "farm", "bakery", "harbour", "museum", "station", "garden", "theatre")


class Step(NamedTuple):
    """One operation.

    Attributes:
        name: Of the result.
        left: A number's or an earlier result's name, or a literal.
        symbol: The operation.
        right: Likewise.
        texts: Ways to write it; ``{e}`` is the annotated expression with its result.
    """

    name: str
    left: str
    symbol: Literal["+", "-", "*", "/"]
    right: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of situation.

    Attributes:
        name: What settings call it.
        home: ``pretrain``: in pretraining and in all other splits; ``train``: in those but pretraining; ``transfer``:
            nowhere, unless it is asked for by name.
        numbers: The range of each stated number.
        steps: To the answer, which the last one computes; all results are positive integers.
        wordings: Of the whole question.
    """

    name: str
    home: Literal["pretrain", "train", "transfer"]
    numbers: Mapping[str, tuple[int, int]]
    steps: tuple[Step, ...]
    wordings: tuple[str, ...]


FAMILIES: tuple[Family, ...] = (
    Family(
        "combine",
        "pretrain",
        {"a": (3, 60), "b": (3, 60), "c": (3, 60)},
        (
            Step(
                "ab",
                "a",
                "+",
                "b",
                ("The first two make {e}.", "The first two together: {e}.", "That is {e} to begin with."),
            ),
            Step("all", "ab", "+", "c", ("In all there are {e}.", "With the rest it is {e}.", "Together: {e}.")),
        ),
        (
            "{who} has {a} red {things}, {b} blue {things} and {c} green {things}. How many {things} does {who} have?",
            "There are {a} {things} on the table, {b} {things} in the box and {c} {things} on the floor. How many {things} are there in all?",
            "On Monday {who} found {a} {things}, on Tuesday {b} and on Wednesday {c}. How many {things} did {he} find?",
            "{who} keeps {a} {things} at home, {b} at school and {c} with {friend}. How many {things} is that altogether?",
            "A shelf holds {a} {things} at the top, {b} in the middle and {c} at the bottom. What is the total number of {things}?",
            "{who} got {a} {things} from {friend}, {b} from an aunt and {c} from a neighbour. How many {things} did {he} get?",
            "Three bags hold {a}, {b} and {c} {things}. If {who} empties all of them, how many {things} will {he} see?",
            "The {place} sold {a} {things} in the morning, {b} at noon and {c} in the evening. Find the number of {things} sold that day.",
        ),
    ),
    Family(
        "compare",
        "pretrain",
        {"a": (3, 60), "b": (2, 40)},
        (
            Step("other", "a", "+", "b", ("{friend} has {e} {things}.", "That gives {friend} {e}.", "{friend}: {e}.")),
            Step("both", "a", "+", "other", ("Together they have {e}.", "Both together have {e}.", "The sum is {e}.")),
        ),
        (
            "{who} has {a} {things}. {friend} has {b} more {things} than {who}. How many {things} do they have together?",
            "{friend} owns {b} {things} more than {who}, who owns {a}. How many {things} do the two own together?",
            "{who} picked {a} {things} and {friend} picked {b} more than that. How many {things} did they pick in all?",
            "{who}'s jar holds {a} {things} and {friend}'s jar holds {b} more than that. How many {things} are in both jars together?",
            "{who} collected {a} {things}. That is {b} fewer than {friend} collected. How many {things} did the two collect together?",
            "{who} carries {a} {things}; {friend}, who is stronger, carries {b} more. What is the number of {things} they carry?",
            "With {a} {things}, {who} has {b} fewer than {friend}. Find how many {things} they have between them.",
            "{friend} counted {b} {things} more than {who} did, and {who} counted {a}. How many {things} did the two count altogether?",
        ),
    ),
    Family(
        "change",
        "pretrain",
        {"a": (5, 80), "b": (2, 60), "c": (2, 60)},
        (
            Step("more", "a", "+", "b", ("With the new ones: {e}.", "That makes {e}.", "Now it is {e}.")),
            Step("left", "more", "-", "c", ("Then {e} are left.", "After that it is {e}.", "This leaves {e}.")),
        ),
        (
            "{who} had {a} {things}. {He} bought {b} more and gave {c} to {friend}. How many {things} does {he} have now?",
            "There were {a} {things} in a basket. {who} put in {b} and took out {c}. How many {things} are in the basket?",
            "{who} starts the day with {a} {things}, wins {b} and then loses {c}. How many {things} has {he} at the end?",
            "The {place} had {a} {things}. {b} new ones came and {c} were sold. How many {things} are left?",
            "{who} found {b} {things} to add to {his} {a}, but {c} of all these broke. How many whole {things} does {he} have?",
            "A truck carries {a} {things}. At the {place} it takes on {b} and unloads {c}. How many {things} does it carry then?",
            "After {who} got {b} {things} on top of {his} {a}, {friend} borrowed {c}. How many {things} remain with {who}?",
            "Of the {a} {things} that {who} had and the {b} that {friend} gave {him}, {c} were lost. Find how many {things} are still there.",
        ),
    ),
    Family(
        "rate",
        "pretrain",
        {"a": (2, 30), "b": (2, 12), "c": (2, 40)},
        (
            Step(
                "made", "a", "*", "b", ("In {b} hours it is {e}.", "{b} hours give {e}.", "That is {e} at this rate.")
            ),
            Step("all", "made", "+", "c", ("With the {c} from before: {e}.", "Altogether {e}.", "So there are {e}.")),
        ),
        (
            "{who} makes {a} {things} an hour. {He} already has {c}. How many {things} will {he} have after {b} hours?",
            "A machine packs {a} {things} every hour. {c} {things} are packed already. How many are packed after {b} more hours?",
            "{who} paints {a} {things} per hour for {b} hours, after {friend} painted {c}. How many {things} are painted?",
            "Each hour {who} sorts {a} {things}. {He} had sorted {c} before lunch and works {b} hours after it. How many {things} does {he} sort that day?",
            "At the {place}, {a} {things} are sold per hour. {c} were sold before noon; how many are sold by the time {b} more hours have passed?",
            "{who} can wrap {a} {things} in one hour. With {c} wrapped already, how many will be wrapped {b} hours later?",
            "For {b} hours, {who} picks {a} {things} every hour, on top of the {c} picked yesterday. How many {things} are picked in total?",
            "{c} {things} are done. {who} finishes {a} more in each of the next {b} hours. Find the number of finished {things}.",
        ),
    ),
    Family(
        "share",
        "pretrain",
        {"a": (4, 60), "b": (4, 60), "c": (2, 9)},
        (
            Step("all", "a", "+", "b", ("There are {e} in all.", "Together they are {e}.", "That makes {e}.")),
            Step("each", "all", "/", "c", ("Each gets {e}.", "For each one: {e}.", "One share is {e}.")),
        ),
        (
            "{who} has {a} {things} and {friend} has {b}. They share all of them equally among {c} children. How many {things} does each child get?",
            "{a} {things} and {b} {things} are put together and divided equally into {c} bags. How many {things} are in each bag?",
            "A teacher brings {a} {things}, a parent brings {b}. {c} groups get equal parts. How many {things} does a group get?",
            "{who} packs {a} {things} on Friday and {b} {things} on Saturday into {c} boxes, the same number into each. How many {things} go into one box?",
            "Together, {c} friends found {a} {things} by the river and {b} in the woods. If they share fairly, how many {things} does each have?",
            "The {place} sends {a} {things} in one crate and {b} in another. {c} shops take equal shares. How many {things} does each shop take?",
            "{who} puts {a} old and {b} new {things} on {c} shelves, the same number on each. How many {things} stand on one shelf?",
            "Equal shares of {a} plus {b} {things} are handed to {c} people. Find how many {things} one person receives.",
        ),
    ),
    Family(
        "groups",
        "pretrain",
        {"a": (2, 12), "b": (2, 20), "c": (2, 40)},
        (
            Step("all", "a", "*", "b", ("There are {e} at first.", "All {a} together: {e}.", "That is {e}.")),
            Step("left", "all", "-", "c", ("{e} are left.", "Without the {c} it is {e}.", "So {e} remain.")),
        ),
        (
            "{who} has {a} boxes with {b} {things} each. {c} {things} are broken. How many {things} are whole?",
            "There are {a} bags of {b} {things}. {who} takes out {c} {things}. How many {things} are left in the bags?",
            "{a} baskets hold {b} {things} each. After {c} {things} are taken out, how many {things} remain?",
            "{who} buys {a} packs, each with {b} {things}, and gives {c} {things} to {friend}. How many {things} does {he} keep?",
            "On {a} shelves stand {b} {things} each; {c} of all of these are sold. How many {things} are still there?",
            "Each of {a} children brings {b} {things} to the {place}. {c} {things} get lost on the way. How many {things} arrive?",
            "A crate has {a} layers of {b} {things}. {who} finds {c} bad ones and throws them away. How many good {things} are there?",
            "{who} plants {a} rows with {b} flowers in a row, but {c} flowers do not grow. Find the number of flowers that grow.",
        ),
    ),
    Family(
        "purchase",
        "train",
        {"a": (2, 9), "b": (2, 15), "c": (2, 9), "d": (2, 15)},
        (
            Step("first", "a", "*", "b", ("The {things} cost {e} dollars.", "{e} dollars for the {things}.")),
            Step("second", "c", "*", "d", ("The {others} cost {e} dollars.", "{e} dollars for the {others}.")),
            Step("all", "first", "+", "second", ("In all {e} dollars.", "Together {e} dollars.", "The sum is {e}.")),
        ),
        (
            "{who} buys {a} {things} for {b} dollars each and {c} {others} for {d} dollars each. How much does {he} pay?",
            "A shop sells {things} at {b} dollars and {others} at {d} dollars. What do {a} {things} and {c} {others} cost?",
            "{a} {things} at {b} dollars apiece and {c} {others} at {d} dollars apiece are on the bill. How many dollars is that?",
            "{who} needs {a} {things} and {c} {others}. One of the {things} costs {b} dollars, one of the {others} {d} dollars. How much money does {he} need?",
            "The {place} ordered {a} {things} and {c} {others}. If the {things} are {b} dollars each and the {others} {d} dollars each, what does it pay?",
            "{who} pays {b} dollars for each of {a} {things}, and {d} dollars for each of {c} {others}. How many dollars does {he} spend?",
            "How much are {a} {things} and {c} {others} together, when each of the {things} is {b} dollars and each of the {others} is {d} dollars?",
            "At {b} dollars a piece {who} takes {a} {things}; at {d} dollars a piece {he} takes {c} {others}. Find what {he} has to pay in dollars.",
        ),
    ),
    Family(
        "percent",
        "train",
        {"a": (10, 200), "b": (5, 90)},
        (
            Step("times", "a", "*", "b", ("{e}.", "First {e}.", "To take {b} percent: {e}.")),
            Step(
                "part",
                "times",
                "/",
                "100",
                ("Of the {things} that is {e}.", "So it is {e} of them.", "{e} of the {things}."),
            ),
            Step("left", "a", "-", "part", ("{e} are left.", "The others are {e}.", "That leaves {e}.")),
        ),
        (
            "{who} has {a} {things}. {b} percent of them are old. How many {things} are not old?",
            "Of {a} {things}, {b}% are red and the others are blue. How many {things} are blue?",
            "A shop had {a} {things} and sold {b} percent of them. How many {things} are left?",
            "{who} gave {b}% of {his} {a} {things} to {friend}. How many {things} did {he} keep?",
            "{b} percent of the {a} {things} at the {place} are broken. How many {things} are whole?",
            "There are {a} {things} in a box; {b}% of these belong to {friend} and the rest to {who}. How many belong to {who}?",
            "{who} counted {a} {things} and found that {b} percent were too small. How many {things} were not too small?",
            "From {a} {things}, {b}% are taken away. Find how many {things} stay.",
        ),
    ),
    Family(
        "ages",
        "train",
        {"a": (3, 15), "b": (2, 5), "c": (2, 20)},
        (
            Step("old", "a", "*", "b", ("{friend} is {e} years old.", "{friend} is {e}.", "That makes {friend} {e}.")),
            Step(
                "then", "old", "+", "c", ("In {c} years: {e}.", "{c} years later {friend} is {e}.", "Then it is {e}.")
            ),
        ),
        (
            "{who} is {a} years old. {friend} is {b} times as old. How old will {friend} be in {c} years?",
            "{friend} is {b} times as old as {who}, who is {a}. How old will {friend} be {c} years from now?",
            "{who} is {a}. The age of {friend} is {b} times that. How old will {friend} be in {c} years?",
            "{who} turned {a} today. {friend} is {b} times as old. How old will {friend} be after {c} more years?",
            "{friend}'s age is {b} times {who}'s. {who} is {a} years old. In {c} years, how old will {friend} be?",
            "Today {who} is {a} and {friend} is {b} times as old. What will be {friend}'s age when {c} years have passed?",
            "{who}, aged {a}, has a neighbour {friend} who is {b} times as old. How many years old will {friend} be {c} years later?",
            "If {who} is {a} years old and {friend} is {b} times as old, find {friend}'s age {c} years from today.",
        ),
    ),
    Family(
        "distance",
        "train",
        {"a": (3, 60), "b": (2, 8), "c": (3, 60), "d": (2, 8)},
        (
            Step("first", "a", "*", "b", ("The first part is {e} miles.", "First {e} miles.", "{e} miles at first.")),
            Step(
                "second", "c", "*", "d", ("The second part is {e} miles.", "Then {e} miles.", "{e} miles after that.")
            ),
            Step(
                "all",
                "first",
                "+",
                "second",
                ("In all {e} miles.", "Together {e} miles.", "The whole way is {e} miles."),
            ),
        ),
        (
            "{who} drives {b} hours at {a} miles an hour and then {d} hours at {c} miles an hour. How many miles does {he} drive?",
            "A train goes {a} miles an hour for {b} hours, then {c} miles an hour for {d} hours. How far does it go?",
            "{who} rides at {a} miles per hour for {b} hours and at {c} miles per hour for another {d} hours. How long is the ride in miles?",
            "For {b} hours a boat makes {a} miles each hour, and for {d} more hours {c} miles each hour. How many miles is that?",
            "On the way to the {place}, {who} does {a} miles an hour for {b} hours, and {c} miles an hour for the last {d}. How far is the {place}?",
            "{who} travels {b} hours by bus at {a} miles per hour and {d} hours by car at {c} miles per hour. What distance does {he} cover?",
            "A bird flies {b} hours at {a} miles per hour. With the wind it flies {d} hours more, at {c} miles per hour. How many miles does it fly?",
            "First {a} miles each hour, for {b} hours; then {c} miles each hour, for {d} hours: find the miles that {who} has gone.",
        ),
    ),
    Family(
        "fraction",
        "train",
        {"a": (8, 120), "b": (2, 6), "c": (2, 50)},
        (
            Step("part", "a", "/", "b", ("One part is {e}.", "One part in {b} is {e}.", "That part is {e}.")),
            Step("left", "a", "-", "part", ("{e} are left of them.", "Then {e} remain.", "Without it: {e}.")),
            Step("all", "left", "+", "c", ("With the {c} new ones: {e}.", "In the end {e}.", "Now there are {e}.")),
        ),
        (
            "{who} has {a} {things} and gives away one of every {b}. Then {he} gets {c} more. How many {things} does {he} have?",
            "A shop with {a} {things} sells one of every {b}, and {c} {things} come in. How many {things} are there now?",
            "A jar with {a} {things} loses one in {b}. Later {who} adds {c}. How many {things} are in the jar?",
            "From {a} {things}, {who} hands one part out of {b} equal parts to {friend} and buys {c} new {things}. How many {things} has {he} then?",
            "Of {his} {a} {things}, {who} loses 1 out of every {b}; {friend} gives {him} {c}. How many {things} does {who} have in the end?",
            "{who} splits {a} {things} into {b} equal piles, leaves one pile at the {place} and finds {c} more {things}. How many {things} does {he} have with {him}?",
            "{b} equal piles hold {a} {things}. One pile is removed and {c} other {things} arrive. How many {things} are there now?",
            "{a} {things} are parted into {b} equal heaps. One heap is taken away, {c} {things} are brought. Find how many {things} there are.",
        ),
    ),
    Family(
        "savings",
        "train",
        {"a": (2, 25), "b": (2, 12), "c": (30, 300)},
        (
            Step("saved", "a", "*", "b", ("There are {e} dollars.", "So far: {e} dollars.", "That is {e} dollars.")),
            Step(
                "left",
                "c",
                "-",
                "saved",
                ("{e} dollars are missing.", "{e} dollars are lacking.", "The rest is {e} dollars."),
            ),
        ),
        (
            "{who} saves {a} dollars a week. After {b} weeks, how many dollars is {he} short of a bike for {c} dollars?",
            "A coat costs {c} dollars. {who} puts aside {a} dollars each week for {b} weeks. How much money is still missing?",
            "{who} wants {c} dollars. {He} earns {a} dollars per day for {b} days. How many more dollars does {he} need?",
            "For {b} months {who} saves {a} dollars a month towards a camera of {c} dollars. How many dollars are left to save?",
            "The trip costs {c} dollars. With {a} dollars from each of {b} friends, how many dollars does {who} have to add?",
            "{who} owes {friend} {c} dollars and pays back {a} dollars on each of {b} days. What does {he} still owe in dollars?",
            "{who} has put {a} dollars into a box {b} times, for a tent that costs {c} dollars. How many dollars must still go in?",
            "To reach {c} dollars, {who} has put away {a} dollars in each of {b} weeks so far. Find the dollars that are lacking.",
        ),
    ),
    Family(
        "recipe",
        "transfer",
        {"a": (2, 9), "b": (2, 9), "c": (10, 72)},
        (
            Step(
                "times",
                "c",
                "/",
                "b",
                ("That is the recipe {e} times.", "That is {e} times as much.", "It is all taken {e} times."),
            ),
            Step("all", "times", "*", "a", ("So {e} cups.", "It takes {e} cups.", "{e} cups are needed.")),
        ),
        (
            "{a} cups of flour are enough for {b} cakes. How many cups does {who} need for {c} cakes?",
            "A recipe for {b} people takes {a} cups of rice. How many cups of rice are needed for {c} people?",
            "{who} uses {a} cups of milk for {b} children. How many cups does {he} use for {c} children?",
            "With {a} cups of sugar {who} makes {b} jars of jam. How many cups go into {c} jars?",
            "For every {b} guests {who} cooks {a} cups of soup. There are {c} guests. How many cups does {he} cook?",
            "{b} loaves take {a} cups of water. How many cups does {who} need to bake {c} loaves?",
            "The {place} mixes {a} cups of juice for every {b} visitors. How many cups are there for {c} visitors?",
            "If {a} cups serve {b}, find how many cups serve {c}.",
        ),
    ),
    Family(
        "fence",
        "transfer",
        {"a": (3, 40), "b": (3, 40), "c": (2, 12)},
        (
            Step("half", "a", "+", "b", ("Half of the way round is {e} feet.", "Two sides are {e} feet.")),
            Step(
                "round", "half", "*", "2", ("All around it is {e} feet.", "The whole is {e} feet.", "Four sides: {e}.")
            ),
            Step(
                "cost", "round", "*", "c", ("That costs {e} dollars.", "The price is {e} dollars.", "In dollars: {e}.")
            ),
        ),
        (
            "A garden is {a} feet long and {b} feet wide. A fence costs {c} dollars a foot. What does a fence around the garden cost?",
            "{who} fences a field of {a} by {b} feet. Each foot of fence is {c} dollars. How many dollars does {he} pay?",
            "A rectangle has sides of {a} and {b} feet. Its border is painted at {c} dollars a foot. How much does the border cost?",
            "The yard of the {place} is {a} feet by {b} feet. At {c} dollars per foot, what does it cost to fence it all around?",
            "{who} puts ribbon, {c} dollars a foot, along all edges of a carpet that is {a} feet long and {b} feet wide. What does {he} pay?",
            "A pool measures {a} by {b} feet. A rail around it costs {c} dollars for every foot. How many dollars is the rail?",
            "At {c} dollars for a foot of wall, how much is a wall around a court of {a} feet by {b} feet?",
            "Find the dollars for edging, at {c} dollars a foot, around a bed {a} feet long and {b} feet wide.",
        ),
    ),
)
