"""Self-training of the packaged base models on real problems: ASDiv's arithmetic subset by folds, and GSM8K.

    SELFSTUDY_DATA=… python benchmarks/real_problems.py --root selfstudy-runs > real.md

Every problem of ASDiv-A is tested once, by the run that held its fold out. Differences are paired over all of them,
which counts the chance in problems; beside it stands the t interval over the folds, which counts that of training, too.
The number of SFT steps is decided on each fold's own dev problems, for SFT alone, and is the same for every fine-tuning
of that fold.
What was found of a run that is done is kept in ``benchmarks/kept`` (see ``kept.py``).
"""

from __future__ import annotations

import argparse
import datetime
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
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
T_OF_FIVE = 2.776  # 97.5% of Student's t with 4 degrees of freedom


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

    def settings(method: str, fold: int, steps: int) -> list[str]:
        folds = [f"problems.{which}.fold={fold}" for which in ("train", "test")]
        return [*common, *folds, f"recipe={METHODS[method]}", f"sft.max_steps={steps}"]

    def on_dev(fold: int, steps: int) -> float:
        name, step = f"{model}-asdiv-{steps}-steps-{fold}", "evaluate/sft/dev"
        return float(kept(str(ASDIV), settings("SFT", fold, steps), _on_dev, name=name, until=step)["accuracy"])

    def run(method: str, fold: int) -> Mapping[str, Any]:
        return kept(str(ASDIV), settings(method, fold, chosen[fold]), _found, name=f"{model}-asdiv-{method}-{fold}")

    tried = [{steps: on_dev(fold, steps) for steps in STEPS} for fold in FOLDS]
    chosen = [max(found, key=found.__getitem__) for found in tried]
    print(f"### {model}, ASDiv-A, five folds\n\nSFT steps by accuracy on dev:\n")
    lines = [
        [f"{fold}", *(f"{100 * score:.1f}" for score in found.values()), f"{chosen[fold]}"]
        for fold, found in enumerate(tried)
    ]
    print(markdown(["fold", *map(str, STEPS), "chosen"], lines) + "\n")
    scores: dict[str, dict[str, float]] = {}
    means: dict[str, list[float]] = {}
    rows = []
    for method in METHODS:
        runs = [run(method, fold) for fold in FOLDS]
        folds = [found["test"] for found in runs]
        scores[method] = {problem: value for fold in folds for problem, value in fold.items()}
        means[method] = [fmean(fold.values()) for fold in folds]
        each = ", ".join(f"{100 * mean:.1f}" for mean in means[method])
        beyond = sum(found["svamp"] for found in runs) / len(runs)
        cells = [each, _percent(proportion(list(scores[method].values()))), *_gains(method, scores, means)]
        rows.append([method, *cells, f"{100 * beyond:.1f}"])
    heads = ["", "folds", "all", "− SFT", "− ST", "SVAMP, mean of the five"]
    print(f"{markdown(heads, rows)}\n", flush=True)


def _found(results: Results) -> Mapping[str, Any]:
    """Return what counts of a run: its last model's answers."""
    last = results.models[-1]
    return {
        "test": outcomes(results, last),
        "svamp": results.scores[last, SVAMP]["accuracy"]["value"],
    }


def _on_dev(results: Results) -> Mapping[str, float]:
    return {"accuracy": results.scores["sft", "dev"]["accuracy"]["value"]}


def _gains(method: str, scores: Mapping[str, Mapping[str, float]], means: Mapping[str, Sequence[float]]) -> list[str]:
    """Return what the method gains over those before it: paired over problems, and its t interval over folds."""
    before = list(METHODS)[: list(METHODS).index(method)][:2]
    gains = []
    for other in before:
        paired = paired_bootstrap(scores[method], scores[other], seed=0)
        by_fold = [after - start for after, start in zip(means[method], means[other], strict=True)]
        half = T_OF_FIVE * stdev(by_fold) / math.sqrt(len(by_fold))
        low, high = (100 * (fmean(by_fold) + side * half) for side in (-1, 1))
        gains.append(f"{_percent(paired, '+')}; folds [{low:+.1f}, {high:+.1f}]")
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
