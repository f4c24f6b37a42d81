"""Measure this project's trainer against TRL (causal) and ``transformers.Trainer`` (T5): same data, order, optimiser.

    SELFSTUDY_DATA=… python benchmarks/learning.py > tables.md

Each training is a process of its own, contenders in turn. Tables go to the standard output, progress to the standard
error. The models that draw the solutions are those of ``generation.py``, trained the first time.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import logging
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Literal

import torch
from contenders.machine import peak_memory, processor, product_rate
from contenders.measure import markdown, report
from contenders.models import load, random_folder, trained
from learners.data import drawn, pairs, solutions
from learners.task import Learned, Task
from safetensors.torch import load_file, save_file

from selfstudy.models.compute import DTYPES
from selfstudy.models.tokenizers import Family

MODELS = {"llama-20m": "causal", "llama-100m": "causal", "t5-20m": "seq2seq"}
PEERS = {("sft", "causal"): "TRL SFTTrainer", ("dpo", "causal"): "TRL DPOTrainer"}
PLAIN = "transformers.Trainer"
TARGETS = {("sft", "causal"): 1.6, ("dpo", "causal"): 2.0, ("sft", "seq2seq"): 1.6, ("dpo", "seq2seq"): 1.6}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    options = _parser().parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "trl")]
    command = shlex.join(["python", "benchmarks/learning.py", *sys.argv[1:]])
    print(
        f"{datetime.date.today()}, {processor()}, {options.threads} threads, {', '.join(versions)}: `{command}`. Medians "
        f"of {options.repeats} trainings of {options.steps} steps after {options.warm} that do not count.\n",
        flush=True,
    )
    targets: list[list[str]] = []
    for name in options.models.split(","):
        family: Family = MODELS[name]  # type: ignore[assignment]
        for kind in options.kinds.split(","):
            for dtype in options.dtypes.split(","):
                _compare(options, name, family, kind, dtype, targets)
    print("### Targets\n")
    print(markdown(["target", "to reach", "reached", ""], targets), flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--models", default=",".join(MODELS))
    add("--kinds", default="sft,dpo")
    add("--dtypes", default="float32,bfloat16")
    add("--problems", type=int, default=60, help="of GSM8K")
    add("--batch", type=int, default=12, help="examples or pairs in a step")
    add("--steps", type=int, default=8)
    add("--warm", type=int, default=2, help="steps before those")
    add("--repeats", type=int, default=3)
    add("--tokens-per-batch", type=int, default=4096, help="of this project's trainer")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)))
    add("--cache", type=Path, default=Path(__file__).parent / ".cache")
    return parser


def _compare(
    options: argparse.Namespace,
    name: str,
    family: Family,
    kind: Literal["sft", "dpo"],
    dtype: Literal["float32", "bfloat16"],
    targets: list[list[str]],
) -> None:
    task = _task(options, name, family, kind, dtype)
    peer = PEERS.get((kind, family), PLAIN)
    runs: dict[str, list[Learned]] = {"ours": [], "theirs": []}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(options.repeats):
            for who in runs:
                weights = Path(folder) / f"{who}.safetensors" if repeat == 0 else None
                learned = alone(who, task, weights)
                report(f"{name} {kind} {dtype} {repeat + 1}/{options.repeats} {who}: {sum(learned.seconds):.1f} s")
                runs[who].append(learned)
        apart = _apart(runs["ours"][0].weights, runs["theirs"][0].weights, task.folder)
    speeds, rows = {}, []
    for who, shown in (("ours", "this trainer"), ("theirs", peer)):
        per_second = [options.steps * task.batch / sum(run.seconds[options.warm :]) for run in runs[who]]
        speeds[who] = median(per_second)
        memory = median(run.memory for run in runs[who])
        reference = median(run.reference_seconds for run in runs[who])
        rows.append(
            [shown, f"{speeds[who]:.2f}", f"{memory / 2**20:.0f}", f"{reference:.1f}", f"{runs[who][0].losses[-1]:.4f}"]
        )
    unit = "completions" if kind == "sft" else "pairs"
    heads = ["", f"{unit}/s", "memory, MiB", "reference, s", "last loss"]
    title = f"{name}, {'SFT' if kind == 'sft' else 'DPO'}, {dtype}, {task.batch} {unit} a step"
    print(f"### {title}\n\n{markdown(heads, rows)}\n", flush=True)
    print(
        f"{_share(options, task, family, speeds['ours'])} Final weights differ by {apart:.1e} of what they moved.\n",
        flush=True,
    )
    wanted = TARGETS[kind, family]
    ratio = speeds["ours"] / speeds["theirs"]
    targets.append(
        [f"{unit}/s ÷ {peer}, {name}, {dtype}", f"≥ {wanted}", f"{ratio:.2f}", "✓" if ratio >= wanted else "✗"]
    )
    if (kind, family) == ("dpo", "causal"):
        shares = median(run.memory for run in runs["ours"]) / median(run.memory for run in runs["theirs"])
        targets.append([f"memory ÷ {peer}, {name}, {dtype}", "≤ 0.6", f"{shares:.2f}", "✓" if shares <= 0.6 else "✗"])


def _task(
    options: argparse.Namespace,
    name: str,
    family: Family,
    kind: Literal["sft", "dpo"],
    dtype: Literal["float32", "bfloat16"],
) -> Task:
    folder = random_folder(name, options.cache) if name == "llama-100m" else trained(family, options.cache)
    _, form = load(folder)
    found = drawn(family, options.cache, options.problems)
    groups, items = (solutions if kind == "sft" else pairs)(found, form)
    steps = options.warm + options.steps
    return Task(kind, folder, dtype, groups, items, options.batch, steps, options.tokens_per_batch, options.threads)


def alone(who: str, task: Task, weights: Path | None) -> Learned:
    """Train in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(learn, who, task, weights).result()


def learn(who: str, task: Task, weights: Path | None) -> Learned:
    """Train, and measure this process."""
    torch.set_num_threads(task.threads)
    logging.disable(logging.WARNING)
    if who == "ours":
        from learners.ours import learn as train
    else:
        from learners.peers import learn as train
    before = peak_memory()
    model, seconds, losses, reference = train(task)
    memory = peak_memory() - before
    if weights is not None:
        save_file({name: p.detach().contiguous().clone() for name, p in model.named_parameters()}, weights)
    return Learned(tuple(seconds), memory, reference, tuple(losses), weights)


def _apart(ours: Path | None, theirs: Path | None, start: Path) -> float:
    """Return the norm of the difference of final weights, relative to how far they moved."""
    assert ours is not None
    assert theirs is not None
    mine, others = load_file(ours), load_file(theirs)
    from selfstudy.models.load import load_model

    first = dict(load_model(start).named_parameters())
    moved = sum(float((mine[name] - first[name].detach()).pow(2).sum()) for name in mine)
    apart = sum(float((mine[name] - others[name]).pow(2).sum()) for name in mine)
    return float((apart / moved) ** 0.5)


def _share(options: argparse.Namespace, task: Task, family: Family, per_second: float) -> str:
    """Say which share of the machine's matrix-product rate the step reaches, by the operations that it needs."""
    import torch.utils.flop_counter as counter

    from selfstudy.learning.groups import select
    from selfstudy.learning.logprobs import logprobs

    model, _ = load(task.folder)
    items = [task.items[place % len(task.items)] for place in range(task.batch * task.steps)]
    operations = 0
    for first in range(0, len(items), task.batch):
        chosen, _ = select(task.groups, items[first : first + task.batch])
        with counter.FlopCounterMode(display=False) as counted, torch.no_grad():
            logprobs(model, chosen)
        operations += 3 * counted.get_total_flops()
    rate = product_rate(DTYPES[task.dtype])
    speed = operations / len(items) * per_second
    return f"{speed / 1e9:.0f} of the machine's {rate / 1e9:.0f} GFLOP/s ({100 * speed / rate:.0f}%)."


if __name__ == "__main__":
    sys.exit(main())
