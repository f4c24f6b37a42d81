"""Classic self-training: the loop of :mod:`selfstudy.recipes.dpo_st` without pairs and preference learning.

At equal budgets it may draw as many samples a problem for pseudo-labels as DPO-ST draws for pairs and labels together.
"""

from __future__ import annotations

from selfstudy.pipeline import Plan
from selfstudy.recipes.bench import Bench, Pool
from selfstudy.recipes.config import Config


def plan(config: Config, bench: Bench) -> Plan:
    """Record the steps of every round, then score all models."""
    base = bench.base()
    policy = bench.sft("sft", base)
    for_labels = Pool()

    for round in range(1, config.rounds + 1):
        n = config.pairs.n + config.labels.n
        for_labels += bench.draw(f"label-samples-{round}", policy, n=n, purpose="labels", round=round)
        labels = bench.pseudo_label(f"labels-{round}", for_labels)
        policy = bench.sft(f"st-{round}", base if config.restart else policy, labels)

    return bench.conclude()
