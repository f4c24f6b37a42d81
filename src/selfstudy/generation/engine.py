"""The engine: draws samples of many prompts in rows that are refilled as soon as they finish.

The order of work depends on the requests alone: longest prompts first. Each draw depends on (seed, purpose, round,
problem, sample index, position) alone, so that results do not depend on which rows share a batch, up to float noise.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Annotated

import torch
from pydantic import Field
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from selfstudy.config import Settings
from selfstudy.errors import ModelError, listed
from selfstudy.generation.decoder import BAND, Decoder, ragged
from selfstudy.generation.drawing import draw, uniforms
from selfstudy.generation.hooks import BoundHook, HookSpec, default_hook, load_hook
from selfstudy.generation.packing import packed
from selfstudy.generation.probe import Facts, probe
from selfstudy.generation.rows import Row
from selfstudy.judging.notation import Notation
from selfstudy.models.attention import check_window
from selfstudy.models.compute import out_of_memory
from selfstudy.models.load import family, position_limit
from selfstudy.models.prompts import decode_completion
from selfstudy.storage.seeding import derive
from selfstudy.types import Completion, Progress, Sample

# More rows than this hardly speed up matrix products, and lengthen the end of a shard, when few rows are left.
_ROWS = 256
_SHORTER = "lower sampling.max_new_tokens, or take these problems out of the data"
# Keys and values take as much memory as the weights, but not less than this.
_CACHE_BYTES = 2**30
# Prompts are computed this many tokens at a time, at least one prompt and at most a quarter of the rows.
_PREFILL_TOKENS = 2048
# Rows are put in order of length every so many steps, so that short ones do not attend as far as long ones.
_SORT_STEPS = 4


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
        max_batch_tokens: Rows times the tokens that a row may need, prompt and completion. None: 256 rows, or as many
            as need about as much memory as the weights, or 1 GiB if that is more. Where memory runs out nevertheless,
            it is halved and the shard marked.
        batches_per_shard: A shard, which one process draws and writes whole, has at least so many times the rows of a
            batch. Fewer give more processes something to do, and more often leave a batch with its last few rows.
    """

    temperature: Annotated[float, Field(ge=0)] = 0.7
    top_k: Annotated[int, Field(ge=1)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_new_tokens: Annotated[int, Field(ge=1)] = 300
    hook: HookSpec = Field(default_factory=default_hook)
    max_batch_tokens: Annotated[int, Field(ge=1)] | None = None
    batches_per_shard: Annotated[int, Field(ge=1)] = 16


class Engine:
    """Draws samples from one model.

    Attributes:
        model: May change its weights between two calls of :meth:`generate`.
        tokenizer: Decodes completions.
        settings: How samples are drawn.
        counts: What the hook did in all samples so far.
        halved: How often memory ran out, and ``max_batch_tokens`` was halved for the rest of a call.
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
            model: Causal, or like T5 or BART.
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
        self.counts: Counter[str] = Counter()
        self.halved = 0

    def check(self, requests: Sequence[Request]) -> None:
        """Refuse prompts that cannot be computed.

        Raises:
            ModelError: A prompt is empty, or does not fit with ``max_new_tokens``; names the problems.
        """
        empty = [request.problem_id for request in requests if not request.prompt_ids]
        if empty:
            raise ModelError(f"{listed(empty)}: the prompt has no tokens; check the question and prompt.template")
        new = self.settings.max_new_tokens
        limit = position_limit(self.model)
        if limit is not None:
            causal = family(self.model) == "causal"
            needed = [len(r.prompt_ids) + new if causal else max(len(r.prompt_ids), new) for r in requests]
            over = [f"{r.problem_id} ({len(r.prompt_ids)})" for r, n in zip(requests, needed, strict=True) if n > limit]
            if over:
                raise ModelError(
                    f"{listed(over)}: prompt (its tokens in parentheses) {'and' if causal else 'or'} "
                    f"max_new_tokens={new} need more than the {limit} positions of {type(self.model).__name__}; "
                    f"{_SHORTER}"
                )
        longest = max((len(request.prompt_ids) for request in requests), default=0)
        check_window(self.model, self._facts.windowed, longest + new, _SHORTER)

    def generate(self, requests: Sequence[Request], bar: Progress | None = None) -> list[Sample]:
        """Draw all samples that are asked for, in the order of requests and their indices.

        Args:
            requests: The order has no influence on what is drawn, up to float noise.
            bar: Moves by one with every finished sample.

        Raises:
            ModelError: A prompt cannot be computed, or logits are not finite; names the problems.
        """
        self.check(requests)
        done: dict[tuple[int, int], Row] = {}
        tokens = self._batch_tokens(requests)
        while len(done) < sum(len(request.indices) for request in requests):
            try:
                with ragged(self.model), packed(self.model):
                    _Run(self, requests, done, tokens).draw_all(bar)
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                fault = str(error)
            else:
                break
            # Outside of the handler, so that the traceback no longer holds the run's tensors.
            left = [r for n, r in enumerate(requests) if any((n, index) not in done for index in r.indices)]
            tokens = self._halve(tokens, requests, left, fault)
        for row in done.values():
            self.counts.update(row.hook.counts)
        order = ((number, index) for number, request in enumerate(requests) for index in request.indices)
        return [self._sample(requests[number], done[number, index]) for number, index in order]

    def rows(self, requests: Sequence[Request]) -> int:
        """Return how many rows are drawn at a time at most: by settings, model and the shortest prompt."""
        shortest = self.settings.max_new_tokens + min((len(r.prompt_ids) for r in requests), default=1)
        given = self.settings.max_batch_tokens
        return max(1, min(_ROWS, self._cache_tokens() // shortest) if given is None else given // shortest)

    def _row_tokens(self, requests: Sequence[Request]) -> int:
        """Return the tokens that a row may need: its own, and a prompt that it shares with no other row."""
        return self.settings.max_new_tokens + max((len(r.prompt_ids) for r in requests), default=1)

    def _batch_tokens(self, requests: Sequence[Request]) -> int:
        if self.settings.max_batch_tokens is not None:
            return self.settings.max_batch_tokens
        return min(_ROWS * self._row_tokens(requests), self._cache_tokens())

    def _cache_tokens(self) -> int:
        weights: int = sum(parameter.numel() * parameter.element_size() for parameter in self.model.parameters())
        return max(weights, _CACHE_BYTES) // self._facts.token_bytes

    def _halve(self, tokens: int, requests: Sequence[Request], left: Sequence[Request], fault: str) -> int:
        """Return half of ``tokens`` for what is ``left``.

        Raises:
            ModelError: That was one row already; names the problems.
        """
        rows = min(tokens // self._row_tokens(requests), sum(len(request.indices) for request in left))
        if rows <= 1:
            raise ModelError(
                f"{listed([r.problem_id for r in left])}: memory ran out with a single row ({fault}); "
                f"{_SHORTER}, or take a smaller model"
            )
        self.halved += 1
        return rows // 2 * self._row_tokens(requests)

    def _sample(self, request: Request, row: Row) -> Sample:
        assert row.finish is not None
        text = decode_completion(row.tokens, self.tokenizer)
        completion = Completion(text, tuple(row.tokens), tuple(row.forced), row.finish)
        return Sample(request.problem_id, row.index, completion, row.logprob)


class _Run:
    """One call of :meth:`Engine.generate`: rows, and the prompts they need."""

    def __init__(
        self, engine: Engine, requests: Sequence[Request], done: dict[tuple[int, int], Row], batch_tokens: int
    ):
        """Lay out caches for what is not ``done`` yet; :meth:`draw_all` adds to it."""
        self.settings, self.requests, self.done = engine.settings, requests, done
        self.hook, self.draws, self.stop = engine._hook, engine._draws, engine._stop
        self.queue = deque(
            (n, index)
            for n in sorted(range(len(requests)), key=lambda n: (-len(requests[n].prompt_ids), n))
            for index in requests[n].indices
            if (n, index) not in done
        )
        self.users = Counter(number for number, _ in self.queue)
        self.unloaded = deque(self.users)
        self.slots = max(1, min(batch_tokens // engine._row_tokens(requests), len(self.queue)))
        self.ahead = min(len(self.users), math.ceil(self.slots / 4))
        held = self.ahead + min(self.slots, len(self.users))
        self.decoder = Decoder(
            engine.model,
            rows=self.slots,
            prompts=held,
            prompt_length=len(requests[self.unloaded[0]].prompt_ids),
            length=self.settings.max_new_tokens + 1,
        )
        self.free = list(range(held))  # a heap, so that prompts stay in low slots
        self.prompt_slot: dict[int, int] = {}
        self.rows: list[Row] = []

    def draw_all(self, bar: Progress | None) -> None:
        """Draw every row."""
        self._fill()
        for step in count(1):
            if not self.rows:
                return
            logits = self.decoder.step(self.rows)
            for row, token, logprob in zip(self.rows, *self._draw(logits), strict=True):
                row.accept(int(token), logprob, self.stop, self.settings.max_new_tokens)
            finished = [row for row in self.rows if row.finish]
            if finished:
                for row in finished:
                    self.done[row.request, row.index] = row
                    self._release(row.request)
                if bar is not None:
                    bar.advance(len(finished))
                self._fill()
            if step % _SORT_STEPS == 0:
                self._sort()

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
                f"{listed(wrong)}: the model's logits are not finite: its weights are damaged, or compute.dtype is too "
                "narrow for them; set it to float32, or use another model"
            )
        return tokens, logprobs

    def _fill(self) -> None:
        """Put waiting rows in the place of finished ones; close the gaps once there are none."""
        gaps = deque(slot for slot, row in enumerate(self.rows) if row.finish)
        while self.queue and (gaps or len(self.rows) < self.slots):
            number, index = self.queue.popleft()
            if number not in self.prompt_slot:
                self._load()
            slot = gaps.popleft() if gaps else len(self.rows)
            self.rows[slot : slot + 1] = [self._row(number, index)]
        if gaps:
            left = len(self.rows) - len(gaps)
            last = [slot for slot in range(left, len(self.rows)) if not self.rows[slot].finish]
            self._move(last, [slot for slot in gaps if slot < left])
            del self.rows[left:]

    def _sort(self) -> None:
        """Put the longest rows into the first band, and so on; within a band the order does not matter."""
        order = sorted(range(len(self.rows)), key=lambda slot: -self.rows[slot].cached)
        sources: list[int] = []
        targets: list[int] = []
        for first in range(0, len(order), BAND):
            rows = order[first : first + BAND]
            band = range(first, first + len(rows))
            sources += [slot for slot in rows if slot not in band]
            targets += [slot for slot in band if slot not in rows]
        self._move(sources, targets)

    def _move(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        if not targets:
            return
        rows = [self.rows[slot] for slot in sources]
        self.decoder.move(sources, targets, max(row.cached for row in rows))
        for target, row in zip(targets, rows, strict=True):
            self.rows[target] = row

    def _row(self, number: int, index: int) -> Row:
        request = self.requests[number]
        key = derive(*self.draws, request.problem_id, index)
        pending = self.decoder.start(request.prompt_ids)
        return Row(number, index, key, self.prompt_slot[number], 0, pending, self.hook.start())

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
    raise ModelError(
        f"{type(model).__name__} has no eos_token_id in its configs, so no completion could end; set it in config.json"
    )
