"""``transformers``: ``generate``, with and without a calculator for each row, and ``generate_batch``."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from transformers import ContinuousBatchingConfig, GenerationConfig, LogitsProcessor, LogitsProcessorList

from contenders.task import Drawn, Task, Unavailable, up_to_stop
from contenders.text_calculator import TAIL, TextCalculator
from selfstudy.models.load import fill_id


@dataclass(frozen=True)
class Generate:
    """``generate``: prompts sorted by length, each with as many of its samples in a batch as fit.

    ``num_return_sequences`` instead of repeated prompts makes no difference to causal models, which compute the prompt
    for each row either way, and spares encoder–decoder models the encoder.

    Attributes:
        calculator: Whether a logits processor decodes every row at every step and writes results.
        scale: Rows at a time, as a multiple of the task's.
    """

    calculator: bool
    scale: int = 1
    compute_type: ClassVar[None] = None

    @property
    def name(self) -> str:
        """What the tables call it."""
        name = "`generate` + per-row calculator" if self.calculator else "`generate`"
        return f"{name}, {self.scale} times the rows" if self.scale > 1 else name

    def draw(self, task: Task, seed: int) -> Drawn:
        """Draw batch by batch."""
        torch.manual_seed(seed)
        completions: dict[int, list[list[int]]] = {number: [] for number in range(len(task.prompts))}
        start = time.perf_counter()
        for numbers, copies in _batches(replace(task, rows=self.scale * task.rows)):
            rows = self._batch(task, numbers, copies)
            for row, completion in enumerate(rows):
                completions[numbers[row // copies]].append(completion)
        seconds = time.perf_counter() - start
        return Drawn([completion for group in completions.values() for completion in group], seconds)

    def _batch(self, task: Task, numbers: list[int], copies: int) -> list[list[int]]:
        """Draw ``copies`` completions of each of some prompts."""
        causal = task.format.family == "causal"
        fill = fill_id(task.format.tokenizer)
        prompts = [task.prompts[number] for number in numbers]
        longest = max(map(len, prompts))
        ids = torch.full((len(prompts), longest), fill)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            where = slice(longest - len(prompt), None) if causal else slice(len(prompt))
            ids[row, where] = torch.tensor(prompt)
            mask[row, where] = 1
        width = longest if causal else 1
        processors = [RowCalculators(task, width)] if self.calculator else []
        out = task.model.generate(
            ids.to(task.model.device),
            attention_mask=mask.to(task.model.device),
            generation_config=_settings(task, copies),
            logits_processor=LogitsProcessorList(processors),
        )
        return [up_to_stop(row, task.stop) for row in out[:, width:].tolist()]


class RowCalculators(LogitsProcessor):  # type: ignore[misc] # untyped in the library
    """Decodes the end of each row at each step; forces result and closing marker one token a step."""

    def __init__(self, task: Task, start: int):
        self._calculator = TextCalculator(task.format.tokenizer, task.format.notation)
        self._tokenizer = task.format.tokenizer
        self._start = start
        self._ended = (task.stop, fill_id(task.format.tokenizer))
        self._queues: list[deque[int]] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores; of rows that wait for a result, all but one token's are −∞."""
        if not self._queues:
            self._queues = [deque() for _ in input_ids]
        tails = input_ids[:, max(self._start, input_ids.shape[1] - TAIL) :].tolist()
        writing = [row for row, tail in enumerate(tails) if tail and tail[-1] not in self._ended]
        idle = [row for row in writing if not self._queues[row]]
        texts = self._tokenizer.batch_decode([tails[row] for row in idle], skip_special_tokens=True) if idle else []
        for row, text in zip(idle, texts, strict=True):
            self._queues[row].extend(self._calculator.answer(text))
        forced = [(row, self._queues[row].popleft()) for row in writing if self._queues[row]]
        if forced:
            rows, tokens = map(list, zip(*forced, strict=True))
            scores[rows] = -torch.inf
            scores[rows, tokens] = 0.0
        return scores


@dataclass(frozen=True)
class Continuous:
    """``generate_batch``: continuous batching over a paged cache, which is allocated anew for each call.

    Its cache is as large as the rows need; left to itself it takes all memory of the machine, which costs seconds. It
    ignores logits processors that it does not know, so that there can be no calculator.
    """

    calculator: ClassVar[bool] = False
    compute_type: ClassVar[None] = None
    name: ClassVar[str] = "`generate_batch`"

    def draw(self, task: Task, seed: int) -> Drawn:
        """Draw all at once."""
        if task.format.family != "causal":
            raise Unavailable("causal models only")
        page = 32
        longest = max(map(len, task.prompts)) + task.max_new_tokens
        config = ContinuousBatchingConfig(
            page_size=page,
            num_blocks=task.rows * (longest // page + 2),
            max_requests_per_batch=task.rows,
            max_batch_tokens=task.rows + 1024,
            use_async_batching=False,
            use_cuda_graph=False,
            auto_switch_to_flash=False,
            seed=seed,
        )
        start = time.perf_counter()
        outputs = task.model.generate_batch(
            [list(prompt) for prompt in task.prompts],
            generation_config=_settings(task, task.samples),
            continuous_batching_config=config,
        )
        seconds = time.perf_counter() - start
        errors = sorted({str(output.error) for output in outputs.values() if output.error})
        if errors or len(outputs) != len(task.prompts) * task.samples:
            raise Unavailable(f"{len(outputs)} completions came back; {'; '.join(errors) or 'its log says why'}")
        return Drawn([up_to_stop(output.generated_tokens, task.stop) for output in outputs.values()], seconds)


def _settings(task: Task, copies: int) -> GenerationConfig:
    """Return the task's settings, and nothing that the library would add unasked."""
    drawing = {"do_sample": True, "temperature": task.temperature, "top_k": 0, "top_p": 1.0}
    return GenerationConfig(
        **(drawing if task.temperature else {"do_sample": False}),
        num_return_sequences=copies,
        max_new_tokens=task.max_new_tokens,
        eos_token_id=task.stop,
        pad_token_id=fill_id(task.format.tokenizer),
        bos_token_id=task.format.tokenizer.bos_token_id,
        decoder_start_token_id=getattr(task.model.config, "decoder_start_token_id", None),
    )


def _batches(task: Task) -> Iterator[tuple[list[int], int]]:
    """Yield numbers of prompts, the longest first, and how many completions of each make up a batch."""
    order = sorted(range(len(task.prompts)), key=lambda number: -len(task.prompts[number]))
    together = max(1, task.rows // task.samples)
    for first in range(0, len(order), together):
        for done in range(0, task.samples, task.rows):
            yield order[first : first + together], min(task.rows, task.samples - done)
