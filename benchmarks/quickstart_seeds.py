"""Run the quickstart with both families and several seeds, and print the table that stands in docs/results.md.

    python benchmarks/quickstart_seeds.py --root selfstudy-runs --seeds 0 1 2

Runs take one thread each, so that two of these (with other --models) go side by side on two cores.
A run that was interrupted continues; one that is done is only read.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from selfstudy.evaluation.metrics import paired_bootstrap
from selfstudy.report.results import PlannedStep, Results
from selfstudy.running import carry_out


def outcomes(step: PlannedStep | None) -> dict[str, float]:
    """Return 1 or 0 for each test problem: solved by greedy decoding or not."""
    assert step is not None
    assert step.artifact is not None
    rows: list[dict[str, Any]] = json.loads((step.artifact.path / "problems.json").read_text(encoding="utf-8"))
    return {row["problem_id"]: float(row["outcome"] == "right") for row in rows}


def seconds(results: Results) -> float:
    """Return the sum of all steps' seconds, as their manifests say."""
    return sum(step.artifact.manifest()["environment"]["seconds"] for step in results.steps if step.artifact)


def row(model: str, seed: int, results: Results, control: Results) -> str:
    """Write one line of the table; ``control`` is SFT on L alone with the last round's number of steps."""
    tests = {name: outcomes(results.step(f"evaluate/{name}/test")) for name in results.models}
    cells = []
    for name in results.models:
        accuracy = results.scores[name, "test"]["accuracy"]
        cells.append(f"{100 * accuracy['value']:.1f} [{100 * accuracy['low']:.1f}, {100 * accuracy['high']:.1f}]")
    gain = paired_bootstrap(tests[results.models[-1]], tests["sft"], seed=0)
    cells.append(f"{100 * gain.value:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]")
    longer = outcomes(control.step("evaluate/sft/test"))
    accuracy = control.scores["sft", "test"]["accuracy"]
    cells.append(f"{100 * accuracy['value']:.1f} [{100 * accuracy['low']:.1f}, {100 * accuracy['high']:.1f}]")
    beyond = paired_bootstrap(tests[results.models[-1]], longer, seed=0)
    cells.append(f"{100 * beyond.value:+.1f} [{100 * beyond.low:+.1f}, {100 * beyond.high:+.1f}]")
    kept = []
    for name in results.models:
        step = results.step(name)
        if step is not None and step.kind == "preference" and step.artifact is not None:
            guard = step.artifact.metrics()["guard"]
            kept.append("SFT" if guard["fell_back"] else f"step {guard['used_step']}")
    return f"| {model} | {seed} | " + " | ".join([*cells, ", ".join(kept), f"{seconds(results):.0f}"]) + " |"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default="selfstudy-runs", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", default=["llama-tiny", "t5-tiny"])
    options = parser.parse_args()
    lines = []
    for model in options.models:
        for seed in options.seeds:
            overrides = [f"model={model}", f"seed={seed}", f"root={options.root}", "compute.threads=1"]
            results = carry_out("quickstart", overrides, name=f"{model}-{seed}", quiet=True)
            last = results.models[-1]
            step = results.step(last)
            assert step is not None
            assert step.artifact is not None
            as_long = ["recipe=supervised", "sft.epochs=null", f"sft.max_steps={step.artifact.metrics()['steps']}"]
            control = carry_out("quickstart", [*overrides, *as_long], name=f"{model}-{seed}-control", quiet=True)
            if not lines:
                heads = ["model", "seed", *results.models, f"{last} − sft"]
                heads += ["sft, steps as last", f"{last} − that", "guard used", "seconds"]
                lines += [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
            lines.append(row(model, seed, results, control))
            print(lines[-1], flush=True)
    print()
    print("\n".join(lines))


if __name__ == "__main__":
    main()
