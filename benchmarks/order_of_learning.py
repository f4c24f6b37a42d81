"""Compare learning whole problems at a time with learning items in random order, over seeds and both families.

    python benchmarks/order_of_learning.py --root selfstudy-runs --seeds 0 1 2

Runs take one thread each, so that two of these (with other --models) go side by side on two cores. A run that was
interrupted continues; one that is done is only read.
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from statistics import fmean, stdev

from contenders.machine import processor
from contenders.measure import markdown, report
from quickstart_seeds import outcomes

from selfstudy.report.results import Results
from selfstudy.running import carry_out

ORDERS = ("shuffled", "grouped")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="selfstudy-runs", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", default=["llama-tiny", "t5-tiny"])
    options = parser.parse_args()
    rows = []
    for model in options.models:
        found = {order: [_run(model, seed, order, options.root) for seed in options.seeds] for order in ORDERS}
        for name in found[ORDERS[0]][0].models:
            scores = {order: [100 * _accuracy(results, name) for results in runs] for order, runs in found.items()}
            gains = [grouped - shuffled for shuffled, grouped in zip(*scores.values(), strict=True)]
            cells = [", ".join(f"{score:.1f}" for score in scores[order]) for order in ORDERS]
            spread = stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
            rows.append([f"{model}, {name}", *cells, f"{fmean(gains):+.1f} ± {spread:.1f}"])
            report(" | ".join(rows[-1]))
    seeds = ", ".join(map(str, options.seeds))
    print(f"{datetime.date.today()}, {processor()}. Greedy accuracy on the quickstart's test, seeds {seeds}.\n")
    print(markdown(["", *ORDERS, "grouped − shuffled, mean ± standard error"], rows))


def _run(model: str, seed: int, order: str, root: Path) -> Results:
    orders = [f"{stage}.order={order}" for stage in ("sft", "preference")]
    overrides = [f"model={model}", f"seed={seed}", f"root={root}", "compute.threads=1", *orders]
    return carry_out("quickstart", overrides, name=f"{model}-{seed}-{order}", quiet=True)


def _accuracy(results: Results, name: str) -> float:
    return fmean(outcomes(results.step(f"evaluate/{name}/test")).values())


if __name__ == "__main__":
    main()
