"""The base models that come with the package: small, with a card, and able to solve what they have read."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors import safe_open

from selfstudy import find_model
from selfstudy.models.resolve import packaged_models
from selfstudy.problems.sources import read_problems
from selfstudy.problems.sources.word_problems import WordProblems

MODELS = ("tiny-llama", "tiny-t5")


def test_these_come_along() -> None:
    assert tuple(packaged_models()) == MODELS


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_small_and_in_half_precision(name: str) -> None:
    path = packaged_models()[name]
    assert sum(file.stat().st_size for file in path.iterdir()) < 12e6
    with safe_open(path / "model.safetensors", "pt") as weights:
        assert {weights.get_slice(key).get_dtype() for key in weights.keys()} == {"BF16"}  # noqa: SIM118


@pytest.mark.parametrize("name", MODELS)
def test_cards_say_what_they_are(name: str) -> None:
    card = (packaged_models()[name] / "README.md").read_text(encoding="utf-8")
    for said in ("pretrained on", "tokens", "loss", "| test | 500 |", "| transfer-stories | 300 |", "pretrain tiny_"):
        assert said in card


@pytest.mark.parametrize("name", MODELS)
def test_they_solve_problems_such_as_they_have_read_and_few_that_are_longer(name: str, tmp_path: Path) -> None:
    """Otherwise self-training would have nothing to start from, or nothing to learn."""
    model = find_model(name, tmp_path)

    def solved(settings: WordProblems) -> int:
        problems, _ = read_problems(settings, on_bad_rows="refuse")
        return sum(verdict.outcome == "right" for _, verdict in model.sample(problems, temperature=0.0))

    assert solved(WordProblems(split="pretrain", seed=1, count=40, max_steps=1)) >= 30
    assert solved(WordProblems(split="test", count=40, min_steps=4, max_steps=4)) <= 10
