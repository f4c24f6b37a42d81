"""The guard in real preference learning: a policy that samples, wrecked or improved by what it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from selfstudy.generation.engine import SamplingSettings
from selfstudy.models.compute import Compute
from selfstudy.models.format import FormatSettings, bind
from selfstudy.models.load import load_tokenizer
from selfstudy.models.tokenizers import Family
from selfstudy.stages.base import Inputs
from selfstudy.stages.preference import Preference, PreferenceSettings
from selfstudy.stages.sft import Sft, SftSettings
from selfstudy.storage.artifacts import Artifact
from selfstudy.types import SILENT, Pair, Problem
from tests.stages.builders import artifact, model_folder

COMPUTE = Compute(device="cpu", threads=1)
ANSWERS = ("7", "12", "35")


def asked(number: int, answer: str) -> Problem:
    return Problem(f"p/{number:03d}", f"Tom has {number} apples.", answer, "")


def policy(folder: Path, family: Family) -> Artifact:
    """Return a model that answers 7, 12 or 35, each about as often, whatever it is asked."""
    problems = [asked(number, ANSWERS[number % 3]) for number in range(60)]
    given = {
        "model": (model_folder(folder / "base", family),),
        "problems": (artifact(folder / "solved", {"labelled": problems}),),
    }
    rate = 5e-3 if family == "causal" else 2e-2
    settings = SftSettings(learning_rate=rate, batch_size=15, max_steps=100)
    (folder / "sft").mkdir()
    Sft(settings=settings, format=FormatSettings(), compute=COMPUTE, seed=0).run(given, folder / "sft", SILENT)
    return Artifact("sft", "0" * 16, folder / "sft")


def learn(folder: Path, family: Family, *, towards: str, away: str, rate: float, max_grad_norm: float = 1.0) -> Any:
    """Prefer one answer to another for 20 steps; of other problems 7 is right. Return the decision and a file."""
    model = policy(folder, family)
    format = bind(FormatSettings(), load_tokenizer(model.path), family)
    problems = [asked(number, "7") for number in range(100)]
    pairs = [
        Pair(p.id, format.gold(asked(n, towards)), format.gold(asked(n, away)), "sample", 0.2)
        for n, p in enumerate(problems[:40])
    ]
    given: Inputs = {
        "model": (model,),
        "problems": (artifact(folder / "problems", {"unlabelled": problems[:60], "dev": problems[60:]}),),
        "pairs": (artifact(folder / "pairs", {"pairs": pairs, "validation": []}),),
    }
    settings = {
        "learning_rate": rate,
        "batch_size": 8,
        "max_steps": 20,
        "max_grad_norm": max_grad_norm,
        "guard": {"every": 5, "problems": 40, "samples": 1, "patience": 2},
    }
    stage = Preference(
        settings=PreferenceSettings.parse(settings, "preference"),
        sampling=SamplingSettings(temperature=1.0, max_new_tokens=12),
        verifier="numeric",  # type: ignore[arg-type]
        format=FormatSettings(),
        compute=COMPUTE,
        seed=0,
        round=1,
    )
    (folder / "out").mkdir()
    metrics = stage.run(given, folder / "out", SILENT)
    before, after = (load_file(path / "model.safetensors") for path in (model.path, folder / "out"))
    return metrics, all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("family", ["causal", "seq2seq"])
def test_a_policy_that_learns_what_is_right_is_kept(family: Family, tmp_path: Path) -> None:
    metrics, unchanged = learn(tmp_path, family, towards="7", away="12", rate=2e-3)
    guard = metrics["guard"]
    assert 0.1 < guard["sft_yield"] < 0.6
    assert guard["used_yield"] > guard["sft_yield"] + 0.15
    assert not guard["fell_back"]
    assert not unchanged


@pytest.mark.parametrize("family", ["causal", "seq2seq"])
def test_a_policy_that_learns_what_is_wrong_is_dropped(family: Family, tmp_path: Path) -> None:
    """Its pairs get better all the while: accuracy of pairs says nothing of it."""
    metrics, unchanged = learn(tmp_path, family, towards="12", away="7", rate=2e-3)
    guard = metrics["guard"]
    assert metrics["rewards/accuracies"] == 1.0
    assert guard["sft_yield"] > 0.1
    assert guard["fell_back"]
    assert unchanged
    assert metrics["stopped_early"]


@pytest.mark.parametrize("family", ["causal", "seq2seq"])
def test_a_policy_that_becomes_noise_is_dropped(family: Family, tmp_path: Path) -> None:
    metrics, unchanged = learn(tmp_path, family, towards="7", away="12", rate=3.0, max_grad_norm=1e9)
    assert metrics["guard"]["sft_yield"] > 0.1
    assert metrics["stopped_early"]  # which takes two looks below that
    assert metrics["guard"]["fell_back"]
    assert unchanged
