"""Small real runs: real stages, models of a few thousand parameters, a handful of problems."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfstudy.models.load import save_model
from selfstudy.models.tokenizers import train_tokenizer
from tests.fakes import BRACKET_CORPUS, CORPUS, tiny_llama, tiny_t5

SMALL: dict[str, Any] = {
    "extends": "from_scratch",
    "rounds": 1,
    "problems": {
        "train": {"name": "word_problems", "split": "train", "count": 40, "max_steps": 1, "max_number": 5},
        "labelled": 30,
        "dev": {"name": "word_problems", "split": "dev", "count": 6, "max_steps": 1, "max_number": 5},
        "test": {"name": "word_problems", "split": "test", "count": 6, "max_steps": 1, "max_number": 5},
    },
    "sft": {"max_steps": 6, "epochs": None, "batch_size": 8},
    "sampling": {"max_new_tokens": 40, "temperature": 20.0},
    "pairs": {"n": 2, "held_out": 0.1},
    "preference": {"max_steps": 4, "batch_size": 4, "guard": {"every": 2, "problems": 3, "samples": 2}},
    "labels": {"n": 2},
    "evaluation": {"samples": 2, "ks": [1, 2]},
    "checkpoint_every": 1,
    "max_overlap": 1.0,  # problems of one step with numbers up to 5 are all alike
    "compute": {"threads": 1},
    # Such a model never gets one right; so any text that ends counts as right or wrong by the parity of its length.
    "verifier": "parity.py",
}

PARITY = '''
from selfstudy.judging.verifiers import Judgement, Verifier


class Parity(Verifier):
    """Right if the text has an even number of characters."""

    def verify(self, problem, text):
        return Judgement("wrong" if len(text) % 2 else "right", str(len(text)), "by parity")
'''


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a maker of configs; the working directory is a fresh one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "parity.py").write_text(PARITY)

    def make(family: str, **changes: Any) -> str:
        folder = tmp_path / family
        if not folder.exists():
            tokenizer = train_tokenizer(CORPUS if family == "causal" else BRACKET_CORPUS, family, 320)
            build = tiny_llama if family == "causal" else tiny_t5
            save_model(build(len(tokenizer)), tokenizer, folder, {})
        path = tmp_path / f"{family}.yaml"
        path.write_text(yaml.safe_dump({**SMALL, "model": str(folder), **changes}))
        return str(path)

    return make


def hashes(root: Path) -> dict[str, dict[str, str]]:
    """Return the digests of all hashed files, by artifact."""
    manifests = sorted((root / "artifacts").glob("*/manifest.json"))
    return {
        path.parent.name: {name: facts["sha256"] for name, facts in json.loads(path.read_text())["files"].items()}
        for path in manifests
    }
