"""DPO-augmented self-training (Wang, Li and Lu, ACL 2024, arXiv 2407.18248, algorithm 1).

f′ ← SFT of the base model f on L
repeat:  draw solutions of U from f′; pair right with wrong ones → D
         f_d ← DPO of f′ on D, with f′ as the reference
         draw solutions of U from f_d; keep the right, distinct ones → S
         f′ ← SFT of the base model f on L ∪ S
"""

from __future__ import annotations

from selfstudy.pipeline import Plan
from selfstudy.recipes.bench import Bench, Pool
from selfstudy.recipes.config import Config


def plan(config: Config, bench: Bench) -> Plan:
    """Record the steps of every round, then score all models."""
    base = bench.base()
    policy = bench.sft("sft", base)
    for_pairs = for_labels = Pool()

    for round in range(1, config.rounds + 1):
        for_pairs += bench.draw(f"pair-samples-{round}", policy, n=config.pairs.n, purpose="pairs", round=round)
        pairs = bench.pair(f"pairs-{round}", for_pairs)
        preferred = bench.preference(f"dpo-{round}", policy, pairs, round=round)

        for_labels += bench.draw(f"label-samples-{round}", preferred, n=config.labels.n, purpose="labels", round=round)
        labels = bench.pseudo_label(f"labels-{round}", for_labels)
        policy = bench.sft(f"dpo-st-{round}", base if config.restart else policy, labels)

    return bench.conclude()
