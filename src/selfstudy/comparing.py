"""Comparing two runs: what ``selfstudy compare`` does. Differences are paired, problem by problem, B's minus A's."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from selfstudy.config import differing
from selfstudy.console import console
from selfstudy.errors import ConfigError, did_you_mean
from selfstudy.evaluation.metrics import Interval, mcnemar, paired_bootstrap
from selfstudy.report.results import Results, find_results
from selfstudy.storage import DEFAULT_ROOT
from selfstudy.storage.splits import read_split

_DISTINCT = "distinct right"
_SEED = 0  # of the bootstrap


@dataclass(frozen=True)
class Contrast:
    """One measure of both models on the same problems."""

    a: Interval
    b: Interval
    difference: Interval


@dataclass(frozen=True)
class SplitContrast:
    """Both models on one split.

    Attributes:
        problems: How many.
        measures: By name: ``accuracy`` (greedy), and what samples show where both models were sampled.
        only_a: Problems that A alone answers right.
        only_b: Problems that B alone answers right.
        p_value: Of McNemar's exact test of the greedy answers.
    """

    problems: int
    measures: dict[str, Contrast]
    only_a: int
    only_b: int
    p_value: float


@dataclass(frozen=True)
class Cost:
    """What a whole run took."""

    seconds: float
    flops: int


@dataclass(frozen=True)
class Comparison:
    """Two models of two runs, or of one.

    Attributes:
        a: The one, as ``RUN:MODEL``.
        b: The other.
        splits: Those that both were scored on, by name.
        left_out: Those that cannot be compared, with the reason.
        cost_a: Of the run of A.
        cost_b: Of the run of B.
        settings: The settings that differ, such as ``preference.loss.beta``, with both values.
        warnings: Why this may not be the comparison that was meant.
    """

    a: str
    b: str
    splits: dict[str, SplitContrast]
    left_out: dict[str, str]
    cost_a: Cost
    cost_b: Cost
    settings: dict[str, tuple[Any, Any]]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Side:
    run: str
    model: str
    results: Results

    @property
    def name(self) -> str:
        return f"{self.run}:{self.model}"

    @property
    def cost(self) -> Cost:
        return Cost(*self.results.cost)

    def asked(self, split: str) -> dict[str, tuple[str, str]]:
        """Read question and answer of each problem of a split: other ones may have the same ids."""
        step = self.results.step("problems")
        if step is None or step.artifact is None:
            raise ConfigError(f"the problems of run {self.run} are gone; carry it out again")
        return {problem.id: (problem.question, problem.answer) for problem in read_split(step.artifact, split)}


def compare(a: str, b: str, root: Path | str = DEFAULT_ROOT, split: str | None = None) -> Comparison:
    """Compare two models on every split that both were scored on, or on one.

    Args:
        a: ``RUN``, for the model it returned (or the last one scored so far), or ``RUN:MODEL``.
        b: The other.
        root: Where artifacts and runs lie.
        split: One split alone.

    Raises:
        ConfigError: There is no such run or model, nothing is scored, or no split can be compared; says why.
    """
    one, two = _side(a, root), _side(b, root)
    splits: dict[str, SplitContrast] = {}
    left_out: dict[str, str] = {}
    for name in _shared_splits(one, two, split):
        first, second = one.asked(name), two.asked(name)
        if first == second:
            splits[name] = _contrast(one, two, name)
        else:
            shared = len(first.items() & second.items())
            left_out[name] = (
                f"other problems: {len(first):,} of {one.run}, {len(second):,} of {two.run}, {shared:,} of them shared"
            )
    if not splits:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ConfigError(f"{one.name} and {two.name} cannot be compared: {reasons}")
    settings = differing(one.results.settings, two.results.settings)
    meant = zip((a, b), (one, two), strict=True)
    warnings = [
        f"run {side.run} has not returned a model yet: {side.model}, the last one that it scored, stands for it"
        for name, side in meant
        if ":" not in name and side.results.chosen is None
    ]
    if one.name == two.name:
        warnings.append(f"both are {one.name}; name the models: RUN:MODEL")
    return Comparison(one.name, two.name, splits, left_out, one.cost, two.cost, settings, tuple(warnings))


def _side(name: str, root: Path | str) -> _Side:
    run, _, model = name.partition(":")
    results = find_results(run, root)
    scored = [known for known in results.models if any(known == of for of, _ in results.scores)]
    if not scored:
        raise ConfigError(f"run {run} has not scored a model yet; carry it out, and compare it then")
    if model in ("", "best") and results.chosen is not None:
        model = results.chosen
    elif model == "best":
        raise ConfigError(f"run {run} has not made 'best' yet; carry it out, or name another: RUN:MODEL")
    model = model or scored[-1]
    if model not in results.models:
        raise ConfigError(f"run {run} has no model '{model}'{did_you_mean(model, results.models)}")
    if model not in scored:
        raise ConfigError(f"run {run} has not scored '{model}' yet; scored are: {', '.join(scored)}")
    return _Side(run, model, results)


def _shared_splits(one: _Side, two: _Side, wanted: str | None) -> list[str]:
    of = [[s for s in side.results.splits if (side.model, s) in side.results.scores] for side in (one, two)]
    shared = [split for split in of[0] if split in of[1]]
    if wanted is not None and wanted not in shared:
        raise ConfigError(f"{one.name} and {two.name} are not both scored on '{wanted}'{did_you_mean(wanted, shared)}")
    if not shared:
        raise ConfigError(
            f"{one.name} is scored on {', '.join(of[0])} and {two.name} on {', '.join(of[1])}: not one split is "
            "shared; carry both runs out to their end, or name models that are scored on the same split: RUN:MODEL"
        )
    return [wanted] if wanted is not None else shared


def _contrast(one: _Side, two: _Side, split: str) -> SplitContrast:
    rows = [side.results.rows(side.model, split) for side in (one, two)]
    right = [{key: row["outcome"] == "right" for key, row in side.items()} for side in rows]
    values: dict[str, list[dict[str, float]]] = {
        "accuracy": [{key: float(found) for key, found in side.items()} for side in right]
    }
    first, second = (next(iter(side.values())) for side in rows)
    for k in sorted(first.get("pass_at", {}).keys() & second.get("pass_at", {}).keys(), key=int):
        values[f"pass@{k}"] = [{key: row["pass_at"][k] for key, row in side.items()} for side in rows]
    # More samples show more distinct solutions, whatever the model.
    if "samples" in first and first["samples"] == second.get("samples"):
        values[_DISTINCT] = [{key: row["distinct_right"] for key, row in side.items()} for side in rows]
    of_a, of_b = (side.results.scores[side.model, split] for side in (one, two))
    measures = {
        name: Contrast(_interval(of_a, name), _interval(of_b, name), paired_bootstrap(b, a, _SEED))
        for name, (a, b) in values.items()
    }
    return SplitContrast(len(right[0]), measures, *mcnemar(*right))


def _interval(scores: Mapping[str, Any], measure: str) -> Interval:
    """Return what the evaluation itself found."""
    name, _, k = measure.partition("@")
    found = scores["pass_at"][k] if k else scores[name.replace(" ", "_")]
    return Interval(**found)


def show_comparison(a: str, b: str, root: Path, *, split: str | None = None, as_json: bool = False) -> None:
    """Compare two models and print the comparison: tables on a terminal, else lines."""
    found = compare(a, b, root, split)
    if as_json:
        print(json.dumps(dataclasses.asdict(found), indent=1))
        return
    console.print(f"A is {escape(found.a)}\nB is {escape(found.b)}", soft_wrap=True)
    for warning in found.warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    for name, contrast in found.splits.items():
        if console.is_terminal:
            console.print(_table(name, contrast))
        else:
            for measure, of_a, of_b, difference in _shown(contrast):
                line = f"{name}: {measure}: A {of_a}, B {of_b}, B − A {difference}"
                console.print(line, soft_wrap=True, markup=False)
        console.print(
            f"{name}: right by B alone {contrast.only_b:,}, by A alone {contrast.only_a:,}; "
            f"McNemar's exact p = {contrast.p_value:.2g}",
            soft_wrap=True,
        )
    for line in _remarks(found):
        console.print(escape(line), soft_wrap=True)


def _table(split: str, contrast: SplitContrast) -> Table:
    title = f"{split}, {contrast.problems:,} problems [95% intervals]"
    table = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for heading in ("A", "B", "B − A, paired"):
        table.add_column(heading, justify="right", overflow="fold")
    for row in _shown(contrast):
        table.add_row(*map(escape, row))
    return table


def _shown(contrast: SplitContrast) -> Iterator[tuple[str, str, str, str]]:
    for name, measure in contrast.measures.items():
        scale, sign = (1, ".2f") if name == _DISTINCT else (100, ".1f")
        heading = "greedy accuracy, %" if name == "accuracy" else name if name == _DISTINCT else f"{name}, %"
        a, b = (_written(interval, scale, sign) for interval in (measure.a, measure.b))
        yield heading, a, b, _written(measure.difference, scale, f"+{sign}")


def _written(interval: Interval, scale: int, form: str) -> str:
    value, low, high = (format(scale * number, form) for number in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"


def _remarks(found: Comparison) -> Sequence[str]:
    costs = ", ".join(f"{name} {_spent(cost)}" for name, cost in (("A", found.cost_a), ("B", found.cost_b)))
    lines = []
    if any(path.startswith("verifier.") for path in found.settings):
        lines.append("the verifiers differ: what is right for A may be wrong for B, and the scores are not of one kind")
    lines += [f"{split} is not compared: {reason}" for split, reason in found.left_out.items()]
    lines.append(f"cost of the whole run: {costs}")
    lines.append("settings that differ, A → B:" if found.settings else "no setting differs")
    return lines + [f"  {path}: {_word(a)} → {_word(b)}" for path, (a, b) in found.settings.items()]


def _spent(cost: Cost) -> str:
    seconds = f"{cost.seconds:,.0f} seconds"
    return f"{seconds} and {cost.flops:.2g} floating-point operations by estimate" if cost.flops else seconds


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
