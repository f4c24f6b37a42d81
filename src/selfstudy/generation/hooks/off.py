"""The hook that is none: the model writes everything itself."""

from __future__ import annotations

from collections.abc import Mapping

from transformers import PreTrainedTokenizerBase

from selfstudy.generation.hooks import BoundHook, Forced, Hook
from selfstudy.judging.notation import Notation


class Off(Hook):
    """Forces nothing."""

    def bind(self, tokenizer: PreTrainedTokenizerBase, notation: Notation) -> BoundHook:
        """Return a hook that is silent."""
        return _Silent()


class _Silent:  # for all rows
    counts: Mapping[str, int] = {}

    def start(self) -> _Silent:
        return self

    def feed(self, token_id: int) -> Forced | None:
        return None
