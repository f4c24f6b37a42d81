"""Measure the audit of worked solutions: errors planted in GSM8K's solutions, and the same solutions as they are.

    SELFSTUDY_DATA=… python benchmarks/audit.py

Recall is the share of planted errors that are found as what they are. Precision is the share of planted ones among all
solutions found to have such a fault, with as many clean solutions as planted ones beside them.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Callable, Sequence

from contenders.measure import markdown

from selfstudy.evaluation.metrics import wilson
from selfstudy.judging.audit import Kind, audit
from selfstudy.judging.expressions import calculate
from selfstudy.judging.notation import Annotation, find_annotations
from selfstudy.plugins import parse_spec
from selfstudy.problems.sources import FAMILY, load_source, read_problems
from selfstudy.types import Problem

_NUMBER = re.compile(r"(?<![\d.,])\d+(?![\d.,])")


def main(arguments: Sequence[str] | None = None) -> None:
    """Plant, look and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", default="train")
    parser.add_argument("--limit", type=int, default=None, help="problems")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    settings = {"name": "gsm8k", "split": options.split, "limit": options.limit}
    problems, _ = read_problems(load_source(parse_spec(FAMILY, settings)), on_bad_rows="skip")
    rows = []
    for kind, plant in PLANTS.items():
        draw = random.Random(options.seed)
        planted = [(problem, spoilt) for problem in problems if (spoilt := plant(problem, draw)) is not None]
        found = sum(_has(kind, problem.question, spoilt) for problem, spoilt in planted)
        clean = sum(_has(kind, problem.question, problem.solution or "") for problem, _ in planted)
        rows.append([kind, f"{len(planted):,}", _share(found, len(planted)), _share(found, found + clean)])
    print(markdown(["fault", "planted", "recall, %", "precision, %"], rows))


def _has(kind: Kind, question: str, solution: str) -> bool:
    return any(fault.kind == kind for fault in audit(question, solution))


def _share(part: int, whole: int) -> str:
    low, high = wilson(part / whole, whole)
    return f"{100 * part / whole:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def wrong_result(problem: Problem, text: str, one: Annotation, after: int, draw: random.Random) -> str:
    """Write another result into an annotation, and behind it."""
    other = f"{int(one.result) + draw.choice([-1, 1]) * draw.randint(1, max(2, int(one.result) // 2))}"
    return f"{text[: one.start]}<<{one.expression}={other}>>{other}{text[after:]}"


def other_text(problem: Problem, text: str, one: Annotation, after: int, draw: random.Random) -> str:
    """Write another number behind an annotation."""
    return f"{text[: one.stop]}{int(one.result) + draw.randint(1, 9)}{text[after:]}"


def invented_number(problem: Problem, text: str, one: Annotation, after: int, draw: random.Random) -> str | None:
    """Compute with a number that the question does not have."""
    operand = draw.choice(list(_NUMBER.finditer(one.expression)) or [None])
    other = draw.randint(3, 200)
    if operand is None or str(other) in _NUMBER.findall(f"{problem.question} {text}"):
        return None
    expression = f"{one.expression[: operand.start()]}{other}{one.expression[operand.end() :]}"
    result = calculate(expression)
    return None if result is None else f"{text[: one.start]}<<{expression}={result}>>{result}{text[after:]}"


def left_out(problem: Problem, draw: random.Random) -> str | None:
    """Leave out a step that alone mentions a number of the question's; small ones may stand in words elsewhere."""
    lines = (problem.solution or "").split("\n")
    for number in draw.sample(range(len(lines) - 1), len(lines) - 1):
        rest = "\n".join(lines[:number] + lines[number + 1 :])
        amounts = {found for found in _NUMBER.findall(problem.question) if int(found) > 12}
        if amounts.intersection(_NUMBER.findall(lines[number])) - set(_NUMBER.findall(rest)):
            return rest
    return None


Plant = Callable[[Problem, random.Random], str | None]


def _at_an_annotation(change: Callable[[Problem, str, Annotation, int, random.Random], str | None]) -> Plant:
    def plant(problem: Problem, draw: random.Random) -> str | None:
        chosen = _computing(problem, draw)
        return None if chosen is None else change(problem, *chosen, draw)

    return plant


PLANTS: dict[Kind, Plant] = {
    "equation": _at_an_annotation(wrong_result),
    "contradiction": _at_an_annotation(other_text),
    "unknown": _at_an_annotation(invented_number),
    "unused": left_out,
}


def _computing(problem: Problem, draw: random.Random) -> tuple[str, Annotation, int] | None:
    """Choose an annotation that computes a whole number which is repeated behind it."""
    text = problem.solution or ""
    found = [
        one
        for one in find_annotations(text)
        if one.result.isdecimal()
        and text[one.stop :].startswith(one.result)
        and not text[one.stop + len(one.result) :].startswith((".", ","))
        and len(_NUMBER.findall(one.expression)) > 1
    ]
    one = draw.choice(found or [None])
    return None if one is None else (text, one, one.stop + len(one.result))


if __name__ == "__main__":
    main()
