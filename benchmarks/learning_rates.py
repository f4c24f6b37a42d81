"""Show what multiples of the default learning rates do, over sizes of both families.

    python benchmarks/learning_rates.py --root selfstudy-runs > table.md

Models of four widths are fine-tuned on the solved problems of ``from_scratch`` and then learn from pairs of their own
samples, for a fixed number of steps and without the guard. The preference loss is that config's, ``dpo`` with an
``nll_weight`` of 1.0, unless ``--loss`` names another: ``--loss dpo`` is the one without that term. The yield, distinct
right solutions in 8 samples of a problem, is counted on test problems, which nothing else looks at. A run that was
interrupted continues.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import torch
from contenders.machine import processor
from contenders.measure import markdown, report

import selfstudy
from selfstudy.config import load_tree
from selfstudy.evaluation.metrics import paired_bootstrap
from selfstudy.generation.engine import SamplingSettings
from selfstudy.generation.solver import load_policy, make_solver
from selfstudy.judging.verdicts import judge
from selfstudy.judging.verifiers import default_verifier, load_verifier
from selfstudy.models.compute import Compute
from selfstudy.models.format import FormatSettings, tokenizer_text
from selfstudy.models.load import load_model, save_model
from selfstudy.models.presets import Preset, build, find_preset
from selfstudy.models.tokenizers import train_tokenizer
from selfstudy.plugins import parse_spec
from selfstudy.problems.sources import FAMILY, load_source, read_problems
from selfstudy.recipes.config import Config
from selfstudy.selection.similarity import deduplicate
from selfstudy.stages.preference import PreferenceSettings
from selfstudy.stages.sft import SftSettings
from selfstudy.storage.artifacts import Artifact
from selfstudy.storage.atomic import publish_folder
from selfstudy.types import Completion, Problem

CONFIG = "from_scratch"
PRESETS = ("llama-tiny", "t5-tiny")
WIDTHS = (64, 128, 256, 512)
SFT, DPO = (0.25, 1, 4), (0.25, 1, 4, 16)
SAMPLES = 8
STEPS = 40


def main() -> None:
    """Train, count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="selfstudy-runs", type=Path)
    parser.add_argument("--models", nargs="+", default=PRESETS)
    parser.add_argument("--widths", nargs="+", type=int, default=WIDTHS)
    parser.add_argument("--tests", type=int, default=300, help="problems")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sft", nargs="+", type=float, default=SFT, help="multiples of the default; 1 is always there")
    parser.add_argument("--dpo", nargs="+", type=float, default=DPO, help="multiples of the default")
    parser.add_argument("--loss", help="the preference loss, as a config writes it; by default that of from_scratch")
    options = parser.parse_args()
    options.sft = sorted({1, *options.sft})
    loss = Config.parse(load_tree(CONFIG, _loss(options)), CONFIG).preference.loss
    print(
        f"{datetime.date.today()}, {processor()}. Yield on {options.tests} test problems, {SAMPLES} samples each; "
        f"preference loss {loss.name} {json.dumps(loss.settings)}.\n"
    )
    heads = ["model", "width", "parameters", *(f"SFT, rate × {factor:g}" for factor in options.sft)]
    heads += ["pairs", *(f"DPO − SFT, rate × {factor:g}" for factor in options.dpo)]
    rows = []
    for preset in options.models:
        for width in options.widths:
            rows.append(_row(preset, width, options))
            report(" | ".join(rows[-1]))
    print(markdown(heads, rows))


def _row(preset: str, width: int, options: argparse.Namespace) -> list[str]:
    folder = _base(preset, width, options.root)
    problems = _problems("test", options.tests)
    common = [f"model={folder}", f"root={options.root}", "rounds=1", f"compute.threads={options.threads}"]
    common += ["preference.guard=off", f"preference.max_steps={STEPS}", *_loss(options)]

    def learned(step: str, sft: float, dpo: float) -> Artifact:
        rates = [
            f"{name}.learning_rate={factor * settings.rate_times_width / width:g}"
            for name, settings, factor in (("sft", SftSettings, sft), ("preference", PreferenceSettings, dpo))
        ]
        name = f"{preset}-{width}-{sft:g}-{dpo:g}"
        if options.loss:
            name += "-" + re.sub(r"[^\w.]+", "-", options.loss).strip("-")
        done = selfstudy.run(CONFIG, [*common, *rates], until=step, name=name, quiet=True).step(step)
        assert done is not None
        assert done.artifact is not None
        return done.artifact

    def yields(artifact: Artifact) -> dict[str, float]:
        return count(artifact.path, problems, options.threads)

    starts = {factor: yields(learned("sft", factor, 1)) for factor in options.sft}
    preferred = [learned("dpo-1", 1, factor) for factor in options.dpo]
    gains = [paired_bootstrap(yields(artifact), starts[1], seed=0) for artifact in preferred]
    cells = [f"{fmean(found.values()):.2f}" for found in starts.values()]
    cells.append(f"{preferred[0].metrics()['pairs']}")
    cells += [f"{gain.value:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]" for gain in gains]
    return [preset, f"{width}", f"{load_model(folder).num_parameters() / 1e6:.1f}M", *cells]


def _loss(options: argparse.Namespace) -> list[str]:
    return [f"preference.loss={options.loss}"] if options.loss else []


def _base(preset: str, width: int, root: Path) -> Path:
    """Make a preset's shape of another width."""
    folder = root / "bases" / f"{preset}-{width}"
    if folder.is_dir():
        return folder
    narrow = find_preset(preset)
    shape = dict(narrow.shape)
    scale = width / shape["hidden_size" if narrow.family == "causal" else "d_model"]
    for name in ("hidden_size", "intermediate_size", "d_model", "d_ff", "d_kv"):
        if name in shape:
            shape[name] = int(shape[name] * scale)
    texts = [tokenizer_text(problem, FormatSettings(), narrow.family) for problem in _problems("train", 1600)]
    tokenizer = train_tokenizer(texts, narrow.family, narrow.vocab_size)
    assert tokenizer.eos_token_id is not None
    tokens = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    torch.manual_seed(0)
    model = build(Preset(narrow.family, narrow.vocab_size, shape), len(tokenizer), tokens)
    with publish_folder(folder) as unfinished:
        save_model(model, tokenizer, unfinished, {})
    return folder


def _problems(split: str, count: int) -> Sequence[Problem]:
    source = load_source(parse_spec(FAMILY, {"name": "word_problems", "split": split, "count": count, "max_steps": 2}))
    return read_problems(source, on_bad_rows="refuse")[0]


def count(folder: Path, problems: Sequence[Problem], threads: int) -> dict[str, float]:
    """Return the number of distinct right solutions of each problem."""
    sampling = SamplingSettings(temperature=0.7, max_new_tokens=128, max_batch_tokens=65536)
    compute = Compute(device="cpu", threads=threads)
    policy, form = load_policy(folder, FormatSettings(), compute)
    solver = make_solver(policy, form, sampling, seed=0, purpose="yield")
    verifier = load_verifier(default_verifier())
    by_id = {problem.id: problem for problem in problems}
    right: dict[str, list[Completion]] = {problem.id: [] for problem in problems}
    for sample in solver.draw(solver.requests(problems, range(SAMPLES))):
        if judge(verifier, by_id[sample.problem_id], sample).outcome == "right":
            right[sample.problem_id].append(sample.completion)
    return {name: float(len(deduplicate(found))) for name, found in right.items()}


if __name__ == "__main__":
    main()
