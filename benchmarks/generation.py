"""Measure this project's engine against others, on the same weights, prompts, precision and threads.

    SELFSTUDY_DATA=… python benchmarks/generation.py > tables.md

The models that it samples from are trained the first time. On a GPU, with random weights:

    python benchmarks/generation.py --device cuda --dtype bfloat16 --shapes tinyllama-1.1b,flan-t5-large --prompts 64

CTranslate2 (``pip install ctranslate2``) takes part where it is installed. Tables go to the standard output, progress
to the standard error. The exit code is 1 where figures cannot be compared: completions of other lengths, or others
altogether.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import logging
import os
import shlex
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import torch
from contenders.machine import processor
from contenders.measure import markdown
from generation_sections import SECTIONS, Options, show
from transformers.utils import logging as transformers_logging

from selfstudy.errors import SelfstudyError
from selfstudy.models.presets import PRESETS
from selfstudy.models.tokenizers import Family

_FAMILIES: Mapping[str, Family] = {"causal": "causal", "t5": "seq2seq"}
_ON_CPU = ("engines", "calculator", "scale", "large", "machine")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parsed = _parser().parse_args(arguments)
    sections = parsed.sections or (["bandwidth"] if parsed.device == "cuda" else _ON_CPU)
    options = _options(parsed)
    transformers_logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    torch.set_num_threads(options.threads)
    print(f"{_facts(options)}\n", flush=True)
    try:
        outcomes = [SECTIONS[name](options) for name in sections]
    except SelfstudyError as error:
        sys.exit(f"error: {error}")
    targets = [target.row() for outcome in outcomes for target in outcome.targets]
    if targets:
        show("Targets", markdown(["target", "to reach", "reached", ""], targets))
    faults = [fault for outcome in outcomes for fault in outcome.faults]
    if faults:
        show("No comparison", "\n".join(f"- {fault}" for fault in faults))
    return 1 if faults else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    named = f"of {', '.join(SECTIONS)}; default: {', '.join(_ON_CPU)}, or bandwidth on a GPU"
    add("--sections", type=_names(SECTIONS), help=named)
    add("--families", type=_names(_FAMILIES), default="causal,t5", help="of the trained models")
    add("--prompts", type=int, default=32, help="questions")
    add("--samples", type=int, default=8, help="of each question")
    add("--repeats", type=int, default=5, help="of which the median counts")
    add("--max-new-tokens", type=int, default=300)
    batch = "rows of every contender; 'default' leaves the engine its own, and others have 64"
    add("--batch", type=lambda text: 0 if text == "default" else int(text), default=64, help=batch)
    add("--threads", type=int, default=len(os.sched_getaffinity(0)))
    add("--cache", type=Path, default=Path(__file__).parent / ".cache", help="where trained models are kept")
    add("--least", type=float, default=0.95, help="share of a trained model's samples that must end and annotate")
    add("--large", default="llama-100m", help="preset of the section large")
    add("--device", default="cpu", help="of the section bandwidth")
    add("--dtype", default="bfloat16", choices=["float32", "bfloat16"], help="of the section bandwidth")
    add("--shapes", type=_names(PRESETS), default="tinyllama-1.1b,flan-t5-large", help="of the section bandwidth")
    return parser


def _names(known: Collection[str]) -> Callable[[str], list[str]]:
    """Return what reads names that are parted by commas."""

    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
        return names

    return parse


def _options(parsed: argparse.Namespace) -> Options:
    return Options(
        families=tuple(_FAMILIES[name] for name in parsed.families),
        prompts=parsed.prompts,
        samples=parsed.samples,
        repeats=parsed.repeats,
        max_new_tokens=parsed.max_new_tokens,
        batch=parsed.batch,
        threads=parsed.threads,
        cache=parsed.cache,
        least=parsed.least,
        device=parsed.device,
        dtype=parsed.dtype,
        shapes=tuple(parsed.shapes),
        large=parsed.large,
    )


def _facts(options: Options) -> str:
    """Say what is needed to measure again."""
    versions = []
    for name in ("torch", "transformers", "ctranslate2"):
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {name}")
    device = torch.cuda.get_device_name() if options.device == "cuda" else processor()
    command = shlex.join(["python", "benchmarks/generation.py", *sys.argv[1:]])
    return (
        f"{datetime.date.today()}, {device}, {options.threads} threads, {', '.join(versions)}: `{command}`. "
        f"Medians of {options.repeats}; {options.prompts} questions of GSM8K's dev split, {options.samples} samples "
        f"each, temperature 0.7, at most {options.max_new_tokens} tokens."
    )


if __name__ == "__main__":
    sys.exit(main())
