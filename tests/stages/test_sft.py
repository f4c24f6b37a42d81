"""Supervised fine-tuning as a stage: what is learnt from, and what is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from selfstudy.errors import TrainingError
from selfstudy.models.compute import Compute
from selfstudy.models.format import FormatSettings, bind
from selfstudy.models.load import load_tokenizer
from selfstudy.models.tokenizers import Family
from selfstudy.stages import sft
from selfstudy.stages.base import Inputs
from selfstudy.stages.sft import Sft, SftSettings
from selfstudy.types import SILENT, Completion, Example, Problem
from tests.stages.builders import artifact, model_folder, problem

LONG = 3


def inputs(folder: Path, family: Family = "causal", *, pseudo: list[Example] | None = None) -> Inputs:
    labelled = [problem(n) for n in range(6)]
    text = "He has 3. " * 30 + "\n#### 7"
    labelled[LONG] = Problem(labelled[LONG].id, labelled[LONG].question, "7", text)
    given = {
        "model": (model_folder(folder / "model", family),),
        "problems": (
            artifact(
                folder / "problems",
                {"labelled": labelled, "unlabelled": [problem(n, solved=False) for n in range(10)]},
            ),
        ),
    }
    if pseudo is not None:
        given["pseudo"] = (artifact(folder / "labels", {"labels": pseudo}),)
    return given


def run(given: Inputs, out: Path, **settings: Any) -> dict[str, Any]:
    base = {"learning_rate": 1e-3, "batch_size": 2, "max_steps": 2, "max_completion_tokens": 64}
    stage = Sft(
        settings=SftSettings.parse({**base, **settings}, "sft"),
        format=FormatSettings(),
        compute=Compute(device="cpu", threads=1),
        seed=0,
    )
    out.mkdir()
    return stage.run(given, out, SILENT)


def learnt(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[int, ...]]]:
    """Record what the trainer is given: (problem id, tokens), one for each example."""
    seen: list[tuple[str, tuple[int, ...]]] = []
    original = sft.train

    def recording(model: Any, objective: Any, *rest: Any, **more: Any) -> Any:
        for item in objective.items:
            group = objective.groups[item.group]
            seen.append((group.problem_id, group.completions[item.completions[0]]))
        return original(model, objective, *rest, **more)

    monkeypatch.setattr(sft, "train", recording)
    return seen


@pytest.mark.parametrize("family", ["causal", "seq2seq"])
def test_an_over_long_gold_solution_is_left_out_and_listed_never_cut(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = learnt(monkeypatch)
    given = inputs(tmp_path, family)
    metrics = run(given, tmp_path / "out")
    assert (metrics["examples"], metrics["left_out"]) == (5, 1)
    (listed,) = json.loads((tmp_path / "out" / "left_out.json").read_text())
    assert listed["problem_id"] == f"p/{LONG:03d}"
    assert listed["completion"] > 64
    assert f"p/{LONG:03d}" not in {name for name, _ in seen}
    tokenizer = load_tokenizer(given["model"][0].path)
    format = bind(FormatSettings(), tokenizer, family)
    assert dict(seen) == {f"p/{n:03d}": format.gold(problem(n)).token_ids for n in range(6) if n != LONG}
    assert all(tokens[-1] == tokenizer.eos_token_id for _, tokens in seen)


def test_the_limits_are_inclusive(tmp_path: Path) -> None:
    given = inputs(tmp_path)
    format = bind(FormatSettings(), load_tokenizer(given["model"][0].path), "causal")
    (completion,) = {len(format.gold(problem(n)).token_ids) for n in range(6) if n != LONG}
    (prompt,) = {len(format.prompt_ids(problem(n))) for n in range(6)}
    fits = {"max_completion_tokens": completion, "max_prompt_tokens": prompt}
    assert run(given, tmp_path / "fits", **fits)["left_out"] == 1
    for name, limit in fits.items():
        with pytest.raises(TrainingError, match="all 6 examples or pairs have more tokens"):
            run(given, tmp_path / name, **{**fits, name: limit - 1})


def test_if_nothing_fits_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"6 examples or pairs have .*max_completion_tokens \(3\) allow; raise"):
        run(inputs(tmp_path), tmp_path / "out", max_completion_tokens=3)


def test_pseudo_labels_are_learnt_with_the_tokens_that_were_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their tokens, not those that the tokenizer would make of their text; a cut one without EOS; from the base."""
    seen = learnt(monkeypatch)
    odd = (40, 41, 40, 41, 1)
    pseudo = [
        Example("p/008", Completion("whatever", odd), "pseudo"),
        Example("p/001", Completion("cut", (50, 51), (), "length"), "pseudo"),
    ]
    metrics = run(inputs(tmp_path, pseudo=pseudo), tmp_path / "out")
    assert (metrics["examples"], metrics["pseudo_labels"]) == (7, 2)
    assert ("p/008", odd) in seen
    assert ("p/001", (50, 51)) in seen


def test_writes_a_model_that_remembers_its_form(tmp_path: Path) -> None:
    given = inputs(tmp_path)
    metrics = run(given, tmp_path / "out")
    assert metrics["steps"] == 2
    before, after = (load_file(path / "model.safetensors") for path in (given["model"][0].path, tmp_path / "out"))
    assert before.keys() == after.keys()
    assert any(not before[name].equal(after[name]) for name in before)
    assert json.loads((tmp_path / "out" / "selfstudy.json").read_text())["notation"] == "angle"
    assert "supervised fine-tuning" in (tmp_path / "out" / "README.md").read_text()
