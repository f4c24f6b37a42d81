"""What a family of generated word problems is: numbers, steps and wordings as data.

A family is one kind of situation. Placeholders of its texts: ``{a}`` … ``{f}`` are stated numbers; ``{who}`` is a person,
``{he}``, ``{He}``, ``{his}`` and ``{him}`` likewise, ``{friend}`` another one; ``{things}`` and ``{others}`` are two kinds
of things, ``{place}`` is a place; units are such as ``{dollars}``, in which another may stand. Steps name what they compute, so that later ones can use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple


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
        home: ``pretrain``: in pretraining alone; ``all``: in pretraining and in all other splits; ``train``: in all but
            pretraining; ``transfer``: nowhere, unless it is asked for by name, and never in pretraining.
        numbers: The range of each stated number.
        steps: To the answer, which the last one computes; all results are integers from 2.
        wordings: Of the whole question.
    """

    name: str
    home: Literal["pretrain", "all", "train", "transfer"]
    numbers: Mapping[str, tuple[int, int]]
    steps: tuple[Step, ...]
    wordings: tuple[str, ...]
