"""What sources of generated problems share: seeded candidates, until enough of them differ, and what they count as."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import ClassVar, TypeVar

from selfstudy.errors import DataError
from selfstudy.problems.sources import ProblemSource

# Candidates in a row that bring nothing new: the settings allow no more.
PATIENCE = 20_000
RESULT: dict[str, Callable[[int, int], int]] = {
    "+": int.__add__,
    "-": int.__sub__,
    "*": int.__mul__,
    "/": int.__floordiv__,
}

T = TypeVar("T")


class Generated(ProblemSource):
    """A source whose problems depend on its settings and on code.

    The code counts as its data files, by content: other wordings are other problems, and what was made from the old
    ones is not taken for theirs.

    Attributes:
        modules: Names of modules with what is told, beside the source's own.
    """

    modules: ClassVar[tuple[str, ...]] = ()

    def files(self) -> tuple[Path, ...]:
        """Return the modules' files."""
        names = (type(self).__module__, __name__, *self.modules)
        return tuple(Path(str(sys.modules[name].__file__)) for name in names)


def seeded(seed: int, *parts: str | int) -> Random:
    """Return a generator that depends on ``seed`` and ``parts`` alone."""
    key = "\0".join(map(str, (seed, *parts)))
    return Random(int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big"))


def bucket(key: str, buckets: int) -> int:
    """Return one of so many buckets, the same for a key on every machine."""
    return hashlib.blake2b(key.encode(), digest_size=1).digest()[0] % buckets


def different(
    count: int, propose: Callable[[int], T | None], key: Callable[[T], str], *, named: str, remedy: str
) -> Iterator[tuple[int, T]]:
    """Yield the first ``count`` candidates that differ, numbered from 0.

    Args:
        count: How many.
        propose: Makes candidate j, from 0; None where there is nothing to be had from it.
        key: By which candidates differ.
        named: ``source/split``, for the error.
        remedy: What to do then.

    Raises:
        DataError: There are hardly more than were found.
    """
    seen: set[str] = set()
    candidate = last = 0
    while len(seen) < count:
        if candidate - last > PATIENCE:
            source, split = named.split("/")
            raise DataError(
                f"{source}: these settings allow hardly more than {len(seen)} different questions in split {split}, "
                f"{count} are asked for; {remedy}, or lower count"
            )
        found = propose(candidate)
        candidate += 1
        if found is not None and key(found) not in seen:
            last = candidate
            yield len(seen), found
            seen.add(key(found))


def annotated(left: int, symbol: str, right: int) -> str:
    """Write an exact operation with its result as GSM8K does: ``2 * 3 = <<2*3=6>>6``."""
    result = RESULT[symbol](left, right)
    return f"{left} {symbol} {right} = <<{left}{symbol}{right}={result}>>{result}"
