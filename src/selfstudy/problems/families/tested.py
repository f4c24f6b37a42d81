"""Families that models are tested on, known to pretraining or not.

Every family here has eight wordings, in an order that matters: :mod:`selfstudy.problems.sources.stories` learns from the
first five (in pretraining from four of these, where the family is known to it), measures progress on the sixth, and keeps
the last two for tests.
"""

from __future__ import annotations

from selfstudy.problems.families.family import Family, Step

TESTED: tuple[Family, ...] = (
    Family(
        "combine",
        "all",
        {"a": (3, 60), "b": (3, 60), "c": (3, 60)},
        (
            Step(
                "ab",
                "a",
                "+",
                "b",
                ("The first two make {e}.", "The first two together: {e}.", "That is {e} so far."),
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
            "Three bags hold {a}, {b} and {c} {things}. If {who} empties all of them, how many {things} come out?",
            "Of the {things} that the {place} sold today, {a} went before noon, {b} at noon and {c} later. Find the number sold.",
        ),
    ),
    Family(
        "compare",
        "all",
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
            "{who} carries {a} {things}; {friend}, who is stronger, carries {b} more than {who}. How many {things} do the two carry together?",
            "With {a} {things}, {who} has {b} fewer than {friend}. Find how many {things} they have between them.",
            "{who} would need {b} more {things} on top of {his} {a} to match {friend}. How many {things} do the two have between them?",
        ),
    ),
    Family(
        "change",
        "all",
        {"a": (5, 80), "b": (2, 60), "c": (2, 60)},
        (
            Step("more", "a", "+", "b", ("With the new ones: {e}.", "That makes {e}.", "Now it is {e}.")),
            Step("left", "more", "-", "c", ("Then {e} are left.", "After that it is {e}.", "This leaves {e}.")),
        ),
        (
            "{who} had {a} {things}. {He} bought {b} more and gave {c} to {friend}. How many {things} does {he} have now?",
            "There were {a} {things} in a basket. {who} put in {b} and took out {c}. How many {things} are in the basket now?",
            "{who} starts the day with {a} {things}, wins {b} and then loses {c}. How many {things} does {he} have at the end?",
            "The {place} had {a} {things}. {b} new ones came and {c} were sold. How many {things} are left?",
            "{who} found {b} {things} to add to {his} {a}, but {c} of all these broke. How many whole {things} does {he} have?",
            "A truck carries {a} {things}. At the {place} it takes on {b} and unloads {c}. How many {things} does it carry after that?",
            "After {who} got {b} {things} on top of {his} {a}, {friend} borrowed {c} of them. How many {things} remain with {who}?",
            "Of the {a} {things} that {who} had and the {b} that {friend} gave {him}, {c} were lost. Find how many {things} are still there.",
        ),
    ),
    Family(
        "rate",
        "all",
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
            "{who} paints {a} {things} per hour for {b} hours, after {friend} has painted {c}. How many {things} are painted in all?",
            "Each hour {who} sorts {a} {things}. {He} sorted {c} before lunch and works for {b} hours after it. How many {things} does {he} sort that day?",
            "From noon on, the {place} sells {a} {things} per hour; {c} were sold before noon. {b} hours after noon, how many {things} have been sold in all?",
            "{who} can wrap {a} {things} in one hour. With {c} wrapped already, how many {things} will be wrapped {b} hours from now?",
            "For {b} hours {who} picked {a} {things} an hour, after {c} the day before. How many {things} did {he} pick in total?",
            "{c} {things} are done. {who} finishes {a} more in each of the next {b} hours. Find the number of finished {things} at the end.",
        ),
    ),
    Family(
        "share",
        "all",
        {"a": (4, 60), "b": (4, 60), "c": (2, 9)},
        (
            Step("all", "a", "+", "b", ("There are {e} in all.", "Together they are {e}.", "That makes {e}.")),
            Step("each", "all", "/", "c", ("Each gets {e}.", "For each one: {e}.", "One share is {e}.")),
        ),
        (
            "{who} has {a} {things} and {friend} has {b}. They share all of them equally among {c} children. How many {things} does each child get?",
            "{a} {things} and {b} {things} are put together and divided equally into {c} bags. How many {things} are in each bag?",
            "A teacher brings {a} {things} and a parent brings {b}. {c} groups get equal parts of all these. How many {things} does each group get?",
            "{who} packs {a} {things} on Friday and {b} {things} on Saturday into {c} boxes, the same number in each. How many {things} go into one box?",
            "Together, {c} friends found {a} {things} by the river and {b} in the woods. If they share all of these fairly, how many {things} does each have?",
            "The {place} sends {a} {things} in one crate and {b} in another. {c} shops take equal shares. How many {things} does each shop take?",
            "{who}'s {a} old and {b} new {things} are to be spread evenly over {c} shelves. How many {things} does a shelf hold?",
            "Equal shares of {a} large and {b} small {things} are handed to {c} people. Find how many {things} one person receives.",
        ),
    ),
    Family(
        "groups",
        "all",
        {"a": (2, 12), "b": (2, 20), "c": (2, 40)},
        (
            Step("all", "a", "*", "b", ("There are {e} at first.", "All {a} together: {e}.", "That is {e}.")),
            Step("left", "all", "-", "c", ("{e} are left.", "Without the {c} it is {e}.", "So {e} remain.")),
        ),
        (
            "{who} has {a} boxes with {b} {things} each. {c} of the {things} are broken. How many {things} are whole?",
            "There are {a} bags of {b} {things} each. {who} takes out {c} {things} in all. How many {things} are left in the bags?",
            "{a} baskets hold {b} {things} each. After {c} {things} in all are taken out, how many {things} remain?",
            "{who} buys {a} packs, each with {b} {things}, and gives {c} {things} to {friend}. How many {things} does {he} keep?",
            "Each of {a} shelves has {b} {things} on it. In all, {c} of these {things} are sold. How many are still there?",
            "Each of {a} children brings {b} {things} to the {place}, but {c} of all these get lost on the way. How many {things} arrive?",
            "A crate has {a} layers of {b} {things} each. {who} finds {c} bad ones in it and throws these away. How many good {things} are there?",
            "{who} plants {a} rows of {b} flowers, but {c} of all the flowers do not grow. Find the number of flowers that grow.",
        ),
    ),
    Family(
        "purchase",
        "train",
        {"a": (2, 9), "b": (2, 15), "c": (2, 9), "d": (2, 15)},
        (
            Step("first", "a", "*", "b", ("The {things} cost {e} {dollars}.", "{e} {dollars} for the {things}.")),
            Step("second", "c", "*", "d", ("The {others} cost {e} {dollars}.", "{e} {dollars} for the {others}.")),
            Step(
                "all", "first", "+", "second", ("In all {e} {dollars}.", "Together {e} {dollars}.", "The sum is {e}.")
            ),
        ),
        (
            "{who} buys {a} {things} for {b} {dollars} each and {c} {others} for {d} {dollars} each. How much does {he} pay in all?",
            "A shop sells {things} at {b} {dollars} each and {others} at {d} {dollars} each. What do {a} {things} and {c} {others} cost together?",
            "{a} {things} at {b} {dollars} apiece and {c} {others} at {d} {dollars} apiece are on the bill. How many {dollars} is that in all?",
            "{who} needs {a} {things} and {c} {others}. One of the {things} costs {b} {dollars}, one of the {others} {d} {dollars}. How much money does {he} need?",
            "The {place} ordered {a} {things} and {c} {others}. If the {things} are {b} {dollars} each and the {others} are {d} {dollars} each, what does it pay in all?",
            "{who} pays {b} {dollars} for each of {a} {things}, and {d} {dollars} for each of {c} {others}. How many {dollars} does {he} spend in all?",
            "How much are {a} {things} and {c} {others} together, when each of the {things} is {b} {dollars} and each of the {others} is {d} {dollars}?",
            "At {b} {dollars} apiece {who} takes {a} {things}; at {d} {dollars} apiece {he} takes {c} {others}. Find what {he} has to pay in {dollars} for everything.",
        ),
    ),
    Family(
        "percent",
        "train",
        {"a": (10, 200), "b": (5, 90)},
        (
            Step("times", "a", "*", "b", ("{e}.", "First {e}.", "{a} times {b}: {e}.")),
            Step(
                "part",
                "times",
                "/",
                "100",
                ("{b} percent are {e}.", "So it is {e} of them.", "{e} of the {things}."),
            ),
            Step("left", "a", "-", "part", ("The others: {e}.", "So the rest is {e}.", "That leaves {e}.")),
        ),
        (
            "{who} has {a} {things}. {b} percent of them are old. How many {things} are not old?",
            "Of {a} {things}, {b}% are red and the others are blue. How many {things} are blue?",
            "A shop had {a} {things} and sold {b} percent of them. How many {things} are left?",
            "{who} gave {b}% of {his} {a} {things} to {friend}. How many {things} did {he} keep?",
            "{b} percent of the {a} {things} at the {place} are broken. How many {things} are whole?",
            "There are {a} {things} in a box; {b}% of these belong to {friend} and the rest to {who}. How many belong to {who}?",
            "{who} tests {a} {things}, and {b} percent fail. How many {things} pass the test?",
            "{b}% of {a} {things} are taken away. Find how many {things} stay behind.",
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
            "Today {who} is {a} and {friend} is {b} times as old. What will {friend}'s age be when {c} years have passed?",
            "{who}, aged {a}, has a neighbour, {friend}, whose age is {b} times that. What age will the neighbour reach {c} years later?",
            "{who} has lived {a} years, and {friend} {b} times that long. Find the number of candles on {friend}'s birthday cake {c} years from now.",
        ),
    ),
    Family(
        "distance",
        "train",
        {"a": (3, 60), "b": (2, 8), "c": (3, 60), "d": (2, 8)},
        (
            Step(
                "first",
                "a",
                "*",
                "b",
                ("The first part is {e} {miles}.", "First {e} {miles}.", "{e} {miles} at first."),
            ),
            Step(
                "second",
                "c",
                "*",
                "d",
                ("The second part is {e} {miles}.", "Then {e} {miles}.", "{e} {miles} after that."),
            ),
            Step(
                "all",
                "first",
                "+",
                "second",
                ("In all {e} {miles}.", "Together {e} {miles}.", "The whole way is {e} {miles}."),
            ),
        ),
        (
            "{who} drives for {b} hours at {a} {miles} an hour and then for {d} hours at {c} {miles} an hour. How many {miles} does {he} drive?",
            "A train goes {a} {miles} an hour for {b} hours, then {c} {miles} an hour for {d} hours. How many {miles} does it go?",
            "{who} rides at {a} {miles} per hour for {b} hours and at {c} {miles} per hour for another {d} hours. How long is the ride in {miles}?",
            "For {b} hours a boat makes {a} {miles} each hour, and for {d} more hours {c} {miles} each hour. How many {miles} is that?",
            "On the way to the {place}, {who} does {a} {miles} an hour for {b} hours, and {c} {miles} an hour for the last {d} hours. How many {miles} away is the {place}?",
            "{who} travels {b} hours by bus at {a} {miles} per hour and {d} hours by car at {c} {miles} per hour. What distance in {miles} does {he} cover?",
            "A bird's speed is {a} {miles} per hour. After {b} hours the wind turns, its speed becomes {c} {miles} per hour, and {d} hours later it lands. How many {miles} has it flown?",
            "The first {b} hours of {who}'s trip pass at {a} {miles} per hour, its other {d} hours at {c} {miles} per hour. Find the length of the whole trip.",
        ),
    ),
    Family(
        "fraction",
        "train",
        {"a": (8, 120), "b": (2, 6), "c": (2, 50)},
        (
            Step("part", "a", "/", "b", ("One part is {e}.", "One part in {b} is {e}.", "That part is {e}.")),
            Step("left", "a", "-", "part", ("{e} of them are left.", "Then {e} remain.", "Without it: {e}.")),
            Step("all", "left", "+", "c", ("With the {c} new ones: {e}.", "In the end {e}.", "Now there are {e}.")),
        ),
        (
            "{who} has {a} {things} and gives away one of every {b}. Then {he} gets {c} more. How many {things} does {he} have?",
            "A shop with {a} {things} sells one of every {b}, and {c} {things} come in. How many {things} are there now?",
            "A jar with {a} {things} loses one in every {b}. Later {who} adds {c}. How many {things} are in the jar then?",
            "Of {a} {things}, {who} hands one of {b} equal parts to {friend} and then buys {c} more. How many {things} does {he} have?",
            "Of {his} {a} {things}, {who} loses one out of every {b}; then {friend} gives {him} {c}. How many {things} does {who} have in the end?",
            "{who} splits {a} {things} into {b} equal piles, leaves one pile at the {place} and finds {c} more {things}. How many {things} does {he} have with {him}?",
            "{b} children own {a} {things} in equal shares. One child takes a share home, and {c} other {things} are added to what stays. How many {things} are there now?",
            "Rain ruins one in {b} of the {a} {things} of the {place}, and {c} new {things} are bought. Find how many good {things} there are then.",
        ),
    ),
    Family(
        "savings",
        "train",
        {"a": (2, 25), "b": (2, 12), "c": (30, 300)},
        (
            Step(
                "saved", "a", "*", "b", ("There are {e} {dollars}.", "So far: {e} {dollars}.", "That is {e} {dollars}.")
            ),
            Step(
                "left",
                "c",
                "-",
                "saved",
                ("{e} {dollars} remain.", "{e} {dollars} are still to go.", "The rest is {e} {dollars}."),
            ),
        ),
        (
            "{who} saves {a} {dollars} a week. After {b} weeks, how many {dollars} is {he} short of a bike that costs {c} {dollars}?",
            "A coat costs {c} {dollars}. {who} puts aside {a} {dollars} each week for {b} weeks. How much money is still missing?",
            "{who} wants {c} {dollars}. {He} earns {a} {dollars} per day for {b} days. How many more {dollars} does {he} need?",
            "For {b} months {who} saves {a} {dollars} a month towards a camera of {c} {dollars}. How many {dollars} are left to save?",
            "The trip costs {c} {dollars}. With {a} {dollars} from each of {b} friends, how many {dollars} does {who} have to add?",
            "{who} owes {friend} {c} {dollars} and pays back {a} {dollars} on each of {b} days. How many {dollars} does {he} still owe?",
            "{who} has put {a} {dollars} into a box {b} times, for a tent that costs {c} {dollars}. How many {dollars} must still go in?",
            "{who}'s goal is {c} {dollars}, and {b} neighbours have paid {him} {a} {dollars} each. Find how many {dollars} away that goal is.",
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
                ("{c} is {e} times {b}.", "That is {e} times as much.", "It is all taken {e} times."),
            ),
            Step("all", "times", "*", "a", ("So {e} {cups}.", "It takes {e} {cups}.", "{e} {cups} are needed.")),
        ),
        (
            "{a} {cups} of flour are enough for {b} cakes. How many {cups} does {who} need for {c} cakes?",
            "A recipe for {b} people takes {a} {cups} of rice. How many {cups} of rice are needed for {c} people?",
            "{who} uses {a} {cups} of milk for {b} children. How many {cups} does {he} use for {c} children?",
            "With {a} {cups} of sugar {who} makes {b} jars of jam. How many {cups} of sugar go into {c} jars?",
            "For every {b} guests {who} cooks {a} {cups} of soup. There are {c} guests. How many {cups} does {he} cook?",
            "{b} loaves take {a} {cups} of water. How many {cups} does {who} need to bake {c} loaves?",
            "The {place} mixes {a} {cups} of juice for every {b} visitors. How many {cups} does it mix for {c} visitors?",
            "If {a} {cups} of tea serve {b} people, find how many {cups} serve {c} people.",
        ),
    ),
    Family(
        "fence",
        "transfer",
        {"a": (3, 40), "b": (3, 40), "c": (2, 12)},
        (
            Step("half", "a", "+", "b", ("Half of the way round is {e} {feet}.", "Two sides are {e} {feet}.")),
            Step(
                "round",
                "half",
                "*",
                "2",
                ("All around it is {e} {feet}.", "The whole is {e} {feet}.", "Four sides: {e}."),
            ),
            Step(
                "cost",
                "round",
                "*",
                "c",
                ("That costs {e} {dollars}.", "The price is {e} {dollars}.", "In {dollars}: {e}."),
            ),
        ),
        (
            "A garden is {a} {feet} long and {b} {feet} wide. A fence costs {c} {dollars} a {foot}. What does a fence around the garden cost?",
            "{who} fences in a field of {a} by {b} {feet}. Each {foot} of fence is {c} {dollars}. How many {dollars} does {he} pay?",
            "A rectangle has sides of {a} and {b} {feet}. Its border is painted at {c} {dollars} a {foot}. How much does the border cost?",
            "The yard of the {place} is {a} {feet} by {b} {feet}. At {c} {dollars} per {foot}, what does it cost to fence it all around?",
            "{who} puts ribbon, {c} {dollars} a {foot}, along all edges of a carpet that is {a} {feet} long and {b} {feet} wide. What does {he} pay?",
            "A rectangular pool measures {a} by {b} {feet}. A rail around it costs {c} {dollars} for every {foot}. How many {dollars} does the rail cost?",
            "At {c} {dollars} for a {foot} of wall, how much is a wall around a rectangular court of {a} {feet} by {b} {feet}?",
            "Find the cost in {dollars} of edging, at {c} {dollars} a {foot}, around a bed that is {a} {feet} long and {b} {feet} wide.",
        ),
    ),
)
