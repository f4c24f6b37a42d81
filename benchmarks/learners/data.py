"""Real questions with solutions, the worked one and what a small model drew, and the pairs of the paper's rule."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from contenders.models import gsm8k, load, trained

from selfstudy.generation.engine import SamplingSettings
from selfstudy.generation.solver import make_solver
from selfstudy.judging.verifiers import default_verifier, load_verifier
from selfstudy.learning.groups import Item
from selfstudy.learning.objectives import group_examples, group_pairs
from selfstudy.models.format import Format
from selfstudy.models.tokenizers import Family
from selfstudy.selection.candidates import Candidates
from selfstudy.selection.pairers import default_pairer, load_pairer
from selfstudy.types import Completion, Example, Group, Problem

SAMPLES = 5
SOLUTIONS = 4  # of a problem for fine-tuning, the worked one among them


def drawn(family: Family, cache: Path, count: int) -> list[tuple[Problem, list[str]]]:
    """Return problems with the texts of samples, drawn the first time."""
    problems = gsm8k("train", count)
    file = cache / "learning" / f"{family}-{count}.json"
    if not file.is_file():
        model, form = load(trained(family, cache))
        solver = make_solver(model, form, SamplingSettings(max_new_tokens=200), seed=0, purpose="benchmark")
        samples = solver.draw(solver.requests(problems, range(SAMPLES)))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps([sample.completion.text for sample in samples]), encoding="utf-8")
    texts = json.loads(file.read_text(encoding="utf-8"))
    return [(problem, texts[n * SAMPLES : (n + 1) * SAMPLES]) for n, problem in enumerate(problems)]


def solutions(found: list[tuple[Problem, list[str]]], form: Format) -> tuple[tuple[Group, ...], tuple[Item, ...]]:
    """Return examples of fine-tuning: ``SOLUTIONS`` of each problem."""
    examples = [
        Example(problem.id, completion, "pseudo")
        for problem, texts in found
        for completion in [form.gold(problem), *(_encoded(form, problem, text) for text in texts)][:SOLUTIONS]
    ]
    return group_examples(examples, _prompts(found, form))


def pairs(found: list[tuple[Problem, list[str]]], form: Format) -> tuple[tuple[Group, ...], tuple[Item, ...]]:
    """Return the pairs of the paper's rule: the worked solution and right samples against wrong ones."""
    verifier, pairer = load_verifier(default_verifier()), load_pairer(default_pairer())
    made = []
    for problem, texts in found:
        judged = [(_encoded(form, problem, text), verifier.verify(problem, text).outcome) for text in texts]
        right = tuple(completion for completion, outcome in judged if outcome == "right")
        wrong = tuple(completion for completion, outcome in judged if outcome != "right")
        made += pairer.pair(Candidates(problem.id, form.gold(problem), right, wrong), seed=0)
    return group_pairs(made, _prompts(found, form))


def _encoded(form: Format, problem: Problem, text: str) -> Completion:
    """Return a text as any tokenizer writes it; models of other tokenizers learn from the same texts."""
    return replace(form.gold(replace(problem, solution=text)), finish="stop")


def _prompts(found: list[tuple[Problem, list[str]]], form: Format) -> dict[str, tuple[int, ...]]:
    return {problem.id: form.prompt_ids(problem) for problem, _ in found}
