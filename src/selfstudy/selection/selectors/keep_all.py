"""Every right solution that is not a verbatim repeat: what deduplication and the cap are measured against."""

from __future__ import annotations

from collections.abc import Mapping

from selfstudy.selection.candidates import Candidates
from selfstudy.selection.selectors import Selector
from selfstudy.selection.similarity import distinct
from selfstudy.types import Completion


class KeepAll(Selector):
    """Keeps one solution of each text, any number a problem."""

    def keep(self, candidates: Candidates) -> list[Completion]:
        """Return the solutions with different texts, the gold one first, then by text."""
        return distinct(candidates.solutions)

    def cap_from(self, counts: Mapping[int, int]) -> int | None:
        """Return no cap."""
        return None
