"""A folder such as the pages speak of: a finished quickstart, a table of problems, a model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest

from selfstudy.models.load import save_model
from selfstudy.models.tokenizers import train_tokenizer
from tests.docs.pages import ROOT
from tests.docs.small import SMALL, run
from tests.fakes import CORPUS, tiny_llama


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Carry out the quickstart, made small, and return the folder that it was started in; not to be changed."""
    folder = tmp_path_factory.mktemp("pages")
    for name in ("train.csv", "test.csv"):
        shutil.copy(ROOT / "examples" / "own_problems" / name, folder / name)
    tokenizer = train_tokenizer(CORPUS, "causal", 320)
    save_model(tiny_llama(len(tokenizer)), tokenizer, folder / "my-model", {})
    with chdir(folder):
        assert run(["run", "quickstart", *SMALL, "--name", "quickstart"]) == 0
    return folder


@pytest.fixture
def workplace(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a copy of that folder; what is made there, no other test need make again."""
    copy = tmp_path / "here"
    shutil.copytree(finished, copy)
    monkeypatch.chdir(copy)
    yield copy
    made = {path.name for path in (finished / "selfstudy-runs" / "artifacts").iterdir()}
    for path in (copy / "selfstudy-runs" / "artifacts").iterdir():
        if path.name not in made and (path / "manifest.json").is_file():
            shutil.copytree(path, finished / "selfstudy-runs" / "artifacts" / path.name)
