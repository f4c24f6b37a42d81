"""Rejection-sampling fine-tuning (Yuan et al. 2023, arXiv 2308.01825): one round of self-training with many samples.

It draws in its one round what the other recipes draw in all of theirs.
"""

from __future__ import annotations

from selfstudy.pipeline import Plan
from selfstudy.recipes.bench import Bench
from selfstudy.recipes.config import Config


def plan(config: Config, bench: Bench) -> Plan:
    """Record the one round, then score both."""
    base = bench.base()
    policy = bench.sft("sft", base)
    n = config.rounds * (config.pairs.n + config.labels.n)
    samples = bench.draw("label-samples", policy, n=n, purpose="labels", round=1)
    labels = bench.pseudo_label("labels", samples)
    bench.sft("rft", base, labels)
    return bench.conclude()
