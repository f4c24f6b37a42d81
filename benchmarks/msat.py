"""What MsAT is worth in pretraining: its statistics, and how many solved problems a model needs with and without it.

    python benchmarks/msat.py --root selfstudy-runs > msat.md

Two base models are pretrained on equally many tokens, one on the packaged config's mixture and one on its word problems
alone, and fine-tuned on ever more solved word problems of wordings that neither has read. A run that was interrupted
continues, and what was found of a base model is kept in ``benchmarks/kept`` (see ``kept.py``).
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from pathlib import Path
from statistics import fmean
from typing import Any

from contenders.machine import processor
from contenders.measure import markdown, report
from kept import kept

import selfstudy
from selfstudy.config import load_tree
from selfstudy.problems.sources import read_problems
from selfstudy.problems.sources.msat import Msat
from selfstudy.recipes.config import Config
from selfstudy.report.results import Results
from selfstudy.storage.artifacts import Artifact

CONFIG, STUDY = "tiny_llama", str(Path(__file__).with_name("study.yaml"))
SOLVED = (50, 100, 200, 400, 800)
SEEDS = (0, 1, 2)
STEPS = 400  # of fine-tuning
SHORT = 50  # of pretraining, to see how many tokens a step reads
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
    first = _base("msat-with", [], common)
    second = _base("msat-without", _as_long_without(first["tokens"], common), common)
    print(f"\nTokens of pretraining: {first['tokens']:,} with MsAT, {second['tokens']:,} without.\n")
    rows = [
        [name, *(", ".join(f"{100 * one:.1f}" for one in found["accuracy"][str(solved)]) for solved in SOLVED)]
        for name, found in (("with MsAT", first), ("without", second))
    ]
    print(markdown(["solved problems", *map(str, SOLVED)], rows))
    print("\nSolved problems that the model with MsAT needs to be as good as the other:\n")
    curves = [[fmean(found["accuracy"][str(solved)]) for solved in SOLVED] for found in (first, second)]
    needed = [_needed(curves[0], score) for score in curves[1]]
    shares = [
        f"{count:.0f} ({count / solved:.2f})" if count < math.inf else f"more than {SOLVED[-1]}"
        for count, solved in zip(needed, SOLVED, strict=True)
    ]
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


def _as_long_without(tokens: int, common: Sequence[str]) -> list[str]:
    """Return the settings of a base model that reads no MsAT in as many steps as give it as many tokens."""
    settings = Config.parse(load_tree(CONFIG, []), CONFIG).pretraining
    assert settings is not None
    mixture = [part.model_dump(mode="json") for part in settings.mixture if part.source.name != "msat"]
    alone = [f"pretraining.mixture={json.dumps(mixture)}"]
    short = [*common, *alone, f"pretraining.max_steps={SHORT}"]
    found = kept(CONFIG, short, _tokens, name="msat-short", until="pretrained")
    return [*alone, f"pretraining.max_steps={round(tokens / (found['tokens'] / SHORT))}"]


def _base(name: str, made: Sequence[str], common: Sequence[str]) -> Mapping[str, Any]:
    """Return how many tokens a base model reads, and how well it learns: accuracy by solved problems, one a seed."""

    def learned(results: Results) -> Mapping[str, Any]:
        base = _pretrained(results).path
        accuracy: dict[str, list[float]] = {}
        for solved, seed in product(SOLVED, SEEDS):
            report(f"{name}, {solved} solved, seed {seed} …")
            overrides = _teaching(base, solved, seed, common)
            scores = selfstudy.run(STUDY, overrides, name=f"{name}-{solved}-{seed}", quiet=True).scores
            accuracy.setdefault(str(solved), []).append(scores["sft", "test"]["accuracy"]["value"])
        return {**_tokens(results), "accuracy": accuracy}

    # The same lessons for a model that is there already stand for their settings and the versions of their stages.
    lessons = [(STUDY, _teaching("tiny-llama", solved, seed, common)) for solved, seed in product(SOLVED, SEEDS)]
    return kept(CONFIG, [*common, *made], learned, name=name, until="pretrained", also=lessons)


def _tokens(results: Results) -> Mapping[str, int]:
    return {"tokens": _pretrained(results).metrics()["tokens"]}


def _pretrained(results: Results) -> Artifact:
    step = results.step("pretrained")
    assert step is not None
    assert step.artifact is not None
    return step.artifact


def _teaching(model: str | Path, solved: int, seed: int, common: Sequence[str]) -> list[str]:
    made = [f"model={model}", f"problems.labelled={solved}", f"sft.max_steps={STEPS}", f"seed={seed}"]
    return [*common, *made, "recipe=supervised", "evaluation.samples=0"]


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
