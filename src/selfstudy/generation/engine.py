"""The engine: draws samples of many prompts in rows that are refilled as soon as they finish.

The order of work depends on the requests alone: longest prompts first. Each draw depends on (seed, purpose, round,
problem, sample index, position) alone, so that results do not depend on which rows share a batch, up to float noise.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from selfstudy.config import Settings
from selfstudy.errors import ModelError
from selfstudy.generation.decoder import Decoder, ragged
from selfstudy.generation.drawing import draw, uniforms
from selfstudy.generation.hooks import BoundHook, HookSpec, default_hook, load_hook
from selfstudy.generation.probe import Facts, check_window, probe
from selfstudy.generation.rows import Row
from selfstudy.judging.notation import Notation
from selfstudy.models.load import family
from selfstudy.models.prompts import decode_completion
from selfstudy.storage.seeding import derive
from selfstudy.types import Completion, Progress, Sample

# More rows than this hardly speed up matrix products, and lengthen the end of a shard, when few rows are left.
_ROWS = 64
_CACHE_BYTES = 4 * 2**30
# Prompts are computed this many tokens at a time, at least one prompt and at most a quarter of the rows.
_PREFILL_TOKENS = 2048


@dataclass(frozen=True, slots=True)
class Request:
    """Samples to draw of one problem.

    Attributes:
        problem_id: Enters the key of every draw.
        prompt_ids: At least one token; the encoder's input for encoder–decoder models.
        indices: Of the samples.
    """

    problem_id: str
    prompt_ids: tuple[int, ...]
    indices: range


class SamplingSettings(Settings):
    """How completions are drawn; nothing applies that is not said here.

    Attributes:
        temperature: Divides the logits; 0 takes the most likely token.
        top_k: Draw from that many of the most likely tokens only.
        top_p: Of those, draw from the smallest set of the most likely whose probability reaches this.
        max_new_tokens: Of a completion, forced ones and the end-of-sequence token included.
        hook: Sees every drawn token and may force others.
        max_batch_tokens: Rows times the longest row (prompt and completion for causal models, completion for others).
            None: 64 rows, or as many as have 4 GiB of keys and values.
    """

    temperature: Annotated[float, Field(ge=0)] = 0.7
    top_k: Annotated[int, Field(ge=1)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_new_tokens: Annotated[int, Field(ge=1)] = 300
    hook: HookSpec = Field(default_factory=default_hook)
    max_batch_tokens: Annotated[int, Field(ge=1)] | None = None


class Engine:
    """Draws samples from one model.

    Attributes:
        model: May change its weights between two calls of :meth:`generate`.
        tokenizer: Decodes completions.
        settings: How samples are drawn.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: SamplingSettings,
        *,
        notation: Notation,
        seed: int,
        purpose: str,
        round: int = 0,
    ):
        """Bind the hook and probe the architecture.

        Args:
            model: Causal or T5-like.
            tokenizer: The model's.
            settings: How to draw.
            notation: Of solutions; the hook's business.
            seed: Of the run.
            purpose: What the samples are for; two purposes never share a draw.
            round: Likewise.

        Raises:
            ModelError: The architecture does not survive the flat list of tokens, or has no EOS token.
        """
        self.model = model
        self.tokenizer = tokenizer
        self.settings = settings
        self._hook: BoundHook = load_hook(settings.hook).bind(tokenizer, notation)
        self._draws = (seed, purpose, round)
        self._stop = _stop_tokens(model)
        self._facts: Facts = probe(model)

    @property
    def counts(self) -> Mapping[str, int]:
        """Return what the hook counted since the engine was made."""
        return self._hook.counts

    def check(self, requests: Sequence[Request]) -> None:
        """Refuse prompts that cannot be computed.

        Raises:
            ModelError: A prompt is empty, or does not fit with ``max_new_tokens``; names the problems.
        """
        empty = [request.problem_id for request in requests if not request.prompt_ids]
        if empty:
            raise ModelError(f"{_listed(empty)}: the prompt has no tokens; check the prompt template")
        new = self.settings.max_new_tokens
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        if limit is not None and family(self.model) == "causal":
            over = [f"{r.problem_id} ({len(r.prompt_ids)})" for r in requests if len(r.prompt_ids) + new > limit]
            if over:
                raise ModelError(
                    f"{_listed(over)}: prompt (its tokens in parentheses) and max_new_tokens={new} need more than the "
                    f"{limit} positions of {type(self.model).__name__}; lower max_new_tokens, or leave these out"
                )
        longest = max((len(request.prompt_ids) for request in requests), default=0)
        check_window(self.model, self._facts, longest + new)

    def generate(self, requests: Sequence[Request], bar: Progress | None = None) -> list[Sample]:
        """Draw all samples that are asked for, in the order of requests and their indices.

        Args:
            requests: The order has no influence on what is drawn, up to float noise.
            bar: Moves by one with every finished sample.

        Raises:
            ModelError: A prompt cannot be computed, or logits are not finite; names the problems.
        """
        self.check(requests)
        if not any(len(request.indices) for request in requests):
            return []
        with ragged(self.model):
            done = _Run(self, requests).draw_all(bar)
        order = ((number, index) for number, request in enumerate(requests) for index in request.indices)
        return [self._sample(requests[number], done[number, index]) for number, index in order]

    def _sample(self, request: Request, row: Row) -> Sample:
        assert row.finish is not None
        text = decode_completion(row.tokens, self.tokenizer)
        completion = Completion(text, tuple(row.tokens), tuple(row.forced), row.finish)
        return Sample(request.problem_id, row.index, completion, row.logprob)


class _Run:
    """One call of :meth:`Engine.generate`: rows, and the prompts they need."""

    def __init__(self, engine: Engine, requests: Sequence[Request]):
        self.settings, self.requests = engine.settings, requests
        self.hook, self.draws, self.stop = engine._hook, engine._draws, engine._stop
        causal = family(engine.model) == "causal"
        order = sorted(
            (n for n, request in enumerate(requests) if len(request.indices)),
            key=lambda n: (-len(requests[n].prompt_ids), n),
        )
        prompt = len(requests[order[0]].prompt_ids)
        length = self.settings.max_new_tokens + (prompt if causal else 1)
        tokens = self.settings.max_batch_tokens or min(_ROWS * length, _CACHE_BYTES // engine._facts.token_bytes)
        waiting = sum(len(requests[n].indices) for n in order)
        self.slots = max(1, min(tokens // length, waiting))
        self.ahead = min(len(order), math.ceil(self.slots / 4))
        # A causal row copies its prompt and lets go of it; others look at theirs until they finish.
        held = self.ahead if causal else self.ahead + min(self.slots, len(order))
        self.release_on_admission = causal
        self.decoder = Decoder(engine.model, rows=self.slots, prompts=held, prompt_length=prompt, length=length)
        self.queue = deque((n, index) for n in order for index in requests[n].indices)
        self.unloaded = deque(order)
        self.free = list(range(held))  # a heap, so that prompts stay in low slots
        self.prompt_slot: dict[int, int] = {}
        self.users: dict[int, int] = {}
        self.rows: list[Row] = []

    def draw_all(self, bar: Progress | None) -> dict[tuple[int, int], Row]:
        """Draw every row; return them by (request, index)."""
        done: dict[tuple[int, int], Row] = {}
        self._fill()
        while self.rows:
            logits = self.decoder.step(self.rows)
            for row, token, logprob in zip(self.rows, *self._draw(logits), strict=True):
                row.accept(int(token), logprob, self.stop, self.settings.max_new_tokens)
            finished = [row for row in self.rows if row.finish]
            if finished:
                for row in finished:
                    done[row.request, row.index] = row
                    if not self.release_on_admission:
                        self._release(row.request)
                self._fill()
                if bar is not None:
                    bar.advance(len(finished))
        return done

    def _draw(self, logits: torch.Tensor) -> tuple[list[float], list[float]]:
        """Return tokens and log-probabilities, brought over from the device in one transfer."""
        settings = self.settings
        uniform = None
        if settings.temperature > 0:
            numbers = uniforms([row.key for row in self.rows], [len(row.tokens) for row in self.rows])
            uniform = torch.from_numpy(numbers).to(logits.device, non_blocking=True)
        drawn = draw(logits, uniform, settings.temperature, settings.top_k, settings.top_p)
        tokens, logprobs = torch.stack([part.double() for part in drawn]).tolist()
        if not all(map(math.isfinite, logprobs)):
            wrong = [
                self.requests[row.request].problem_id
                for row, p in zip(self.rows, logprobs, strict=True)
                if not math.isfinite(p)
            ]
            raise ModelError(
                f"{_listed(wrong)}: the model's logits are not finite; its weights are damaged, or dtype overflows"
            )
        return tokens, logprobs

    def _fill(self) -> None:
        """Put waiting rows in the place of finished ones; close the gaps once there are none."""
        gaps = [slot for slot, row in enumerate(self.rows) if row.finish]
        while self.queue and (gaps or len(self.rows) < self.slots):
            targets: list[int] = []
            prompts: list[int] = []
            # All rows whose prompts are there; the others need theirs computed first, which overwrites none in use.
            while self.queue and (gaps or len(self.rows) < self.slots):
                number, index = self.queue[0]
                if number not in self.prompt_slot:
                    if targets:
                        break
                    self._load()
                self.queue.popleft()
                slot = gaps.pop(0) if gaps else len(self.rows)
                row = self._row(number, index)
                self.rows[slot : slot + 1] = [row]
                targets.append(slot)
                prompts.append(row.prompt)
            self.decoder.admit(targets, prompts)
            if self.release_on_admission:
                for slot in targets:
                    self._release(self.rows[slot].request)
        if gaps:
            self._close(gaps)

    def _close(self, gaps: list[int]) -> None:
        """Move the last rows into gaps before them, and forget the rest."""
        left = len(self.rows) - len(gaps)
        targets = [slot for slot in gaps if slot < left]
        sources = [slot for slot in range(left, len(self.rows)) if not self.rows[slot].finish]
        if targets:
            self.decoder.move(sources, targets, max(self.rows[slot].cached for slot in sources))
            for source, target in zip(sources, targets, strict=True):
                self.rows[target] = self.rows[source]
        del self.rows[left:]

    def _row(self, number: int, index: int) -> Row:
        request = self.requests[number]
        cached, pending = self.decoder.start(request.prompt_ids)
        key = derive(*self.draws, request.problem_id, index)
        return Row(number, index, key, self.prompt_slot[number], cached, pending, self.hook.start())

    def _load(self) -> None:
        """Compute the next prompts in line."""
        numbers: list[int] = []
        tokens = 0
        while self.unloaded and self.free and len(numbers) < self.ahead:
            tokens += len(self.requests[self.unloaded[0]].prompt_ids)
            if numbers and tokens > _PREFILL_TOKENS:
                break
            number = self.unloaded.popleft()
            numbers.append(number)
            self.prompt_slot[number] = heapq.heappop(self.free)
            self.users[number] = len(self.requests[number].indices)
        slots = [self.prompt_slot[number] for number in numbers]
        self.decoder.load([self.requests[number].prompt_ids for number in numbers], slots)

    def _release(self, number: int) -> None:
        """Let go of a prompt when the last of its rows does."""
        self.users[number] -= 1
        if not self.users[number]:
            heapq.heappush(self.free, self.prompt_slot.pop(number))


def _stop_tokens(model: PreTrainedModel) -> frozenset[int]:
    """Return every token that ends a completion, as the generation config or else the config says."""
    for config in (model.generation_config, model.config):
        stop = getattr(config, "eos_token_id", None)
        if stop is not None:
            return frozenset([stop] if isinstance(stop, int) else stop)
    raise ModelError(f"{type(model).__name__} has no eos_token_id in its configs, so no completion could end; set it")


def _listed(names: Sequence[str]) -> str:
    unique = list(dict.fromkeys(names))
    return ", ".join(unique[:10]) + (f" and {len(unique) - 10} more" if len(unique) > 10 else "")
