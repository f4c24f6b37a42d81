"""Measure this project's trainer against TRL (causal) and ``transformers.Trainer`` (T5): same data, order, optimiser.

    SELFSTUDY_DATA=… python benchmarks/learning.py > tables.md

Each training is a process of its own, contenders in turn. Tables go to the standard output, progress to the standard
error. The models that draw the solutions are those of ``generation.py``, trained the first time. The exit code is 1
where trainers did not learn the same.
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
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from contenders.machine import peak_memory, processor, product_rate
from contenders.measure import markdown, report
from contenders.models import load, random_folder, trained
from learners.block_mask import BlockMask
from learners.data import drawn, pairs, solutions
from learners.task import Dtype, Kind, Learned, Task, Variant
from safetensors.torch import load_file, save_file
from torch.optim import AdamW
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

import selfstudy.learning.logprobs
from selfstudy.errors import DataError
from selfstudy.learning.groups import collate, micro_batches, select
from selfstudy.learning.logprobs import logprobs
from selfstudy.models.compute import DTYPES
from selfstudy.models.load import load_model, save_model
from selfstudy.models.plain import decoder_start
from selfstudy.models.presets import build, find_preset
from selfstudy.models.tokenizers import Family
from selfstudy.storage.atomic import publish_folder

MODELS: dict[str, Family] = {"llama-20m": "causal", "llama-100m": "causal", "t5-20m": "seq2seq"}
UNITS: dict[Kind, str] = {"sft": "completions", "dpo": "pairs"}
PLAIN = "`transformers.Trainer`"
PEERS: dict[tuple[Kind, Family], str] = {("sft", "causal"): "TRL `SFTTrainer`", ("dpo", "causal"): "TRL `DPOTrainer`"}
SPEED = {("sft", "causal"): 1.6, ("dpo", "causal"): 2.0, ("sft", "seq2seq"): 1.6, ("dpo", "seq2seq"): 1.6}
MEMORY = 0.6  # of TRL's, DPO
RATE = {"float32": 60, "bfloat16": 40}  # per cent of the machine's, 100M
WEIGHTS = 1e-3  # of their norm, by which final ones may differ in float32
PADDING = 10  # per cent of attention's rows
APART = {"float32": 0.01, "bfloat16": 0.2}  # of what weights moved by
LOSSES = {"float32": 1e-3, "bfloat16": 0.05}  # by which losses of steps may differ
OVERHEAD = 3  # per cent of a step at 20M
SHOWN = {
    "ours": "this trainer",
    "block": "this trainer, groups under a block mask",
    "shuffled": "this trainer, items shuffled",
}
ORDERS = {"ours": "groups in one step", "shuffled": "items shuffled"}
THEIRS = ("theirs", "leanest")  # the other trainer at its fastest settings, and at those with the least memory


@dataclass
class Outcome:
    """What is said at the end."""

    targets: list[list[str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def target(self, what: str, wanted: float, reached: float, *, at_most: bool = False) -> None:
        """Add a line."""
        met = reached <= wanted if at_most else reached >= wanted
        sign = "≤" if at_most else "≥"
        self.targets.append([what, f"{sign} {wanted:g}", f"{reached:.3g}", "✓" if met else "✗"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    options = _parser().parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    torch.set_num_threads(options.threads)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "trl"))
    command = shlex.join(["python", "benchmarks/learning.py", *sys.argv[1:]])
    print(
        f"{datetime.date.today()}, {processor()}, {options.threads} threads, {versions}: `{command}`. Medians of "
        f"{options.repeats} trainings of {options.steps} steps, after {options.warm} that do not count.\n",
        flush=True,
    )
    outcome = Outcome()
    for name in filter(None, options.models.split(",")):
        for kind in options.kinds.split(","):
            for dtype in options.dtypes.split(","):
                _compare(options, name, kind, dtype, outcome)
    if options.vocabulary:
        _vocabulary(options)
    print(f"### Targets\n\n{markdown(['target', 'to reach', 'reached', ''], outcome.targets)}\n")
    print("\n".join(f"- {fault}" for fault in outcome.faults), flush=True)
    return 1 if outcome.faults else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--models", default=",".join(MODELS), help="none where empty")
    add("--kinds", default="sft,dpo")
    add("--contenders", default=",".join([*SHOWN, "theirs"]), help="ours and theirs among them")
    add("--dtypes", default="float32,bfloat16")
    add("--problems", type=int, default=100, help="of GSM8K; enough of them for one pass over steps × batch items")
    add("--batch", type=int, default=12, help="examples or pairs in a step")
    add("--steps", type=int, default=18)
    add("--warm", type=int, default=2, help="steps before those")
    add("--repeats", type=int, default=3)
    add("--splits", default="1,2,3,4", help="of the other trainer's steps, tried where they are even; 1 among them")
    add("--tokens-per-batch", type=int, default=4096, help="of this project's trainer")
    add("--vocabulary", type=int, default=150_000, help="of a model of 20M and its embeddings; 0 leaves it out")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)))
    add("--cache", type=Path, default=Path(__file__).parent / ".cache")
    return parser


def _compare(options: argparse.Namespace, name: str, kind: Kind, dtype: Dtype, outcome: Outcome) -> None:
    family, unit = MODELS[name], UNITS[kind]
    task = _task(options, name, kind, dtype)
    peer = PEERS.get((kind, family), PLAIN)
    probes = _probe(options, task, family, f"{name} {kind} {dtype}")
    fastest = min(probes, key=lambda variant: probes[variant].seconds[-1])
    leanest = min(probes, key=lambda variant: probes[variant].memory)
    contenders = [who for who in options.contenders.split(",") if family == "causal" or who != "block"]
    tasks = {who: replace(task, variant=fastest) for who in contenders}
    if (kind, family) == ("dpo", "causal") and leanest != fastest:
        tasks["leanest"] = replace(task, variant=leanest)
    runs: dict[str, list[Learned]] = {who: [] for who in tasks}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(options.repeats):
            for who, found in runs.items():
                if who == "leanest" and repeat:
                    continue  # for its memory, which once says enough
                found.append(alone(who, tasks[who], Path(folder) / who if repeat == 0 else None))
                said = f"{name} {kind} {dtype} {repeat + 1}/{options.repeats} {who}"
                report(f"{said}: {sum(found[-1].seconds):.1f} s, {found[-1].memory / 2**20:.0f} MiB")
        moved, apart = _apart(Path(folder), task.folder)
    rows, speeds, memory = [], {}, {}
    for who, found in runs.items():
        speeds[who] = median(options.steps * task.batch / sum(run.seconds[options.warm :]) for run in found)
        memory[who] = median(run.memory for run in found)
        reference = median(run.reference_seconds for run in found)
        cells = [f"{speeds[who]:.2f}", f"{memory[who] / 2**20:.0f}", f"{reference:.1f}", f"{found[0].losses[-1]:.4f}"]
        rows.append([f"{peer}, {tasks[who].variant}" if who in THEIRS else SHOWN[who], *cells])
    title = f"{name}, {kind.upper()}, {dtype}, {task.batch} {unit} a step"
    print(f"### {title}\n\n{markdown(['', f'{unit}/s', 'memory, MiB', 'reference, s', 'last loss'], rows)}\n")
    tried = [f"{variant} {run.seconds[-1]:.1f} s, {run.memory / 2**20:.0f} MiB" for variant, run in probes.items()]
    print(f"Probes of {peer}, its second step: {'; '.join(tried)}.\n")
    (operations, padding), rate = _work(task), product_rate(DTYPES[dtype])
    share = 100 * operations * speeds["ours"] / rate
    said = f"{operations * speeds['ours'] / 1e9:.0f} of the machine's {rate / 1e9:.0f} GFLOP/s ({share:.0f}%)"
    said += f"; {100 * padding:.0f}% of attention's rows is padding, and nothing of other layers"
    overhead = median(
        100 - 100 * sum(run.computing[options.warm :]) / sum(run.seconds[options.warm :]) for run in runs["ours"]
    )
    said += f"; {overhead:.1f}% of a step lies outside of forward, backward and optimizer"
    first, other = (torch.tensor(runs[who][0].losses) for who in ("ours", "theirs"))
    losses = ((first - other).abs() / other.abs().clamp(min=1)).max().item()
    print(
        f"{said}. After {task.steps} steps, weights differ from the other trainer's by {apart:.1e} of their norm, "
        f"{moved:.1e} of what they moved; losses of steps by {losses:.1e} at most.\n",
        flush=True,
    )
    for who, order in ORDERS.items():
        if who in speeds:
            what = f"{unit}/s ÷ {peer}, {name}, {dtype}, {order}"
            outcome.target(what, SPEED[kind, family], speeds[who] / speeds["theirs"])
    if (kind, family) == ("dpo", "causal"):
        least = min(memory[who] for who in THEIRS if who in memory)
        outcome.target(f"memory ÷ {peer}, {name}, {dtype}", MEMORY, memory["ours"] / least, at_most=True)
    what = f"{kind.upper()}, {name}, {dtype}"
    if dtype == "float32":
        shown = f"weights apart after {task.steps} steps ÷ their norm, {what}"
        outcome.target(shown, WEIGHTS, apart, at_most=True)
    outcome.target(f"% of attention's rows that is padding, {what}", PADDING, 100 * padding, at_most=True)
    if name == "llama-100m":
        outcome.target(f"% of the matrix-product rate, {what}", RATE[dtype], share)
    else:
        outcome.target(f"% overhead, {what}", OVERHEAD, overhead, at_most=True)
    if not moved <= APART[dtype]:  # as of weights that are not numbers
        outcome.faults.append(f"{title}: final weights differ by {moved:.1e} of what they moved")
    if not losses <= LOSSES[dtype]:
        outcome.faults.append(f"{title}: losses differ by {losses:.1e}")


def _probe(options: argparse.Namespace, task: Task, family: Family, said: str) -> dict[Variant, Learned]:
    """Let the other trainer take one step with each of its settings, after one that does not count."""
    short = replace(task, items=task.items[: 2 * task.batch], steps=2)
    # TRL 1.16's DPO says that it cannot do without padding for now, and pads.
    free = (False, True) if (task.kind, family) == ("sft", "causal") else (False,)
    found = {}
    for count in map(int, options.splits.split(",")):
        for padding_free in free if task.batch % count == 0 else ():
            variant = Variant(count, padding_free)
            found[variant] = one = alone("theirs", replace(short, variant=variant), None)
            report(f"{said} probe, {variant}: {one.seconds[-1]:.1f} s, {one.memory / 2**20:.0f} MiB")
    return found


def _vocabulary(options: argparse.Namespace) -> None:
    """Show what it takes to learn with a large vocabulary, with its logits in chunks and all at once."""
    task = replace(_task(options, "llama-20m", "sft", "float32"), steps=2)
    folder = options.cache / "random" / f"llama-20m-{options.vocabulary}"
    if not folder.is_dir():
        model, form = load(task.folder)
        torch.manual_seed(0)
        wide = build(find_preset("llama-20m"), options.vocabulary, {"eos_token_id": model.config.eos_token_id})
        with publish_folder(folder) as unfinished:
            save_model(wide, form.tokenizer, unfinished, {})
    rows = []
    for who, shown in (
        ("ours", "this trainer"),
        ("whole", "this trainer, all logits at once"),
        ("theirs", f"TRL, {task.variant}"),
    ):
        learned = alone(who, replace(task, folder=folder), None)
        rows.append([shown, f"{learned.memory / 2**20:.0f}", f"{min(learned.seconds):.1f}"])
    heads = ["", "memory, MiB", "seconds a step"]
    print(f"### A vocabulary of {options.vocabulary:,}, SFT, float32\n\n{markdown(heads, rows)}\n", flush=True)


def _task(options: argparse.Namespace, name: str, kind: Kind, dtype: Dtype) -> Task:
    family = MODELS[name]
    folder = random_folder(name, options.cache) if name == "llama-100m" else trained(family, options.cache)
    found = drawn(family, options.cache, options.problems)
    groups, items = (solutions if kind == "sft" else pairs)(found, load(folder)[1])
    steps = options.warm + options.steps
    needed = steps * options.batch
    if len(items) < needed:  # where its data ends, the other trainer's step is a short one, and this one's is not
        raise DataError(
            f"{name}: {len(items)} {UNITS[kind]} of {options.problems} problems are less than {steps} steps of "
            f"{options.batch}; raise --problems"
        )
    items = items[:needed]
    groups = groups[: max(item.group for item in items) + 1]
    return Task(kind, folder, dtype, groups, items, options.batch, steps, options.tokens_per_batch, options.threads)


def alone(who: str, task: Task, weights: Path | None) -> Learned:
    """Train in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(learn, who, task, weights).result()


def learn(who: str, task: Task, weights: Path | None) -> Learned:
    """Train, and measure this process; write the final weights if it is said where."""
    torch.set_num_threads(task.threads)
    logging.disable(logging.WARNING)
    if who in THEIRS:
        from learners.peers import learn as train
    else:
        from learners.ours import learn as train
    instead = {"whole": {"_LOGITS": 2**60}, "block": {"Causal": BlockMask}}.get(who, {})
    before = peak_memory()
    with patch.multiple(selfstudy.learning.logprobs, **instead) if instead else nullcontext(), inside() as computing:
        model, seconds, losses, reference = train(replace(task, shuffled=who == "shuffled"))
    memory = max(1, peak_memory() - before)
    if weights is not None:
        save_file({name: parameter.detach().clone() for name, parameter in model.named_parameters()}, weights)
    # The other trainer's forward pass is not among what was noted.
    inner = () if who in THEIRS else tuple(map(sum, computing[:-1]))
    return Learned(tuple(seconds), memory, reference, tuple(losses), inner)


@contextmanager
def inside() -> Iterator[list[list[float]]]:
    """Note the seconds of this project's steps that are spent in the model, backward and in the optimizer."""
    spent: list[list[float]] = [[]]  # one for each step, and what is behind the last

    step = AdamW.step

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                if torch.is_grad_enabled():  # not the reference
                    spent[-1].append(time.perf_counter() - start)
                if function is step:
                    spent.append([])

        return call

    with ExitStack() as stack:
        backward, logps = (torch.autograd, "backward"), (selfstudy.learning.logprobs, "label_logps")
        for holder, name in (logps, backward, (AdamW, "step")):
            stack.enter_context(patch.object(holder, name, noting(getattr(holder, name))))
        yield spent


def _apart(found: Path, start: Path) -> tuple[float, float]:
    """Return by how much final weights differ, relative to how far they moved, and to their norm."""
    ours, theirs = load_file(found / "ours"), load_file(found / "theirs")
    first = {name: parameter.detach() for name, parameter in load_model(start).named_parameters()}
    moved = sum((ours[name] - first[name]).pow(2).sum() for name in ours)
    apart = sum((ours[name] - theirs[name]).pow(2).sum() for name in ours)
    size = sum(value.pow(2).sum() for value in theirs.values())
    return float(torch.as_tensor(apart / moved).sqrt()), float(torch.as_tensor(apart / size).sqrt())


def _attention(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], dropout: float = 0.0, causal: bool = False, **_: Any
) -> int:
    """Count the operations of attention; of those of a causal one half are needed."""
    return int(sdpa_flop_count(query, key, value)) // (2 if causal else 1)


# The library counts CUDA's kernels alone.
_ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}


def _work(task: Task) -> tuple[float, float]:
    """Return the floating-point operations that an item needs, and how much of the rows of attention is padding.

    Backwards takes twice as many operations as forwards. No other layer sees any padding.
    """
    model, form = load(task.folder)
    items = [task.items[place % len(task.items)] for place in range(task.batch * task.steps)]
    operations = places = padding = 0
    for first in range(0, len(items), task.batch):
        batch = range(first, min(first + task.batch, len(items)))
        seq2seq = form.family == "seq2seq"
        for part in micro_batches(task.groups, items, batch, task.tokens_per_batch, seq2seq):
            groups, _ = select(task.groups, [items[index] for index in part])
            with FlopCounterMode(display=False, custom_mapping=_ATTENTION) as counted, torch.no_grad():
                logprobs(model, groups)
            operations += 3 * counted.get_total_flops()
            laid_out = collate(groups, decoder_start(model))
            seen = laid_out.prompts
            for rows in (laid_out.rows, *((seen.rows, seen.read, seen.readers) if seen else ())):
                there = sum(band.numel() for band in rows.places)
                places, padding = places + there, padding + there - sum(int(lengths.sum()) for lengths in rows.lengths)
    return operations / len(items), padding / places


if __name__ == "__main__":
    sys.exit(main())
