"""Self-training of the packaged base models on real problems: ASDiv's arithmetic subset by folds, and GSM8K.

    SELFSTUDY_DATA=… python benchmarks/real_problems.py --root selfstudy-runs > real.md

Every problem of ASDiv-A is tested once, by the run that held its fold out; differences are paired over all of them. The
number of SFT steps is decided on the first fold's dev problems, for SFT alone, and is the same for every fine-tuning.
What was found of a run that is done is kept in ``benchmarks/kept`` (see ``kept.py``).
"""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contenders.machine import processor
from contenders.measure import markdown
from kept import kept
from study import BASES, outcomes

from selfstudy.evaluation.metrics import Interval, paired_bootstrap, proportion
from selfstudy.report.results import Results

ASDIV, GSM8K = Path(__file__).with_name("asdiv.yaml"), "gsm8k_tiny"
FOLDS = range(5)
STEPS = (50, 100, 200, 400)
METHODS = {"SFT": "supervised", "ST": "self_training", "DPO-ST": "dpo_st"}
SVAMP = "transfer-svamp"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="selfstudy-runs", type=Path)
    parser.add_argument("--families", nargs="+", default=list(BASES), choices=BASES)
    options = parser.parse_args()
    print(f"{datetime.date.today()}, {processor()}, one thread a run.\n")
    for family in options.families:
        _asdiv(BASES[family], options.root)
        _gsm8k(BASES[family], options.root)


def _asdiv(model: str, root: Path) -> None:
    common = [f"model={model}", f"root={root}"]

    def run(method: str, fold: int, steps: int) -> Mapping[str, Any]:
        folds = [f"problems.{which}.fold={fold}" for which in ("train", "test")]
        overrides = [*common, *folds, f"recipe={METHODS[method]}", f"sft.max_steps={steps}"]
        return kept(str(ASDIV), overrides, _found, name=f"{model}-asdiv-{steps}-{method}-{fold}")

    on_dev = {steps: run("SFT", 0, steps)["dev of SFT"] for steps in STEPS}
    steps = max(on_dev, key=lambda steps: on_dev[steps])
    chosen = ", ".join(f"{count}: {100 * score:.1f}" for count, score in on_dev.items())
    print(f"### {model}, ASDiv-A, five folds\n\nSFT steps by accuracy on dev: {chosen}.\n")
    scores: dict[str, dict[str, float]] = {}
    rows = []
    for method in METHODS:
        runs = [run(method, fold, steps) for fold in FOLDS]
        folds = [found["test"] for found in runs]
        scores[method] = {problem: value for fold in folds for problem, value in fold.items()}
        each = ", ".join(f"{100 * sum(fold.values()) / len(fold):.1f}" for fold in folds)
        beyond = sum(found["svamp"] for found in runs) / len(runs)
        cells = [each, _percent(proportion(list(scores[method].values()))), *_gains(method, scores)]
        rows.append([method, *cells, f"{100 * beyond:.1f}"])
    heads = ["", "folds", "all", "− SFT", "− ST", "SVAMP, mean of the five"]
    print(f"{markdown(heads, rows)}\n", flush=True)


def _found(results: Results) -> Mapping[str, Any]:
    """Return what counts of a run: its last model's answers, and how good the first was on dev."""
    last = results.models[-1]
    return {
        "dev of SFT": results.scores["sft", "dev"]["accuracy"]["value"],
        "test": outcomes(results, last),
        "svamp": results.scores[last, SVAMP]["accuracy"]["value"],
    }


def _gains(method: str, scores: Mapping[str, Mapping[str, float]]) -> list[str]:
    before = list(METHODS)[: list(METHODS).index(method)][:2]
    gains = [_percent(paired_bootstrap(scores[method], scores[other], seed=0), "+") for other in before]
    return [*gains, *[""] * (2 - len(gains))]


def _gsm8k(model: str, root: Path) -> None:
    overrides = [f"model={model}", f"root={root}", "compute.threads=1"]
    found = kept(GSM8K, overrides, _accuracies, name=f"{model}-gsm8k")
    splits = list(next(iter(found.values())))
    rows = [[name, *(_percent(Interval(**scores[split])) for split in splits)] for name, scores in found.items()]
    print(f"### {model}, GSM8K\n\n{markdown(['', *splits], rows)}\n", flush=True)


def _accuracies(results: Results) -> Mapping[str, Any]:
    splits = [split for split in results.splits if split != "dev"]
    return {name: {split: results.scores[name, split]["accuracy"] for split in splits} for name in results.models}


def _percent(found: Interval, sign: str = "") -> str:
    value, low, high = (100 * number for number in (found.value, found.low, found.high))
    return f"{value:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


if __name__ == "__main__":
    main()
