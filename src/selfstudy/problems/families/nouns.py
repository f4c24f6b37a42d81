"""Who and what the generated word problems are about: people, things, units and places."""

from __future__ import annotations

from collections.abc import Mapping

HIS = ("he", "his", "him")
HERS = ("she", "her", "her")
_BOYS = "Tom Ben Sam Max Leo Adam Paul Omar Ivan Hugo Raj Luis Noah Carl Emil Jack Theo Kofi Ali Finn"
_GIRLS = "Ann Mia Eva Lisa Zoe Sara Rosa Nina Ida Jana Priya Wen Ella Maya Ruth Clara Amina Lena Kate Yuki"
# With their pronouns.
PEOPLE = {**dict.fromkeys(_BOYS.split(), HIS), **dict.fromkeys(_GIRLS.split(), HERS)}
THINGS = tuple(
    [
        "apples",
        "books",
        "pens",
        "coins",
        "cards",
        "eggs",
        "cookies",
        "stones",
        "shells",
        "balls",
        "stamps",
        "flowers",
        "marbles",
        "stickers",
        "buttons",
        "candles",
        "pears",
        "ribbons",
        "badges",
        "beads",
        "pencils",
        "mugs",
        "lemons",
        "hats",
        "toys",
        "bottles",
        "tickets",
        "postcards",
        "keys",
        "bricks",
        "plums",
        "envelopes",
        "magnets",
        "feathers",
        "spoons",
        "kites",
    ]
)
# What placeholders of the same names stand for; ``{foot}`` is one of the ``{feet}``.
UNITS: Mapping[str, tuple[str, ...]] = {
    "dollars": ("dollars", "euros", "pounds", "crowns"),
    "miles": ("miles", "kilometres"),
    "cups": ("cups", "bowls", "jugs"),
    "feet": ("feet", "metres", "yards"),
}
SINGULAR = {"feet": "foot", "metres": "metre", "yards": "yard"}
PLACES = tuple(
    [
        "market",
        "school",
        "library",
        "farm",
        "bakery",
        "harbour",
        "museum",
        "station",
        "garden",
        "theatre",
        "hospital",
        "zoo",
        "club",
        "camp",
        "office",
        "hotel",
    ]
)
