"""The models that contenders sample from: trained ones whose completions end, and random ones whose never do."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from statistics import fmean

import torch
from transformers import PreTrainedModel

import selfstudy
from contenders.measure import report
from contenders.ours import Ours
from contenders.task import Task
from selfstudy.errors import ModelError
from selfstudy.models.format import Format, FormatSettings, bind, read_format, tokenizer_text
from selfstudy.models.load import family, load_model, load_tokenizer, save_model
from selfstudy.models.presets import build, create, find_preset
from selfstudy.models.tokenizers import Family, train_tokenizer
from selfstudy.plugins import parse_spec
from selfstudy.problems.sources import FAMILY, load_source, read_problems
from selfstudy.types import Problem

CONFIG = Path(__file__).parents[1] / "gsm8k_base.yaml"
PRESETS: dict[Family, str] = {"causal": "llama-20m", "seq2seq": "t5-20m"}
_TOKENIZER_TEXTS = 4000


def gsm8k(split: str, count: int) -> tuple[Problem, ...]:
    """Return the first problems of a split."""
    source = load_source(parse_spec(FAMILY, {"name": "gsm8k", "split": split, "limit": count}))
    problems, _ = read_problems(source, on_bad_rows="skip")
    return tuple(problems)


def trained(kind: Family, cache: Path) -> Path:
    """Return the folder of a family's model, trained the first time."""
    preset = PRESETS[kind]
    overrides = [f"model={preset}", f"root={cache}"]
    step = selfstudy.run(str(CONFIG), overrides, until="sft", name=preset, quiet=True).step("sft")
    assert step is not None
    assert step.artifact is not None
    return step.artifact.path


@cache
def load(folder: Path, dtype: str = "float32") -> tuple[PreTrainedModel, Format]:
    """Load a model with its form."""
    model = load_model(folder, dtype=dtype)
    return model, bind(read_format(folder), load_tokenizer(folder), family(model))


def random_folder(preset: str, cache: Path) -> Path:
    """Return the folder of a model with random weights and a tokenizer of the project, made the first time."""
    folder = cache / "random" / preset
    if not (folder / "selfstudy.json").is_file():
        form = _random_form(preset)
        save_model(create(preset, form.tokenizer, seed=0), form.tokenizer, folder, {})
        form.save(folder)
    return folder


def random_model(preset: str, device: str, dtype: torch.dtype) -> tuple[PreTrainedModel, Format]:
    """Return a model of the published shape, its whole vocabulary included, made where it will compute."""
    shape, form = find_preset(preset), _random_form(preset)
    tokens = {"pad_token_id": 0, "eos_token_id": form.tokenizer.eos_token_id, "bos_token_id": None}
    torch.manual_seed(0)
    with torch.device(device):
        model = build(shape, shape.vocab_size, tokens)
    return model.to(dtype).eval(), form


def check(task: Task, least: float) -> str:
    """Say how many samples end and annotate.

    Raises:
        ModelError: Fewer than ``least`` of them.
    """
    drawn = Ours(calculator=False).draw(task, seed=0)
    notation = task.format.notation
    parts = (notation.opening, notation.equals.rstrip(), notation.closing)
    annotation = re.compile(".+?".join(map(re.escape, parts)))
    ended = fmean(completion[-1] == task.stop for completion in drawn.completions)
    annotated = fmean(bool(annotation.search(task.format.decode(completion))) for completion in drawn.completions)
    said = f"{task.folder}: {100 * ended:.1f}% of its samples end, {100 * annotated:.1f}% have an annotation"
    report(said)
    if min(ended, annotated) < least:
        raise ModelError(f"{said}; at least {100 * least:.0f}% must, so train longer (sft.max_steps in {CONFIG.name})")
    return said


def _random_form(preset: str) -> Format:
    shape = find_preset(preset)
    texts = (tokenizer_text(problem, FormatSettings(), shape.family) for problem in gsm8k("train", _TOKENIZER_TEXTS))
    return bind(FormatSettings(), train_tokenizer(texts, shape.family, shape.vocab_size), shape.family)
