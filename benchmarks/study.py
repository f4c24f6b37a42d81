"""The study: does self-training help a pretrained model, does DPO add to it, and which of its settings matter?

    python benchmarks/study.py --root selfstudy-runs > study.md

The grid below is all of it, and every run of it is in the tables. Methods get equal budgets: the same base model, the
same number of SFT steps in every fine-tuning, and as many samples a problem in total. How many steps that is, is
decided first, on dev, by what is best for SFT alone, with seeds that are not used again: no gain comes from a base
line that was starved. Runs share what they have in common, one that was interrupted continues, and what was found of
one that is done is kept in ``benchmarks/kept`` (see ``kept.py``), from which the tables can be printed again.
``--only NAME`` carries out those rows alone, so that two of these (with other ``--only``) go side by side.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import numpy.typing as npt
from contenders.machine import processor
from contenders.measure import markdown, report
from kept import kept

from selfstudy.report.results import Results

CONFIG = Path(__file__).with_suffix(".yaml")
BASES = {"causal": "tiny-llama", "seq2seq": "tiny-t5"}
ANSWERS_ONLY = 800
STEPS = (150, 300, 450, 900)  # of SFT, one of which is chosen on dev
CHOOSING = (100, 101)  # seeds

Values = npt.NDArray[np.float64]  # (seeds, problems)


@dataclass(frozen=True)
class Row:
    """A line of the grid: what is run, and which of its models count.

    Attributes:
        name: Of the line.
        recipe: The algorithm.
        overrides: Of the config.
        last: The model that the line is about; the last one by default.
    """

    name: str
    recipe: str = "dpo_st"
    overrides: tuple[str, ...] = ()
    last: str = ""


@dataclass(frozen=True)
class Found:
    """What the study reads of one run.

    Attributes:
        models: In the order in which they are made.
        values: By model and measure, one for each test problem.
        problems: A digest of the test problems' ids in that order.
        chosen: The model that the run returned.
        guards: Of each preference learning that had a guard: whether it went back to the SFT model.
        seconds: Of all steps but tests, which not every use of a method has.
        operations: Floating-point ones of the same.
    """

    models: Sequence[str]
    values: Mapping[str, Mapping[str, Sequence[float]]]
    problems: str
    chosen: str
    guards: Sequence[bool]
    seconds: float
    operations: int

    @classmethod
    def of(cls, results: Results) -> Found:
        """Read the results of a run that is finished."""
        tables = {model: results.rows(model, "test") for model in results.models}
        asked = {tuple(table) for table in tables.values()}
        assert len(asked) == 1, "models of one run were tested on different problems"
        values = {
            model: {what: [round(_value(row, what), 4) for row in table.values()] for what in ("accuracy", *MEASURES)}
            for model, table in tables.items()
        }
        assert results.chosen is not None
        made = {step.name: step.artifact for step in results.steps if step.artifact and "/test" not in step.name}
        metrics = {name: artifact.metrics() for name, artifact in made.items()}
        return cls(
            models=results.models,
            values=values,
            problems=hashlib.sha256("\n".join(asked.pop()).encode()).hexdigest()[:16],
            chosen=results.chosen,
            guards=[found["guard"]["fell_back"] for found in metrics.values() if "guard" in found],
            seconds=round(sum(artifact.manifest()["environment"]["seconds"] for artifact in made.values()), 1),
            operations=sum(found.get("flops", 0) for found in metrics.values()),
        )


SOLVED = ("problems.labelled=all", "problems.unlabelled=all")
METHODS = (
    Row("SFT", "supervised"),
    Row("ST", "self_training"),
    Row("RFT", "rft"),
    Row("DPO-ST"),
    Row("all solved", "supervised", SOLVED),
)
ROUND = ("rounds=1",)
ABLATIONS = (
    Row("DPO-ST, one round", overrides=ROUND),
    Row("ST, one round", "self_training", ROUND),
    Row("2 rounds", overrides=("rounds=3",), last="dpo-st-2"),
    Row("3 rounds", overrides=("rounds=3",)),
    Row("K = 1", overrides=(*ROUND, "labels.n=1")),
    Row("K = 8", overrides=(*ROUND, "labels.n=8")),
    Row("K = 16", overrides=(*ROUND, "labels.n=16")),
    Row("NLL weight 0", overrides=(*ROUND, "preference.loss.nll_weight=0")),
    Row("NLL weight 0.2", overrides=(*ROUND, "preference.loss.nll_weight=0.2")),
    Row("gold winners alone", overrides=(*ROUND, "pairs.pairer={name: least_similar, winners: gold}")),
    Row("random pairs", overrides=(*ROUND, "pairs.pairer=random")),
    Row("DPO rate 1e-4", overrides=(*ROUND, "preference.learning_rate=1e-4")),
    Row("8 samples for pairs", overrides=(*ROUND, "pairs.n=8", "preference.max_steps=48")),
    Row(
        "8 samples for pairs, rate 1e-4",
        overrides=(*ROUND, "pairs.n=8", "preference.max_steps=48", "preference.learning_rate=1e-4"),
    ),
    Row("900 SFT steps", overrides=(*ROUND, "sft.max_steps=900")),
    Row("900 SFT steps, all solved", "supervised", (*SOLVED, "sft.max_steps=900")),
    Row("no guard", overrides=(*ROUND, "preference.guard=off")),
    Row("SFT goes on from the SFT model", overrides=(*ROUND, "restart=false")),
    Row("whole problems in a step", overrides=(*ROUND, "sft.order=grouped", "preference.order=grouped")),
    Row("no calculator", overrides=(*ROUND, "sampling.hook=off")),
)
# Seeds of the methods by (family, solved problems), and of the ablations.
GRID = {("causal", 300): 5, ("seq2seq", 300): 5, ("causal", 1000): 3}
ABLATED, ABLATION_SEEDS = ("causal", 300), 3


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="selfstudy-runs", type=Path)
    parser.add_argument("--families", nargs="+", default=list(BASES), choices=BASES)
    parser.add_argument("--solved", nargs="+", type=int, default=[300, 1000])
    parser.add_argument("--only", nargs="+", help="rows by name")
    parser.add_argument("--seeds", type=int, default=5, help="at most so many; 0 decides the SFT steps alone")
    options = parser.parse_args()
    print(f"{datetime.date.today()}, {processor()}, one thread a run.\n")
    for (family, solved), seeds in GRID.items():
        if family not in options.families or solved not in options.solved:
            continue
        study = Study(options.root, family, solved)
        study.choose_steps()
        parts = [(METHODS, seeds, "methods")]
        if (family, solved) == ABLATED:
            parts.append((ABLATIONS, ABLATION_SEEDS, "one round, settings changed"))
        for rows, count, title in parts:
            wanted = [row for row in rows if not options.only or row.name in options.only]
            if wanted and options.seeds:
                study.compare(wanted, range(min(count, options.seeds)), title)


@dataclass
class Study:
    """One family with one number of solved problems.

    Attributes:
        root: Where runs lie.
        family: Decides the base model.
        solved: How many of the training problems have solutions.
        steps: Of SFT; 0 before they are chosen.
    """

    root: Path
    family: str
    solved: int
    steps: int = 0

    def run(self, row: Row, seed: int) -> Found:
        """Carry out one run, or read what was found of it."""
        return Found(**kept(str(CONFIG), self._settings(row, seed, self.steps), _found, name=self._name(row, seed)))

    def _name(self, row: Row, seed: int) -> str:
        return "-".join([self.family, str(self.solved), *row.name.replace(",", "").split(), str(seed)])

    def _settings(self, row: Row, seed: int, steps: int) -> list[str]:
        made = [f"model={BASES[self.family]}", f"problems.labelled={self.solved}", f"sft.max_steps={steps}"]
        made += [f"problems.train.count={self.solved + ANSWERS_ONLY}"]
        return [*made, f"seed={seed}", f"root={self.root}", f"recipe={row.recipe}", *row.overrides]

    def choose_steps(self) -> None:
        """Take the number of SFT steps that is best on dev; the fewest of those that are."""
        lines, scores = [], {}
        for steps in STEPS:
            found = [100 * self._on_dev(steps, seed) for seed in CHOOSING]
            scores[steps] = fmean(found)
            lines.append([f"{steps}", ", ".join(f"{score:.1f}" for score in found), f"{scores[steps]:.1f}"])
        self.steps = max(scores, key=scores.__getitem__)
        print(f"### {BASES[self.family]}, {self.solved} solved: SFT steps by accuracy on dev\n")
        print(f"{markdown(['steps', 'seeds', 'mean'], lines)}\n\nChosen: {self.steps}.\n", flush=True)

    def _on_dev(self, steps: int, seed: int) -> float:
        """Fine-tune for so many steps; return the greedy accuracy on dev."""

        def find(results: Results) -> Mapping[str, float]:
            return {"accuracy": results.scores["sft", "dev"]["accuracy"]["value"]}

        settings = self._settings(METHODS[0], seed, steps)
        name = f"{self.family}-{self.solved}-{steps}-steps-{seed}"
        return float(kept(str(CONFIG), settings, find, name=name, until="evaluate/sft/dev")["accuracy"])

    def compare(self, rows: Sequence[Row], seeds: Sequence[int], title: str) -> None:
        """Print the scores of all rows, and the differences of each to SFT and to the row before."""
        scores, gains, harmed, count = [], [], 0, 0
        for row in rows:
            runs = [self.run(row, seed) for seed in seeds]
            scores.append([row.name, *self._scores(runs, row)])
            report(" | ".join(scores[-1]))
            if row is METHODS[0]:
                continue
            gains.append([row.name, *self._gains(runs, row, seeds)])
            if not row.last and row.recipe != "supervised":  # such a row shows a run that has one of its own
                harmed += sum(_worse(found) for found in runs)
                count += len(runs)
        heads = ["", "accuracy", *MEASURES, "TFLOP", "seconds, median"]
        counted = f"{len(seeds)} seeds" if len(seeds) > 1 else "one seed"
        print(f"### {BASES[self.family]}, {self.solved} solved, {counted}: {title}\n")
        print(f"{markdown(heads, scores)}\n")
        heads = [
            "",
            "− SFT, accuracy",
            "− ST, accuracy",
            *(f"DPO model − SFT, {what}" for what in ("accuracy", *SHOWN)),
        ]
        print(f"{markdown([*heads, 'guard kept SFT, rounds'], gains)}\n")
        print(f"Returned models worse than SFT on test by more than the interval: {harmed} of {count}.\n", flush=True)

    def _scores(self, runs: Sequence[Found], row: Row) -> list[str]:
        cells = [_shown(values(runs, row.last or runs[0].models[-1], "accuracy"), 100)]
        cells += [_shown(values(runs, row.last or runs[0].models[-1], what), SCALE[what]) for what in MEASURES]
        if row.last:  # what a part of a run cost is not known
            return [*cells, "", ""]
        operations, seconds = fmean(found.operations for found in runs), median(found.seconds for found in runs)
        return [*cells, f"{operations / 1e12:.1f}", f"{seconds:.0f}"]

    def _gains(self, runs: Sequence[Found], row: Row, seeds: Sequence[int]) -> list[str]:
        last = values(runs, row.last or runs[0].models[-1], "accuracy")
        start = [self.run(equal_budget(row), seed) for seed in seeds] if row.recipe == "supervised" else runs
        cells = [_shown(last - values(start, "sft", "accuracy"), 100, signed=True)]
        if row.recipe == "dpo_st":
            other = [self.run(equal_budget(row), seed) for seed in seeds]
            theirs = values(other, _like(row.last) or other[0].models[-1], "accuracy")
            cells.append(_shown(last - theirs, 100, signed=True))
            for what in ("accuracy", *SHOWN):
                gain = values(runs, "dpo-1", what) - values(runs, "sft", what)
                cells.append(_shown(gain, SCALE[what], signed=True))
            guards = [kept_sft for found in runs for kept_sft in found.guards]
            return [*cells, f"{sum(guards)} of {len(guards)}" if guards else "no guard"]
        return [*cells, *[""] * (len(SHOWN) + 3)]


def equal_budget(row: Row) -> Row:
    """Return what a row is compared with: ST, or SFT, with as many samples drawn and SFT steps taken."""
    name, recipe = ("SFT", row.recipe) if row.recipe == "supervised" else ("ST", "self_training")
    shared = ("rounds=", "pairs.n=", "labels.n=", "sft.max_steps=")
    budget = tuple(override for override in row.overrides if override.startswith(shared))
    return Row(" ".join((name, *budget)), recipe, budget)


MEASURES = ("pass@1", "pass@5", "pass@10", "maj@5", "distinct right")
SHOWN = ("pass@1", "pass@10", "distinct right")
SCALE = {"accuracy": 100, "distinct right": 1} | {name: 100 for name in MEASURES if "@" in name}


def _like(model: str) -> str:
    """Return the name of self-training's model of the same round."""
    return model.replace("dpo-st-", "st-")


def _found(results: Results) -> Mapping[str, Any]:
    return asdict(Found.of(results))


def values(runs: Sequence[Found], model: str, what: str) -> Values:
    """Return one value a test problem of every run, problems in the same order."""
    assert len({found.problems for found in runs}) == 1, "runs were tested on different problems"
    return np.array([found.values[model][what] for found in runs])


def outcomes(results: Results, model: str, split: str = "test") -> dict[str, float]:
    """Return 1 or 0 for each problem: solved by greedy decoding or not."""
    return {problem: _value(row, "accuracy") for problem, row in results.rows(model, split).items()}


def _value(row: Mapping[str, Any], what: str) -> float:
    if what == "accuracy":
        return float(row["outcome"] == "right")
    if what == "distinct right":
        return float(row["distinct_right"])
    kind, k = what.split("@")
    return float(row[f"{kind}_at"][k])


def interval(found: Values, resamples: int = 4000) -> tuple[float, float, float]:
    """Return the mean over seeds and problems with a 95% interval that counts the chance in both.

    Seeds and problems are drawn anew, each by itself (the pigeonhole bootstrap: Owen 2007, arXiv 0712.1111).
    """
    seeds, problems = found.shape
    rng = np.random.Generator(np.random.PCG64(0))
    weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds  # (R, S)
    shares = rng.multinomial(problems, np.full(problems, 1 / problems), size=resamples) / problems  # (R, P)
    means = np.einsum("rs,sp,rp->r", weights, found, shares, optimize=True)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(found.mean()), float(low), float(high)


def _shown(found: Values, scale: float, *, signed: bool = False) -> str:
    value, low, high = (scale * number for number in interval(found))
    digits = 1 if scale == 100 else 2
    sign = "+" if signed else ""
    return f"{value:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def _worse(found: Found) -> bool:
    """Say whether the model that the run returned is worse on test than SFT by more than the interval."""
    difference = values([found], found.chosen, "accuracy") - values([found], "sft", "accuracy")
    return interval(difference)[2] < 0


if __name__ == "__main__":
    main()
