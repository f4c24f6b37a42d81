"""Pretraining: a base model from a mixture of solved problems, scored on a run's problems before it ever saw them."""

from __future__ import annotations

from selfstudy.pipeline import Plan
from selfstudy.recipes.bench import Bench
from selfstudy.recipes.config import Config


def plan(config: Config, bench: Bench) -> Plan:
    """Record one training and score it."""
    bench.pretrain("pretrained")
    return bench.conclude()
