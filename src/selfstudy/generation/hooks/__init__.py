"""Hooks: see every drawn token of a row and may answer with tokens to force."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Annotated, NamedTuple, Protocol

from pydantic import BeforeValidator
from transformers import PreTrainedTokenizerBase

from selfstudy.config import Settings
from selfstudy.judging.notation import Notation
from selfstudy.plugins import PluginSpec, load, parse_spec

FAMILY = "selfstudy.generation.hooks"
HookSpec = Annotated[PluginSpec, BeforeValidator(partial(parse_spec, FAMILY))]


class Forced(NamedTuple):
    """What a hook writes after the token it was shown.

    Attributes:
        token_ids: At least one token; none that ends a completion.
        replace_last: Whether they stand in the place of the token it was shown.
    """

    token_ids: tuple[int, ...]
    replace_last: bool = False


class RowHook(Protocol):
    """A hook at work on one row.

    Attributes:
        counts: What it did there.
    """

    @property
    def counts(self) -> Mapping[str, int]:
        """Return what it did in this row."""

    def feed(self, token_id: int) -> Forced | None:
        """Take the row's next drawn token in; what is returned is written without being shown again."""


class BoundHook(Protocol):
    """A hook bound to a tokenizer."""

    def start(self) -> RowHook:
        """Begin a row."""


class Hook(Settings, ABC):
    """Settings of a hook."""

    @abstractmethod
    def bind(self, tokenizer: PreTrainedTokenizerBase, notation: Notation) -> BoundHook:
        """Prepare for a tokenizer and the notation of its solutions."""


def load_hook(spec: PluginSpec) -> Hook:
    """Make the hook that ``spec`` names."""
    return load(FAMILY, spec, Hook)


def default_hook() -> PluginSpec:
    """Return the calculator."""
    return parse_spec(FAMILY, "calculator")
