"""The paper's pseudo-labels: solutions that differ, and not too many of the easy problems."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated

from pydantic import Field

from selfstudy.selection.candidates import Candidates
from selfstudy.selection.selectors import Selector
from selfstudy.selection.similarity import deduplicate
from selfstudy.types import Completion


class DedupJaccard(Selector):
    """Drops near-duplicates, then caps each problem at a percentile of the numbers kept.

    Attributes:
        threshold: A solution more similar than this to one already kept is dropped.
        cap_percentile: The cap is the floor of this percentile, over problems with at least one kept solution.
        cap: A fixed cap instead, the gold solution included.
    """

    threshold: Annotated[float, Field(ge=0, le=1)] = 0.7
    cap_percentile: Annotated[float, Field(ge=0, le=100)] = 90
    cap: Annotated[int, Field(ge=1)] | None = None

    def keep(self, candidates: Candidates) -> list[Completion]:
        """Return solutions that differ, the gold one first, then by text."""
        return deduplicate(candidates.solutions, self.threshold)

    def cap_from(self, counts: Mapping[int, int]) -> int | None:
        """Return the fixed cap or that of the percentile; None where no problem has a solution."""
        if self.cap is not None or not counts:
            return self.cap
        return floor_percentile(counts, self.cap_percentile)


def floor_percentile(counts: Mapping[int, int], percentile: float) -> int:
    """Return the floor of a percentile of whole numbers, interpolated linearly between the two nearest.

    Args:
        counts: How often each number occurs; not empty.
        percentile: From 0 to 100.
    """
    # Exact, as the decimal is written: a rank of 8.999… for 9 would floor to another cap.
    rank = Fraction(str(percentile)) / 100 * (sum(counts.values()) - 1)
    below, above = _at(counts, math.floor(rank)), _at(counts, math.ceil(rank))
    return math.floor(below + (rank - math.floor(rank)) * (above - below))


def _at(counts: Mapping[int, int], position: int) -> int:
    """Return the number at a 0-based position of the sorted numbers."""
    seen = 0
    for number in sorted(counts):
        seen += counts[number]
        if seen > position:
            return number
    raise ValueError(f"position {position} lies beyond the {seen} numbers")
