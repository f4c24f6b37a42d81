"""Pairers: which right solution is preferred to which wrong one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import Annotated

from pydantic import BeforeValidator

from selfstudy.config import Settings
from selfstudy.plugins import PluginSpec, load, parse_spec
from selfstudy.selection.candidates import Candidates
from selfstudy.selection.similarity import jaccard, token_set
from selfstudy.types import Completion, Pair

FAMILY = "selfstudy.selection.pairers"
PairerSpec = Annotated[PluginSpec, BeforeValidator(partial(parse_spec, FAMILY))]


class Pairer(Settings, ABC):
    """Forms the preference pairs of one problem."""

    @abstractmethod
    def pair(self, candidates: Candidates, seed: int) -> list[Pair]:
        """Return the pairs of one problem, the same ones whatever the order of the candidates.

        Args:
            candidates: All judged solutions of the problem.
            seed: Of the run; a random choice is keyed by it and by what is chosen (:mod:`selfstudy.storage.seeding`).

        Returns:
            No pair twice; none at all where there is no winner or no loser.
        """


def make_pair(problem_id: str, chosen: Completion, rejected: Completion) -> Pair:
    """Put a winner and a loser together, with their similarity."""
    similarity = jaccard(token_set(chosen), token_set(rejected))
    return Pair(problem_id, chosen, rejected, "gold" if chosen.finish == "gold" else "sample", similarity)


def load_pairer(spec: PluginSpec) -> Pairer:
    """Make the pairer that ``spec`` names."""
    return load(FAMILY, spec, Pairer)


def default_pairer() -> PluginSpec:
    """Return the paper's pairer: the 3 least similar pairs of each problem."""
    return parse_spec(FAMILY, "least_similar")
