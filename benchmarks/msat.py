"""What MsAT is worth in pretraining: its statistics, and how many solved problems a model needs with and without it.

    python benchmarks/msat.py --root selfstudy-runs > msat.md

Two base models are pretrained on equally many tokens, one on the packaged config's mixture and one on its word problems
alone, and fine-tuned on ever more solved word problems of wordings that neither has read. A run that was interrupted
continues.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from contenders.machine import processor
from contenders.measure import markdown, report

import selfstudy
from selfstudy.config import load_tree
from selfstudy.problems.sources import read_problems
from selfstudy.problems.sources.msat import Msat
from selfstudy.recipes.config import Config
from selfstudy.storage.artifacts import Artifact

CONFIG = "tiny_llama"
SOLVED = (50, 100, 200, 400, 800)
SEEDS = (0, 1, 2)
STEPS = 400  # of fine-tuning
# Of the published data (80,000 items for training), as its generator's settings say: github.com/TianduoWang/MsAT,
# data/make_msat_data.py.
PUBLISHED = {
    "operators, mean": "2.4",
    "operators, at most": "3",
    "share of items with equations that do not matter": "70%",
    "such equations, at most": "4",
    "share of numbers without a name": "20%",
    "largest value": "9,999",
}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="selfstudy-runs", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--statistics", action="store_true", help="print those of the data alone, and train nothing")
    options = parser.parse_args()
    print(f"{datetime.date.today()}, {processor()}, {options.threads} threads.\n")
    ours = statistics()
    print(markdown(["", "here", "published"], [[what, ours[what], said] for what, said in PUBLISHED.items()]))
    if options.statistics:
        return
    common = [f"root={options.root}", f"compute.threads={options.threads}"]
    bases = dict(zip(("with MsAT", "without"), _bases(common), strict=True))
    tokens = [f"{name}: {base.metrics()['tokens']:,}" for name, base in bases.items()]
    print(f"\nTokens of pretraining: {'; '.join(tokens)}.\n")
    curves: dict[str, list[float]] = {}
    rows = []
    for name, base in bases.items():
        scores = [[_accuracy(base, solved, seed, common) for seed in SEEDS] for solved in SOLVED]
        curves[name] = [fmean(found) for found in scores]
        rows.append([name, *(", ".join(f"{100 * one:.1f}" for one in found) for found in scores)])
        report(" | ".join(rows[-1]))
    print(markdown(["solved problems", *map(str, SOLVED)], rows))
    print("\nSolved problems that the model with MsAT needs to be as good as the other:\n")
    needed = [_needed(curves["with MsAT"], score) for score in curves["without"]]
    shares = [f"{count:.0f} ({count / solved:.2f})" for count, solved in zip(needed, SOLVED, strict=True)]
    print(markdown(["without", *map(str, SOLVED)], [["with (share)", *shares]]))


def statistics() -> Mapping[str, str]:
    """Say of the items of the default settings what was published of the others."""
    items, _ = read_problems(Msat(count=20_000), on_bad_rows="refuse")
    operators = [int(item.meta["operators"]) for item in items]
    others = Counter(int(item.meta["distractors"]) for item in items)
    values = [int(number) for item in items for number in re.findall(r"\d+", item.question)]
    given = [re.findall(r"= (?:\(|\d).*?\.", item.question) for item in items]
    named = sum(len(re.findall(r"\b[A-Z] = \d+\.", item.question)) for item in items)
    bare = sum(len(re.findall(r"\d+", part)) for parts in given for part in parts) - named
    return {
        "operators, mean": f"{fmean(operators):.1f}",
        "operators, at most": f"{max(operators)}",
        "share of items with equations that do not matter": f"{1 - others[0] / len(items):.0%}",
        "such equations, at most": f"{max(others)}",
        "share of numbers without a name": f"{bare / (bare + named):.0%}",
        "largest value": f"{max(values):,}",
    }


def _bases(common: Sequence[str]) -> tuple[Artifact, Artifact]:
    """Pretrain both; the second takes as many steps as give it as many tokens."""
    settings = Config.parse(load_tree(CONFIG, []), CONFIG).pretraining
    assert settings is not None
    assert settings.max_steps is not None
    first = _pretrained("msat-with", common)
    stories = [part for part in settings.mixture if part.source.name != "msat"]
    mixture = json.dumps([part.model_dump(mode="json") for part in stories])
    alone = [*common, f"pretraining.mixture={mixture}"]
    short = _pretrained("msat-without-short", [*alone, "pretraining.max_steps=50"]).metrics()
    steps = round(first.metrics()["tokens"] / (short["tokens"] / 50))
    return first, _pretrained("msat-without", [*alone, f"pretraining.max_steps={steps}"])


def _pretrained(name: str, overrides: Sequence[str]) -> Artifact:
    report(f"{name} …")
    step = selfstudy.run(CONFIG, overrides, until="pretrained", name=name, quiet=True).step("pretrained")
    assert step is not None
    assert step.artifact is not None
    return step.artifact


def _accuracy(base: Artifact, solved: int, seed: int, common: Sequence[str]) -> float:
    study = Path(__file__).with_name("study.yaml")
    made = [f"model={base.path}", f"problems.labelled={solved}", f"sft.max_steps={STEPS}", f"seed={seed}"]
    overrides = [*common, *made, "recipe=supervised", "evaluation.samples=0"]
    results = selfstudy.run(str(study), overrides, name=f"{base.path.name}-{solved}-{seed}", quiet=True)
    return float(results.scores["sft", "test"]["accuracy"]["value"])


def _needed(curve: Sequence[float], score: float) -> float:
    """Return how many solved problems give ``score``, between the measured ones in proportion on a log scale."""
    if score <= curve[0]:
        return float(SOLVED[0])
    for (few, low), (many, high) in pairwise(zip(SOLVED, curve, strict=True)):
        if low <= score <= high and high > low:
            return math.exp(math.log(few) + (math.log(many) - math.log(few)) * (score - low) / (high - low))
    return math.inf


if __name__ == "__main__":
    main()
