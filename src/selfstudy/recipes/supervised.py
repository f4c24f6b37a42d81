"""Supervised fine-tuning alone: the base line, or the upper bound with ``problems.labelled=all``."""

from __future__ import annotations

from selfstudy.pipeline import Plan
from selfstudy.recipes.bench import Bench
from selfstudy.recipes.config import Config


def plan(config: Config, bench: Bench) -> Plan:
    """Record one fine-tuning and score it."""
    bench.sft("sft", bench.base())
    return bench.conclude()
