"""The plots of a report, section by section."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from selfstudy.report.draws import DrawFacts
from selfstudy.report.facts import Facts
from selfstudy.report.rounds import rounds
from selfstudy.report.svg import Panel, Point, Series, by_round, over_steps
from selfstudy.report.training import Training

Tree = Mapping[str, Any]

_KINDS = {"pretrained": "pretrained", "sft": "fine-tuned", "preference": "after preference learning"}
_PURPOSES = {"pairs": "drawn for pairs", "labels": "drawn for pseudo-labels"}


def score_panels(facts: Facts) -> list[Panel]:
    """Plot accuracy on every split, then pass@k and maj@k, by round."""
    panels = []
    for split in facts.results.splits:
        title = f"Greedy accuracy on {split.removeprefix('transfer-')}"
        panels.append(_of_models(facts, title, split, lambda scores: scores["accuracy"]))
    sampled = [scores for scores in facts.results.scores.values() if "pass_at" in scores]
    for name, shown in (("pass_at", "pass@"), ("maj_at", "maj@")):
        for k in sorted({k for scores in sampled for k in scores[name]}, key=int):
            if (name, k) != ("maj_at", "1"):  # which is pass@1
                panels.append(_of_models(facts, f"{shown}{k} on test", "test", _getter(name, k)))
    return [panel for panel in panels if panel]


def yield_panels(facts: Facts) -> list[Panel]:
    """Plot how many distinct right solutions there are, and how many problems get a pseudo-label."""
    drawn = _of_draws(
        facts,
        "Distinct right solutions a problem, as drawn",
        lambda draw: draw.distinct_right,
        percent=False,
        note="Of the samples of one draw; near-repeats count once.",
    )
    tested = _of_models(
        facts, "Distinct right solutions a problem, on test", "test", lambda s: s.get("distinct_right"), percent=False
    )
    right = _of_draws(facts, "Right samples", lambda draw: draw.right, percent=True)
    covered = [
        Point(label.round, label.metrics["covered"] / label.metrics["problems"])
        for label in facts.labels
        if label.metrics.get("problems")
    ]
    panels = [drawn, tested, right]
    if covered:
        title = "Problems with a pseudo-label"
        panels.append(by_round(title, [Series("of the problems that were sampled", covered)], percent=True))
    return [panel for panel in panels if panel]


def health_panels(facts: Facts) -> list[Panel]:
    """Plot what shows a collapse: how alike samples are, how near to worked solutions, how long, cut and unreadable."""
    panels = [
        _of_draws(
            facts,
            "Likeness of a problem's samples",
            lambda draw: draw.alike,
            percent=True,
            note="Mean Jaccard similarity, on tokens, of two samples of one problem: near 100, they are all the same.",
        ),
        _of_draws(
            facts,
            "Overlap with worked solutions",
            lambda draw: draw.near_gold,
            percent=True,
            note="Mean Jaccard similarity, on tokens, of right samples with the problem's own worked solution.",
        ),
        _of_draws(facts, "Length of samples", lambda draw: draw.tokens, percent=False, unit="tokens"),
        _of_draws(facts, "Samples without a readable answer", lambda draw: draw.unparsed, percent=True),
        _of_draws(facts, "Samples cut at the length limit", lambda draw: draw.truncated, percent=True),
    ]
    for name, title in (
        ("mean_tokens", "Length of greedy solutions on test"),
        ("unparsed", "Greedy solutions on test without a readable answer"),
        ("truncated", "Greedy solutions on test cut at the length limit"),
    ):
        percent = name != "mean_tokens"
        unit = "" if percent else "tokens"
        panels.append(_of_models(facts, title, "test", _plain(name), percent=percent, unit=unit))
    return [panel for panel in panels if panel]


def loss_panels(facts: Facts) -> list[Panel]:
    """Plot the loss of every fine-tuning."""
    return [
        over_steps(f"{training.name}: loss a token", [_line(training, "loss", "loss")], unit="nats")
        for training in facts.trainings
        if training.kind != "preference" and training.log
    ]


def preference_panels(training: Training) -> list[Panel]:
    """Plot one preference learning over its steps: rewards, log-probabilities, and what the guard saw."""
    used = _used(training)
    sides = ("chosen", "rejected")
    panels = (
        ("log-probabilities of solutions", [_line(training, f"logps/{side}", side) for side in sides], "nats"),
        ("rewards of solutions", [_line(training, f"rewards/{side}", side) for side in sides], "reward"),
        ("reward margin", [_line(training, "rewards/margins", "chosen − rejected")], "reward"),
        ("pairs told apart", [_line(training, "rewards/accuracies", "right order")], "share of pairs"),
    )
    drawn = [
        over_steps(f"{training.name}: {title}", lines, unit=unit, used=used)
        for title, lines, unit in panels
        if all(line.points for line in lines)
    ]
    if training.looks:
        seen = Series("problems of dev", [Point(look["step"], look["yield"]) for look in training.looks])
        title = f"{training.name}: distinct right solutions a problem, as the guard saw it"
        drawn.append(over_steps(title, [seen], unit="solutions", used=used))
    return drawn


def _used(training: Training) -> tuple[int, str] | None:
    if training.decision is None:
        return None
    return training.decision["used_step"], "used: as before" if training.decision["fell_back"] else "used"


def _line(training: Training, name: str, label: str) -> Series:
    return Series(label, [Point(row["step"], row[name]) for row in training.log if name in row])


def _getter(name: str, k: str) -> Callable[[Tree], Any]:
    return lambda scores: scores.get(name, {}).get(k)


def _plain(name: str) -> Callable[[Tree], Any]:
    return lambda scores: scores[name]


def _of_models(
    facts: Facts, title: str, split: str, get: Callable[[Tree], Any], *, percent: bool = True, unit: str = ""
) -> Panel | None:
    """Plot a score of all models, a series for each way in which they were trained."""
    results, round_of = facts.results, rounds(facts.results.steps)
    found: dict[str, list[Point]] = {kind: [] for kind in _KINDS}
    for model in results.models:
        step, scores = results.step(model), results.scores.get((model, split))
        value = get(scores) if scores is not None else None
        if step is not None and step.kind in found and value is not None:
            found[step.kind].append(_point(round_of[model], value))
    series = [Series(_KINDS[kind], points) for kind, points in found.items()]
    return _panel(title, series, percent=percent, unit=unit)


def _of_draws(
    facts: Facts, title: str, get: Callable[[DrawFacts], Any], *, percent: bool, unit: str = "", note: str = ""
) -> Panel | None:
    """Plot a figure of all draws, a series for each purpose."""
    found: dict[str, list[Point]] = {purpose: [] for purpose in _PURPOSES}
    for draw in facts.draws:
        value = get(draw)
        if value is not None and draw.draw.purpose in found:
            found[draw.draw.purpose].append(_point(draw.draw.round, value))
    series = [Series(_PURPOSES[purpose], points) for purpose, points in found.items()]
    return _panel(title, series, percent=percent, unit=unit, note=note)


def _panel(title: str, series: Sequence[Series], *, percent: bool, unit: str = "", note: str = "") -> Panel | None:
    if not any(one.points for one in series):
        return None
    return by_round(title, series, percent=percent, unit=unit, note=note)


def _point(x: float, value: Any) -> Point:
    """Make a point of a number, of an interval, or of one as metrics have it."""
    if isinstance(value, int | float):
        return Point(x, value)
    tree = value if isinstance(value, Mapping) else {"value": value.value, "low": value.low, "high": value.high}
    return Point(x, tree["value"], tree["low"], tree["high"])
