"""A fresh base model: a function of preset, seed and text; its tokenizer learns nothing from held-out text."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfstudy.models.format import FormatSettings
from selfstudy.models.load import load_model, load_tokenizer
from selfstudy.stages.create_model import CreateModel
from selfstudy.types import SILENT
from tests.stages.builders import artifact, problem


@pytest.mark.parametrize("preset", ["llama-tiny", "t5-tiny"])
def test_the_same_bytes_for_the_same_seed_and_text(preset: str, tmp_path: Path) -> None:
    def create(name: str, seed: int, held_out: str) -> dict[str, bytes]:
        splits = {
            "unlabelled": [problem(n, solved=False) for n in range(30)],
            "labelled": [problem(n) for n in range(10)],
            "test": [problem(99)],
        }
        folder = artifact(tmp_path / f"{name}-problems", splits)
        (folder.path / "dev.jsonl").write_text(held_out)
        out = tmp_path / name
        out.mkdir()
        stage = CreateModel(preset=preset, vocab_size=320, format=FormatSettings(), seed=seed)
        metrics = stage.run({"problems": (folder,)}, out, SILENT)
        model, tokenizer = load_model(out), load_tokenizer(out)
        assert metrics == {"parameters": model.num_parameters(), "vocabulary": len(tokenizer)}
        assert len(tokenizer) <= 320
        return {path.name: path.read_bytes() for path in out.iterdir()}

    first = create("a", 0, "")
    assert create("b", 0, "this text is never read") == first
    other = create("c", 1, "")
    assert {name for name in first if first[name] != other[name]} == {"model.safetensors", "README.md"}
