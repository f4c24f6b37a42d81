"""Judging, pairing, selection and evaluation of many problems, and of ten times as many: seconds and peak memory.

Problems and samples are written by rule, 8 samples each, and no model is trained; the stages are the real ones.
``python benchmarks/load.py --problems 100000 --repeats 3`` measures that many and ten times as many. Each size runs in
a process of its own, since a process does not forget its peak.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from selfstudy.evaluation.memory import watch_memory
from selfstudy.judging.verifiers import default_verifier
from selfstudy.models.format import FormatSettings
from selfstudy.models.load import save_model
from selfstudy.models.presets import create
from selfstudy.models.tokenizers import train_tokenizer
from selfstudy.stages.base import Inputs
from selfstudy.stages.evaluate import Evaluate
from selfstudy.stages.judge_gold import JudgeGold
from selfstudy.stages.pair import MakePairs, PairSettings
from selfstudy.stages.pseudo_label import LabelSettings, PseudoLabel
from selfstudy.stages.verify import Verify
from selfstudy.storage.artifacts import Artifact
from selfstudy.storage.records import write_records
from selfstudy.types import SILENT, Completion, Problem, Sample

SAMPLES = 8
TARGETS = {"peak memory": 1.2, "time": 10.5}


def problems(count: int, *, solved: bool) -> Iterator[Problem]:
    for number in range(count):
        a, b, c = number % 97 + 2, number % 89 + 3, number % 83 + 5
        question = f"Tom {number} has {a} boxes of {b} apples and buys {c} apples more. How many apples does he have?"
        yield Problem(f"load/train/{number:07d}", question, str(a * b + c), _solution(a, b, c, 0) if solved else None)


def samples(count: int, indices: range) -> Iterator[Sample]:
    for number in range(count):
        a, b, c = number % 97 + 2, number % 89 + 3, number % 83 + 5
        draw = random.Random(number)
        for index in indices:
            wrong = draw.randrange(2)
            text = _solution(a, b, c + wrong * draw.randint(1, 9), draw.randrange(4))
            tokens = tuple(2 + ord(letter) % 250 for letter in text[::3])
            yield Sample(f"load/train/{number:07d}", index, Completion(text, (*tokens, 1)), -10 * draw.random())


def _solution(a: int, b: int, c: int, wording: int) -> str:
    begin = ("In the boxes are", "First there are", "He starts with", "The boxes hold")[wording]
    end = ("Then he has", "In all that is", "So he has", "With the others it is")[wording]
    return f"{begin} {a} * {b} = <<{a}*{b}={a * b}>>{a * b} apples.\n{end} {a * b} + {c} = \
<<{a * b}+{c}={a * b + c}>>{a * b + c} apples.\n#### {a * b + c}"


def make_inputs(root: Path, count: int) -> dict[str, Artifact]:
    """Write what the stages read."""
    made = {name: Artifact(name, "0" * 16, root / name) for name in ("problems", "model", "greedy", "samples")}
    for artifact in made.values():
        artifact.path.mkdir(parents=True)
    write_records(made["problems"].path / "labelled.jsonl", problems(count // 2, solved=True))
    for split in ("unlabelled", "dev"):
        write_records(made["problems"].path / f"{split}.jsonl", problems(count, solved=False))
    write_records(made["greedy"].path / "part-00000.jsonl", samples(count, range(1)))
    write_records(made["samples"].path / "part-00000.jsonl", samples(count, range(SAMPLES)))
    texts = [problem.question + (problem.solution or "") for problem in problems(200, solved=True)]
    tokenizer = train_tokenizer(texts, "causal", 512)
    save_model(create("llama-tiny", tokenizer, 0), tokenizer, made["model"].path, {})
    return made


def measure(root: Path, count: int) -> dict[str, list[float]]:
    """Carry out the stages once; return seconds and MiB of each, and of all."""
    made = make_inputs(root, count)
    verifier, format = default_verifier(), FormatSettings()
    only = {"problems": (made["problems"],)}
    judged = {name: Artifact("verdicts", "0" * 16, root / f"{name}-verdicts") for name in ("greedy", "samples")}
    pool = {**only, "model": (made["model"],), "samples": (made["samples"],), "verdicts": (judged["samples"],)}
    scored = {**pool, "greedy": (made["greedy"],), "greedy_verdicts": (judged["greedy"],)}
    verify = Verify(verifier=verifier, split="unlabelled")
    pair = MakePairs(settings=PairSettings(), format=format, seed=0)
    label = PseudoLabel(settings=LabelSettings(), format=format, seed=0)
    steps: list[tuple[str, Callable[[Inputs, Path], object], Inputs, Path]] = [
        ("judge gold", partial(JudgeGold(verifier=verifier).run, ctx=SILENT), only, root / "gold"),
        *(
            (f"judge {name}", partial(verify.run, ctx=SILENT), {**only, "samples": (made[name],)}, judged[name].path)
            for name in judged
        ),
        ("pair", partial(pair.run, ctx=SILENT), pool, root / "pairs"),
        ("select", partial(label.run, ctx=SILENT), pool, root / "labels"),
        ("evaluate", partial(Evaluate(split="dev", ks=(1, 4, 8)).run, ctx=SILENT), scored, root / "scores"),
    ]
    found: dict[str, list[float]] = {}
    for name, act, inputs, out in steps:
        out.mkdir()
        started, peak = time.process_time(), watch_memory()
        act(inputs, out)
        found[name] = [time.process_time() - started, peak() / 2**20]
    seconds, memory = zip(*found.values(), strict=True)
    return {**found, "all": [sum(seconds), max(memory)]}


def run(count: int, folder: Path | None) -> dict[str, list[float]]:
    """Measure one size in a process of its own."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [sys.executable, __file__, "--problems", str(count), "--one", scratch]
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    found: dict[str, list[float]] = json.loads(said)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=100_000, help="the smaller size; the larger is ten times it")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="with room for about 6 KB a problem of the larger size")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one is not None:
        print(json.dumps(measure(chosen.one / "root", chosen.problems)))
        return
    sizes = (chosen.problems, 10 * chosen.problems)
    runs: dict[int, list[dict[str, list[float]]]] = {size: [] for size in sizes}
    for _ in range(chosen.repeats):
        for size, found in runs.items():  # in turn, so that a machine that slows down does so for both
            found.append(run(size, chosen.folder))
            print(f"{size:,}: {json.dumps(found[-1])}", file=sys.stderr, flush=True)
    print("| step | " + " | ".join(f"s, {size:,} | MiB, {size:,}" for size in sizes) + " | × time | × memory |")
    print("| --- |" + " ---: |" * 6)
    for name in runs[sizes[0]][0]:
        few, many = (_medians([found[name] for found in runs[size]]) for size in sizes)
        shown = [f"{few[0]:.1f}", f"{few[1]:.0f}", f"{many[0]:.1f}", f"{many[1]:.0f}"]
        shown += [f"{b / a:.2f}" for a, b in zip(few, many, strict=True)]
        print(f"| {name} | {' | '.join(shown)} |")
    print(f"\ntargets for ten times the problems, all steps: {TARGETS}")


def _medians(runs: Sequence[Sequence[float]]) -> list[float]:
    return [statistics.median(values) for values in zip(*runs, strict=True)]


if __name__ == "__main__":
    main()
