"""Several sources of problems as one endless stream, mixed by weight."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Sequence
from itertools import accumulate, count
from typing import Annotated

from pydantic import Field

from selfstudy.config import Settings
from selfstudy.errors import DataError
from selfstudy.problems.rows import BadRow
from selfstudy.problems.sources import ProblemSource, SourceSpec, load_source
from selfstudy.storage.seeding import derive
from selfstudy.types import Problem


class Part(Settings):
    """One source of a mixture.

    Attributes:
        source: Where its problems come from; when it ends, it begins again.
        weight: Its share of the problems, relative to the other parts'.
    """

    source: SourceSpec
    weight: Annotated[float, Field(gt=0)] = 1.0


def stream(parts: Sequence[Part], seed: int) -> Iterator[Problem]:
    """Yield problems for ever; the n-th is of a part drawn by (seed, n), whatever was read before.

    Raises:
        DataError: A row cannot be used, or a source has none.
    """
    sources = [_repeated(load_source(part.source)) for part in parts]
    bounds = list(accumulate(part.weight for part in parts))
    for number in count():
        share = derive(seed, "mixture", number) / 2**63
        yield next(sources[bisect(bounds, share * bounds[-1])])


def _repeated(source: ProblemSource) -> Iterator[Problem]:
    while True:
        nothing = True
        for item in source.items():
            if isinstance(item, BadRow):
                raise DataError(f"{item}\nmend or remove this row: a mixture does not skip any")
            nothing = False
            yield item
        if nothing:
            raise DataError(f"{type(source).__name__}: no problems to mix in")
