"""CTranslate2, plain and with a calculator that stops it at ``=`` and has it go on behind the result.

It runs in processes of its own, one for each way of computing matrix products, since it reads the environment once.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedModel

from contenders.task import Drawn, Task, Unavailable
from contenders.text_calculator import TAIL, TextCalculator
from selfstudy.judging.notation import NOTATIONS
from selfstudy.models.load import is_tied, load_model, load_tokenizer

ComputeType = Literal["float32", "int8"]
Tokens = list[str]

_MKL, _AVX512 = {"CT2_USE_MKL": "1"}, {"CT2_FORCE_CPU_ISA": "AVX512"}


@dataclass(frozen=True)
class Job:
    """A task as its process is told it.

    Attributes:
        folder: The converted model.
        tokenizer: The folder of the tokenizer.
        causal: Else encoder–decoder.
        compute_type: Of the weights.
        threads: CPU threads.
        prompts: As the vocabulary's strings.
        samples: Of each prompt.
        together: Compute a prompt once for its samples, instead of once for each.
        rows: Decoded at a time.
        resumed: Likewise, when going on behind a result.
        temperature: 0 takes the most likely token.
        limit: Tokens of a completion.
        endless: Never draw EOS.
        notation: Of the calculator; None for no calculator.
        stops: Tokens at which it is stopped for the calculator.
        workers: Batches at a time, with their share of the threads.
        seed: Of the first job of a process; the next ones go on from where that ends.
    """

    folder: str
    tokenizer: str
    causal: bool
    compute_type: ComputeType
    threads: int
    prompts: list[Tokens]
    samples: int
    together: bool
    rows: int
    resumed: int
    temperature: float
    limit: int
    endless: bool
    notation: str | None
    stops: list[int]
    workers: int
    seed: int


@dataclass(frozen=True)
class CTranslate2:
    """The engine with its settings; :meth:`fastest` finds the best ones.

    Attributes:
        compute_type: Of the weights.
        calculator: Whether it is stopped at ``=``.
        together: As in :class:`Job`.
        workers: Batches that are decoded at a time.
        scale: Rows at a time, as a multiple of the task's.
        parts: Rows that go on behind a result do so in batches smaller by this. It feeds in token by token what rows
            of a batch have beyond the shortest one, so that rows of like length are better off among themselves.
        environment: Of its process.
    """

    compute_type: ComputeType
    calculator: bool = False
    together: bool = True
    workers: int = 1
    scale: int = 1
    parts: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the tables call it."""
        return "CTranslate2 + stop at `=` and resume" if self.calculator else "CTranslate2"

    @property
    def settings(self) -> str:
        """How it computes."""
        chosen = [f"{name}={value}" for name, value in self.environment.items()]
        chosen.append("num_hypotheses" if self.together else "repeated prompts")
        chosen += [f"{self.workers} batches at a time"] if self.workers > 1 else []
        chosen += [f"{self.scale} times the rows"] if self.scale > 1 else []
        return ", ".join([*chosen, f"1/{self.parts} of the rows behind a result"] if self.parts > 1 else chosen)

    def fastest(self, task: Task) -> CTranslate2:
        """Return the settings that draw the beginning of a task fastest, each after a run that does not count."""
        short = replace(task, problems=task.problems[: max(1, task.rows // task.samples)], max_new_tokens=32)
        plain = [
            replace(self, calculator=False, together=together, environment=environment)
            for environment in _environments()
            for together in (True, False)
        ]
        best = min(plain, key=lambda way: way._seconds(short))
        longer = replace(task, problems=task.problems[: task.threads * len(short.problems)])
        ways = [best]
        if task.threads > 1:
            ways += [replace(best, workers=task.threads), replace(best, scale=task.threads)]
        best = min(ways, key=lambda way: way._seconds(longer))
        if not self.calculator:
            return best
        resuming = [replace(best, calculator=True, parts=parts) for parts in (1, 4)]
        return min(resuming, key=lambda way: way._seconds(longer))

    def _seconds(self, task: Task) -> float:
        self.draw(replace(task, max_new_tokens=8), 0)
        return self.draw(task, 0).seconds

    def draw(self, task: Task, seed: int) -> Drawn:
        """Draw in the engine's process, by that process's clock."""
        tokenizer = task.format.tokenizer
        job = Job(
            folder=str(convert(task.folder, task.converted, self.compute_type)),
            tokenizer=str(task.folder),
            causal=task.format.family == "causal",
            compute_type=self.compute_type,
            threads=task.threads,
            prompts=[tokenizer.convert_ids_to_tokens(list(prompt)) for prompt in task.prompts],
            samples=task.samples,
            together=self.together and task.samples <= task.rows * self.scale,
            rows=task.rows * self.scale,
            resumed=max(1, task.rows * self.scale // self.parts),
            temperature=task.temperature,
            limit=task.max_new_tokens,
            endless=task.endless,
            notation=task.format.notation.name if self.calculator else None,
            stops=_stops(task) if self.calculator else [],
            workers=self.workers,
            seed=seed,
        )
        completions, seconds, forced = _process(tuple(sorted(self.environment.items()))).submit(carry_out, job).result()
        return Drawn([tokenizer.convert_tokens_to_ids(tokens) for tokens in completions], seconds, forced)


def convert(folder: Path, converted: Path, compute_type: ComputeType) -> Path:
    """Return the model in CTranslate2's format, converted the first time.

    Raises:
        Unavailable: CTranslate2 is not installed.
    """
    if find_spec("ctranslate2") is None:
        raise Unavailable("not installed: pip install ctranslate2")
    out = converted / f"{folder.name}-{compute_type}"
    if out.is_dir():
        return out
    from ctranslate2.converters import TransformersConverter  # type: ignore[import-untyped]

    class Converter(TransformersConverter):  # type: ignore[misc]
        def load_model(self, model_class: Any, model_name_or_path: str, **settings: Any) -> PreTrainedModel:
            model = load_model(Path(model_name_or_path))
            # Of any T5 the library's config says that it is tied, and the converter scales the logits of tied ones.
            model.config.tie_word_embeddings = is_tied(model)
            return model

    scratch = out.with_suffix(".tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    Converter(str(folder)).convert(str(scratch), quantization=compute_type, force=True)
    path = scratch / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    # It takes no null for a tokenizer without BOS, and never writes the token itself.
    config["bos_token"] = config["bos_token"] or config["eos_token"]
    path.write_text(json.dumps(config), encoding="utf-8")
    return scratch.rename(out)


def carry_out(job: Job) -> tuple[list[Tokens], float, int]:
    """Draw; return completions, seconds and the number of tokens that the calculator wrote."""
    import ctranslate2  # type: ignore[import-untyped]

    ctranslate2.set_random_seed(job.seed)  # heard once, when an engine draws for the first time
    engine = _engine(job.folder, job.causal, job.compute_type, job.threads // job.workers, job.workers)
    if job.notation is None:
        start = time.perf_counter()
        drawn = _generate(engine, job, job.prompts, None, job.samples, job.limit, None)
        return drawn, time.perf_counter() - start, 0
    resuming = _Resuming(job)
    start = time.perf_counter()
    rows = resuming.draw(engine)
    return [row.tokens for row in rows], time.perf_counter() - start, sum(row.forced for row in rows)


def _stops(task: Task) -> list[int]:
    calculator = TextCalculator(task.format.tokenizer, task.format.notation)
    return calculator.stop_tokens(task.format.gold(problem).token_ids for problem in task.problems)


@dataclass
class _Row:
    prompt: Tokens
    tokens: Tokens
    forced: int = 0
    ended: bool = False


class _Resuming:
    """Stop at ``=``, compute, go on with all rows that have not ended; those of like length share a batch."""

    def __init__(self, job: Job):
        tokenizer = load_tokenizer(Path(job.tokenizer))
        self._job = job
        self._tokenizer = tokenizer
        self._calculator = TextCalculator(tokenizer, NOTATIONS[job.notation or ""])
        self._ids: dict[str, int] = tokenizer.get_vocab()
        self._end: str = tokenizer.eos_token
        self._stop = [tokenizer.eos_token_id, *job.stops]

    def draw(self, engine: Any) -> list[_Row]:
        """Draw every row of the job."""
        job = self._job
        drawn = _generate(engine, job, job.prompts, None, job.samples, job.limit, self._stop)
        rows = [_Row(prompt, []) for prompt in job.prompts for _ in range(job.samples)]
        for row, tokens in zip(rows, drawn, strict=True):
            self._absorb(row, tokens)
        while waiting := [row for row in rows if not row.ended]:
            prompts, begun = [row.prompt for row in waiting], [row.tokens for row in waiting]
            left = job.limit - min(map(len, begun))
            for row, tokens in zip(waiting, _generate(engine, job, prompts, begun, 1, left, self._stop), strict=True):
                self._absorb(row, tokens)
        return rows

    def _absorb(self, row: _Row, tokens: Tokens) -> None:
        """Take in what was drawn; write the result of an annotation that waits for one."""
        row.tokens += tokens
        stopped = bool(tokens) and self._ids[tokens[-1]] in self._stop
        if stopped and tokens[-1] != self._end and len(row.tokens) < self._job.limit:
            result = self._calculator.after([self._ids[token] for token in row.tokens[-TAIL:]])
            row.tokens += self._tokenizer.convert_ids_to_tokens(list(result))
            row.forced += len(result)
        row.ended = not stopped or tokens[-1] == self._end or len(row.tokens) >= self._job.limit
        del row.tokens[self._job.limit :]


def _generate(
    engine: Any,
    job: Job,
    prompts: Sequence[Tokens],
    begun: Sequence[Tokens] | None,
    samples: int,
    limit: int,
    stop: list[int] | None,
) -> list[Tokens]:
    """Draw ``samples`` of each prompt, behind what is ``begun``; return what is new of each.

    Args:
        engine: Generator or translator.
        job: Its settings.
        prompts: To draw for.
        begun: Tokens of the completion that are there already, for each prompt.
        samples: Of each prompt.
        limit: New tokens.
        stop: Tokens to stop at; None for EOS.
    """
    together = job.together and samples > 1
    rows = job.resumed if begun else job.rows
    if not together:
        prompts = [prompt for prompt in prompts for _ in range(samples)]
    settings = {
        "beam_size": 1,
        "num_hypotheses": samples if together else 1,
        "max_batch_size": rows // samples if together else rows,
        "sampling_topk": 0 if job.temperature else 1,  # 0 is the whole vocabulary
        "sampling_temperature": job.temperature or 1.0,
        "return_end_token": True,
        "end_token": stop,
    }
    least = limit if job.endless else 0
    if job.causal:
        texts = [prompt + tokens for prompt, tokens in zip(prompts, begun, strict=True)] if begun else prompts
        results = engine.generate_batch(
            texts, include_prompt_in_result=False, max_length=limit, min_length=least, **settings
        )
        return [tokens for result in results for tokens in result.sequences]
    # Here the beginning is part of the result and of its length.
    results = engine.translate_batch(
        prompts,
        target_prefix=begun,
        max_input_length=0,
        max_decoding_length=job.limit,
        min_decoding_length=least,
        **settings,
    )
    known = [len(tokens) for tokens in begun] if begun else [0] * len(results)
    return [tokens[start:] for result, start in zip(results, known, strict=True) for tokens in result.hypotheses]


@cache
def _engine(folder: str, causal: bool, compute_type: str, threads: int, workers: int) -> Any:
    import ctranslate2

    load = ctranslate2.Generator if causal else ctranslate2.Translator
    return load(folder, compute_type=compute_type, intra_threads=threads, inter_threads=workers)


@cache
def _process(environment: tuple[tuple[str, str], ...]) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, get_context("spawn"), _set, (environment,))


def _set(environment: tuple[tuple[str, str], ...]) -> None:
    os.environ.update(environment)


def _environments() -> list[Mapping[str, str]]:
    """Return what may make it faster; by itself it takes oneDNN and AVX2 on processors that are not Intel's."""
    ways: list[Mapping[str, str]] = [{}, _MKL]
    facts = Path("/proc/cpuinfo")
    if facts.is_file() and "avx512f" in facts.read_text(encoding="utf-8"):
        ways += [_AVX512, {**_MKL, **_AVX512}]
    return ways
