"""Names of models: presets, folders, the Hub (never reached here: its client is replaced by what it would answer)."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from selfstudy.errors import ModelError
from selfstudy.models import resolve as module
from selfstudy.models.resolve import resolve

COMMIT = "0" * 40


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty Hub cache, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def put(cache: Path, *names: str, revision: str = "main") -> Path:
    """Lay files into the cache as the client does."""
    repo = cache / "models--org--small"
    snapshot = repo / "snapshots" / COMMIT
    snapshot.mkdir(parents=True, exist_ok=True)
    (repo / "refs").mkdir(exist_ok=True)
    (repo / "refs" / revision).write_text(COMMIT)
    for name in names:
        (snapshot / name).write_text("{}")
    return snapshot


def test_presets_and_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve("t5-tiny") == module.Resolved("t5-tiny", "preset", None)
    (tmp_path / "t5-tiny").mkdir()
    assert resolve("t5-tiny").kind == "preset"
    assert resolve("./t5-tiny") == module.Resolved("./t5-tiny", "folder", tmp_path / "t5-tiny")
    (tmp_path / "org" / "mine").mkdir(parents=True)
    assert resolve("org/mine").path == tmp_path / "org" / "mine"


def test_packaged_models_come_first(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PACKAGED", tmp_path / "weights")
    folder = tmp_path / "weights" / "t5-tiny"
    folder.mkdir(parents=True)
    assert resolve("t5-tiny").kind == "preset"  # an empty folder is no model
    (folder / "config.json").write_text("{}")
    assert resolve("t5-tiny") == module.Resolved("t5-tiny", "folder", folder)
    with pytest.raises(ModelError, match="is not a packaged model or architecture preset; did you mean 't5-tiny'"):
        resolve("t5-tyni")


def test_complete_cache_needs_no_network(cache):
    snapshot = put(cache, "config.json", "model.safetensors", "tokenizer.json")
    assert resolve("org/small") == module.Resolved("org/small", "hub", snapshot)
    assert resolve(f"org/small@{COMMIT}", download=False).path == snapshot


@pytest.mark.parametrize("absent", ["config.json", "model.safetensors", "tokenizer.json"])
def test_incomplete_cache(cache, absent):
    put(cache, *({"config.json", "model.safetensors", "tokenizer.json"} - {absent}))
    assert resolve("org/small", download=False).path is None


def test_missing_shards_are_incomplete(cache):
    snapshot = put(cache, "config.json", "tokenizer.json", "model-1.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    assert resolve("org/small", download=False).path is None


def test_planning_works_offline(cache):
    assert resolve("org/small@v1.0", download=False) == module.Resolved("org/small@v1.0", "hub", None)


def test_offline(cache):
    with pytest.raises(ModelError, match=r"the Hub cannot be reached.*hf download org/small"):
        resolve("org/small")


def failing(error):
    def download(*_, local_files_only=False, **__):
        raise LocalEntryNotFoundError("not here") if local_files_only else error

    return download


def http(kind, status=404):
    return kind("told so", response=SimpleNamespace(status_code=status, headers={}, request=None))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (http(GatedRepoError, 403), r"is gated: accept its terms on https://huggingface.co/org/small.*hf auth login"),
        (http(RepositoryNotFoundError), r"no folder of that name .* no such repository on the Hub"),
        (http(RevisionNotFoundError), r"org/small has no revision 'v9'"),
        (http(HfHubHTTPError, 503), r"the Hub cannot be reached \(told so\)"),
        (ConnectionError("no route"), r"the Hub cannot be reached \(no route\)"),
    ],
)
def test_what_the_hub_may_answer(monkeypatch, error, message):
    monkeypatch.setattr(module, "snapshot_download", failing(error))
    with pytest.raises(ModelError, match=message):
        resolve("org/small@v9")


def test_pickles_are_never_asked_for(monkeypatch, tmp_path):
    asked = {}

    def download(repo, *, local_files_only=False, **settings):
        if local_files_only:
            raise LocalEntryNotFoundError("not here")
        asked.update(settings, repo=repo)
        return str(tmp_path)

    monkeypatch.setattr(module, "snapshot_download", download)
    assert resolve("org/small@v1").path == tmp_path
    assert (asked["repo"], asked["revision"]) == ("org/small", "v1")
    assert not any(pattern.endswith((".bin", ".pt", "*")) for pattern in asked["allow_patterns"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("t5-tinny", r"did you mean 't5-tiny'"),
        ("./t5-tinny", r"not a folder"),
        ("a/b/c", r"not a Hub id of the form org/name"),
        ("~nosuchuser/model/here", r"not a folder"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(ModelError, match=message):
        resolve(name)
