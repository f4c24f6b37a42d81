"""Splits: which problems show their solutions (L), which only their answers (U), and which are held out.

A split depends on the seed, its purpose and the ids alone, never on the order of rows: each problem is ranked by a hash
and the lowest ranks are taken, so a larger L contains every smaller one of the same seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np

from selfstudy.errors import ConfigError, DataError
from selfstudy.types import Problem


def split_labelled(
    problems: Sequence[Problem], labelled: int | float | Literal["all"], unlabelled: Literal["all", "rest"], seed: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Choose L, whose solutions may be used, and U, of which only answers are.

    Args:
        problems: The training problems; only those with a solution can be in L.
        labelled: How many are in L: a count, a fraction of all problems, or every one that has a solution.
        unlabelled: U is ``all`` problems, L's questions included, or the ``rest``.
        seed: Another seed, another L.

    Returns:
        Ids of L and of U, each sorted.

    Raises:
        DataError: Fewer problems have solutions than L needs.
        ConfigError: ``labelled`` is neither a positive count nor a fraction up to 1.
    """
    solved = [problem.id for problem in problems if problem.solution is not None]
    wanted = len(solved) if labelled == "all" else _count(labelled, len(problems), "problems.labelled")
    if wanted > len(solved) or not solved:
        raise DataError(
            f"problems.labelled: {labelled} needs {max(wanted, 1)} problems with solutions, but only {len(solved)} of "
            f"{len(problems)} have one; lower it, or add solutions (a table's are in the column that solution: names)"
        )
    chosen = frozenset(_ranked(solved, seed, "labelled")[:wanted])
    everyone = sorted(problem.id for problem in problems)
    return tuple(sorted(chosen)), tuple(key for key in everyone if unlabelled == "all" or key not in chosen)


def hold_out(
    problems: Sequence[Problem], size: int | float, seed: int, purpose: str
) -> tuple[list[Problem], list[Problem]]:
    """Set problems aside, for dev, test or a guard.

    Args:
        problems: What to choose from.
        size: A count, or a fraction of them.
        seed: Another seed, another choice.
        purpose: Such as ``dev``; other purposes choose independently.

    Returns:
        The rest and the held-out problems, both in the order given.

    Raises:
        DataError: Nothing would be left.
        ConfigError: ``size`` is neither a positive count nor a fraction up to 1.
    """
    where = f"problems.{purpose}"
    count = _count(size, len(problems), where)
    if count >= len(problems):
        raise DataError(f"{where}: holding out {count} of {len(problems)} problems leaves none; lower it, or add some")
    held = frozenset(_ranked([problem.id for problem in problems], seed, purpose)[:count])
    return [p for p in problems if p.id not in held], [p for p in problems if p.id in held]


def held_out_of(ids: Callable[[], Iterator[str]], count: int, seed: int, purpose: str) -> Callable[[str], bool]:
    """Choose as :func:`hold_out` does, in eight bytes an id.

    Args:
        ids: Begins to yield what to choose from, each time that it is called.
        count: How many to hold out; from 1 to fewer than there are.
        seed: Another seed, another choice.
        purpose: Other purposes choose independently.

    Returns:
        Whether one of these ids is held out.
    """
    ranks = np.fromiter((_rank(key, seed, purpose) for key in ids()), dtype=np.uint64)
    edge = int(np.partition(ranks, count - 1)[count - 1])
    more = count - int((ranks < edge).sum())
    at_edge = frozenset(sorted(key for key in ids() if _rank(key, seed, purpose) == edge)[:more])
    return lambda key: _rank(key, seed, purpose) < edge or key in at_edge


def _count(size: int | float, total: int, what: str) -> int:
    if isinstance(size, float) and 0 < size <= 1:
        return max(1, round(size * total))
    if isinstance(size, int) and size >= 1:
        return size
    raise ConfigError(f"{what}: {size!r} is neither a count from 1 up nor a fraction between 0.0 and 1.0")


def _ranked(ids: list[str], seed: int, purpose: str) -> list[str]:
    return sorted(ids, key=lambda key: (_rank(key, seed, purpose), key))


def _rank(key: str, seed: int, purpose: str) -> int:
    digest = hashlib.blake2b(f"{seed}\0{purpose}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
