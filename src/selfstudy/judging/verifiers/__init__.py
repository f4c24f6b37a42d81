"""Verifiers: one decides what is right for pairing, pseudo-labelling and evaluation alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator

from selfstudy.config import Settings
from selfstudy.errors import ConfigError
from selfstudy.plugins import PluginSpec, load, parse_spec
from selfstudy.types import Outcome, Problem

FAMILY = "selfstudy.judging.verifiers"
VerifierSpec = Annotated[PluginSpec, BeforeValidator(partial(parse_spec, FAMILY))]


class Judgement(NamedTuple):
    """What a verifier says.

    Attributes:
        outcome: ``unparsed`` where no answer was found, which is not right either.
        extracted: The answer as found and normalised; None when ``outcome`` is ``unparsed``.
        reason: For people.
    """

    outcome: Outcome
    extracted: str | None
    reason: str


class Verifier(Settings, ABC):
    """Says whether a completion solves a problem."""

    @property
    def bounded(self) -> bool:
        """Whether every verdict is there at once, whatever the text: any other is waited for in a worker process."""
        return False

    @abstractmethod
    def verify(self, problem: Problem, text: str) -> Judgement:
        """Judge the decoded ``text`` of a completion. To raise is a fault of the verifier and stops the run."""


def load_verifier(verifier: PluginSpec | str | Mapping[str, Any]) -> Verifier:
    """Make a verifier from what a config says of it.

    Args:
        verifier: A name or more, such as ``numeric`` or ``{"name": "./clock.py", "minutes": 5}``.

    Raises:
        ConfigError: There is none of that name, or a setting is wrong; says what there is.
        PluginError: The file cannot be imported, or its class is no verifier.
    """
    try:
        spec = parse_spec(FAMILY, verifier)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return load(FAMILY, spec, Verifier)


def default_verifier() -> PluginSpec:
    """Return the paper's verifier: numbers, equal within 1e-4."""
    return parse_spec(FAMILY, "numeric")
