"""Real questions with solutions, the worked one and what a small model drew, and the pairs of the paper's rule."""

from __future__ import annotations

import json
from pathlib import Path

from contenders.models import gsm8k, load, trained

from selfstudy.generation.engine import SamplingSettings
from selfstudy.generation.solver import make_solver
from selfstudy.judging.verdicts import judge
from selfstudy.judging.verifiers import default_verifier, load_verifier
from selfstudy.learning.groups import Item
from selfstudy.learning.objectives import group_examples, group_pairs
from selfstudy.models.format import Format
from selfstudy.models.prompts import encode_completion
from selfstudy.models.tokenizers import Family
from selfstudy.selection.candidates import Candidates
from selfstudy.selection.pairers import default_pairer, load_pairer
from selfstudy.types import Completion, Example, Finish, Group, Problem, Sample

Drawn = tuple[Problem, list[tuple[str, Finish]]]  # a problem with the texts of its samples, and how each ended
SAMPLES = 5
SOLUTIONS = 4  # of a problem for fine-tuning, the worked one among them


def drawn(family: Family, cache: Path, count: int) -> list[Drawn]:
    """Return problems with samples, drawn the first time; a model that was trained anew draws anew."""
    problems, folder = gsm8k("train", count), trained(family, cache)
    file = cache / "learning" / f"{family}-{count}-{folder.name}.json"
    if not file.is_file():
        model, form = load(folder)
        solver = make_solver(model, form, SamplingSettings(max_new_tokens=200), seed=0, purpose="benchmark")
        samples = [sample.completion for sample in solver.draw(solver.requests(problems, range(SAMPLES)))]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps([(one.text, one.finish) for one in samples]), encoding="utf-8")
    texts = [(text, finish) for text, finish in json.loads(file.read_text(encoding="utf-8"))]
    return [(problem, texts[n * SAMPLES : (n + 1) * SAMPLES]) for n, problem in enumerate(problems)]


def solutions(found: list[Drawn], form: Format) -> tuple[tuple[Group, ...], tuple[Item, ...]]:
    """Return examples of fine-tuning: ``SOLUTIONS`` of each problem."""
    examples = [
        Example(problem.id, completion, "pseudo")
        for problem, texts in found
        for completion in [form.gold(problem), *(_encoded(form, problem, *text) for text in texts)][:SOLUTIONS]
    ]
    return group_examples(examples, _prompts(found, form))


def pairs(found: list[Drawn], form: Format) -> tuple[tuple[Group, ...], tuple[Item, ...]]:
    """Return the pairs of the paper's rule: the worked solution and right samples against wrong ones."""
    verifier, pairer = load_verifier(default_verifier()), load_pairer(default_pairer())
    made = []
    for problem, texts in found:
        right, wrong = [], []
        for index, text in enumerate(texts):
            completion = _encoded(form, problem, *text)
            verdict = judge(verifier, problem, Sample(problem.id, index, completion, 0.0))
            (right if verdict.outcome == "right" else wrong).append(completion)
        made += pairer.pair(Candidates(problem.id, form.gold(problem), tuple(right), tuple(wrong)), seed=0)
    return group_pairs(made, _prompts(found, form))


def _encoded(form: Format, problem: Problem, text: str, finish: Finish) -> Completion:
    """Return a text as any tokenizer writes it, so that models of other tokenizers learn from the same texts."""
    after = form.texts(problem)[0] if form.family == "causal" else ""
    token_ids = encode_completion(text, form.tokenizer, after)
    return Completion(text, token_ids if finish == "stop" else token_ids[:-1], finish=finish)  # EOS where it ended


def _prompts(found: list[Drawn], form: Format) -> dict[str, tuple[int, ...]]:
    return {problem.id: form.prompt_ids(problem) for problem, _ in found}
