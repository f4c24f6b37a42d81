"""Artifacts made by hand, so that a stage can be tested without those before it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfstudy.models.compute import Compute
from selfstudy.models.format import FormatSettings
from selfstudy.models.load import save_model
from selfstudy.models.tokenizers import Family, train_tokenizer
from selfstudy.stages.sft import Sft, SftSettings
from selfstudy.storage.artifacts import MANIFEST, Artifact
from selfstudy.storage.atomic import write_json
from selfstudy.storage.records import write_records
from selfstudy.types import SILENT, Completion, Problem, Sample, Verdict
from tests.fakes import BRACKET_CORPUS, CORPUS, tiny_llama, tiny_t5


def problem(number: int, *, solved: bool = True, answer: int = 7) -> Problem:
    solution = f"He has {number} + 1 = <<{number}+1={number + 1}>>{number + 1} apples.\n#### {answer}"
    return Problem(f"p/{number:03d}", f"Tom has {number} apples.", str(answer), solution if solved else None)


def completion(text: str, ids: Sequence[int] | None = None, *, finish: str = "stop") -> Completion:
    """Make a completion whose tokens are its characters, unless they are given."""
    tokens = tuple(ids) if ids is not None else (*map(ord, text), *([1] if finish != "length" else []))
    return Completion(text, tokens, (), finish)  # type: ignore[arg-type]


def sample(problem_id: str, index: int, text: str, *, finish: str = "stop") -> Sample:
    return Sample(problem_id, index, completion(text, finish=finish), -1.0)


def verdict(problem_id: str, index: int, outcome: str, extracted: str | None = None) -> Verdict:
    return Verdict(problem_id, index, outcome, extracted, "by hand")  # type: ignore[arg-type]


def artifact(
    folder: Path, files: Mapping[str, Sequence[object]] | None = None, metrics: Mapping[str, Any] | None = None
) -> Artifact:
    """Write record files (names without ``.jsonl``) and perhaps a manifest with metrics."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, records in (files or {}).items():
        write_records(folder / f"{name}.jsonl", records)
    if metrics is not None:
        write_json(folder / MANIFEST, {"metrics": metrics})
    return Artifact("by-hand", "0" * 16, folder)


def model_folder(folder: Path, family: Family, *, seed: int = 0) -> Artifact:
    tokenizer = train_tokenizer(CORPUS if family == "causal" else BRACKET_CORPUS, family, 320)
    build = tiny_llama if family == "causal" else tiny_t5
    save_model(build(len(tokenizer), seed=seed), tokenizer, folder, {})
    return Artifact("leaf", "0" * 16, folder)


def taught_to_end(model: Path, out: Path) -> None:
    """Write a model that answers "#### 7" or some other number: one of random numbers never ends what it says."""
    problems = [Problem(f"p/{n:03d}", f"Tom has {n} apples.", str(n * 7 % 120), "") for n in range(60)]
    given = {
        "model": (Artifact("leaf", "0" * 16, model),),
        "problems": (artifact(out.with_name(out.name + "-problems"), {"labelled": problems}),),
    }
    settings = SftSettings(learning_rate=2e-2, batch_size=8, max_steps=100)
    out.mkdir()
    compute = Compute(device="cpu", threads=1)
    Sft(settings=settings, format=FormatSettings(), compute=compute, seed=0).run(given, out, SILENT)


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
