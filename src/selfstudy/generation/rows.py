"""Rows: what is known of each completion while it is drawn."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

from selfstudy.errors import PluginError
from selfstudy.generation.hooks import RowHook
from selfstudy.types import Finish


@dataclass(slots=True)
class Row:
    """One completion in progress.

    Attributes:
        request: Which request it belongs to.
        index: Of the sample.
        key: Of its draws.
        prompt: Slot of its prompt.
        cached: Tokens whose keys and values are in its own slot; those of the prompt are in the prompt's.
        pending: Tokens that the next step computes.
        hook: Sees what it draws.
        tokens: The completion so far.
        forced: Spans of it that the hook wrote.
        logprob: Of its drawn tokens, untempered, in nats.
        finish: None while it goes on.
    """

    request: int
    index: int
    key: int
    prompt: int
    cached: int
    pending: list[int]
    hook: RowHook
    tokens: list[int] = field(default_factory=list)
    forced: list[tuple[int, int]] = field(default_factory=list)
    logprob: float = 0.0
    finish: Finish | None = None

    def accept(self, token: int, logprob: float, stop: Container[int], limit: int) -> None:
        """Take in a drawn token, and what the hook makes of it; all pending tokens are in the cache by now.

        Args:
            token: As drawn.
            logprob: Its untempered log-probability.
            stop: Tokens that end a completion; they are part of it.
            limit: Tokens of a completion; what a hook forces beyond is cut.

        Raises:
            PluginError: The hook forces nothing, or a token that ends a completion.
        """
        self.cached += len(self.pending)
        self.tokens.append(token)
        if token in stop:
            self.logprob += logprob
            self.finish = "stop"
            return
        forced = self.hook.feed(token)
        if forced is None:
            self.logprob += logprob
            self.pending = [token]
        else:
            if not forced.token_ids:
                raise PluginError(f"hook {type(self.hook).__name__} forces no token; return None where it forces none")
            self._force(forced.token_ids, forced.replace_last, token, logprob, limit)
            if any(written in stop for written in forced.token_ids):
                raise PluginError(
                    f"hook {type(self.hook).__name__} forces {list(forced.token_ids)}, and one of these ends a "
                    "completion, which the model alone may do; leave that token out"
                )
        if len(self.tokens) >= limit:
            self.finish = "length"

    def _force(self, token_ids: tuple[int, ...], replace_last: bool, token: int, logprob: float, limit: int) -> None:
        if replace_last:
            self.tokens.pop()
            self.pending = []
        else:
            self.logprob += logprob
            self.pending = [token]
        start = len(self.tokens)
        written = token_ids[: limit - start]
        self.tokens += written
        self.pending += written
        if written:
            # Spans do not touch: one right behind another goes on with it.
            if self.forced and self.forced[-1][1] == start:
                start = self.forced.pop()[0]
            self.forced.append((start, len(self.tokens)))
