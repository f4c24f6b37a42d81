"""Numbers and decisions in words, as the page writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfstudy.evaluation.metrics import Interval
from selfstudy.report.headline import Change
from selfstudy.report.training import Training

FAULTS = {
    "equation": "false equation",
    "contradiction": "text against calculation",
    "unknown": "number out of nowhere",
    "unused": "given number unused",
}
_HIGH = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def percent(value: float) -> str:
    """Write a share: ``76.8 %``."""
    return f"{100 * value:.1f} %"


def between(interval: Interval | Mapping[str, Any], scale: float = 100, places: int = 1) -> str:
    """Write the ends of an interval: ``[72.4, 80.6]``."""
    low, high = (interval.low, interval.high) if isinstance(interval, Interval) else (interval["low"], interval["high"])
    return f"[{scale * low:.{places}f}, {scale * high:.{places}f}]"


def duration(seconds: float) -> str:
    """Write a time in its two largest units: ``6 min 52 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02d} min"


def power(value: float) -> str:
    """Write a large number by its power of ten: ``1.2 × 10¹⁴``."""
    if not value:
        return "0"
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits}\u00a0×\u00a010{str(int(exponent)).translate(_HIGH)}"  # never apart at the end of a line


def points(interval: Interval) -> str:
    """Write a difference of shares with its interval: ``+30.0 points [25.2, 34.8]``."""
    return f"{100 * interval.value:+.1f} points {between(interval)}"


def split_name(split: str) -> str:
    """Write the name of a split."""
    named = {"unlabelled": "training", "labelled": "solved"}
    return named.get(split, split.removeprefix("transfer-"))


def verdict(change: Change) -> str:
    """Say in a sentence what a run changed, as far as the problems can tell."""
    n, name = f"{change.before.n:,}", split_name(change.split)
    start = f"{percent(change.before.value)} {between(change.before)}"
    if change.after is None or change.difference is None:
        said = f"On {n} {name} problems, one greedy try each, {change.first} solves {start}"
        if change.others:
            return f"{said}. It is the model returned: none that came after it was better on dev."
        return f"{said}; no other model is scored."
    end = f"{percent(change.after.value)} {between(change.after)}"
    told = (
        "a gain beyond chance at the 95% level"
        if change.difference.low > 0
        else "a loss beyond chance at the 95% level"
        if change.difference.high < 0
        else "which may be chance"
    )
    return (
        f"On {n} {name} problems, one greedy try each, {change.first} solves {start} and {change.last} {end}: "
        f"{points(change.difference)} on the same problems, {told}. {change.last} solves {change.gained:,} that "
        f"{change.first} does not, and fails at {change.lost:,} that {change.first} solves (McNemar's p = "
        f"{change.p_value:.2g})."
    )


def guarded(training: Training) -> str:
    """Say what the guard decided of one preference learning."""
    if not training.finished:
        return f"has taken {len(training.log):,} steps so far; the guard has looked {len(training.looks)} times"
    if training.decision is None:
        return "no guard watched; the weights of the last step are used"
    return str(training.decision["reason"])
