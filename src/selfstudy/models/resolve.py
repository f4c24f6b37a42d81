"""Find what a model name means: a packaged model, an architecture preset, a folder, or a Hugging Face repository."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from selfstudy.errors import ModelError, did_you_mean
from selfstudy.models.load import missing_weights
from selfstudy.models.presets import PRESETS

# Small base models with weights that come with the package.
_PACKAGED = Path(__file__).parents[1] / "weights"
_HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
# Safetensors, never pickles; folders inside a repository hold the same weights in other formats.
_WANTED = ["*.safetensors", "*.json", "*.model", "*.spm", "*.txt", "*.jinja"]
_UNWANTED = ["*/*", "consolidated*"]


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a model name means.

    Attributes:
        name: As the user wrote it.
        kind: Where it comes from; packaged models are folders.
        path: The model's folder; None for a preset, and for a Hub model that is not in the local cache yet.
    """

    name: str
    kind: Literal["preset", "folder", "hub"]
    path: Path | None


def resolve(name: str, *, download: bool = True) -> Resolved:
    """Find the model called ``name``: packaged, a preset, an existing folder, or ``org/name[@revision]`` on the Hub.

    A Hub model that lies complete in the local cache is taken from there without asking the network.

    Args:
        name: The first of these that there is counts; write ``./name`` for a folder that is called like a preset.
        download: Whether a Hub model may be fetched. Without it the path stays None, so that planning works offline.

    Raises:
        ModelError: Nothing is called ``name``, or it cannot be fetched; says what to do.
    """
    packaged = packaged_models()
    if name in packaged:
        return Resolved(name, "folder", packaged[name])
    if name in PRESETS:
        return Resolved(name, "preset", None)
    folder = Path(os.path.expanduser(name))  # Path's own raises where there is no such user
    if folder.is_dir():
        return Resolved(name, "folder", folder.resolve())
    match = _HUB_ID.fullmatch(name)
    if match is None or name.startswith("."):
        raise ModelError(
            f"model '{name}' is not a packaged model or architecture preset"
            f"{did_you_mean(name, [*packaged, *PRESETS]).rstrip('?')}, not a folder "
            f"(looked in {Path.cwd()}), and not a Hub id of the form org/name or org/name@revision"
        )
    cached = _cached(match["repo"], match["revision"])
    if cached is not None or not download:
        return Resolved(name, "hub", cached)
    return Resolved(name, "hub", _fetch(name, match["repo"], match["revision"]))


def packaged_models() -> dict[str, Path]:
    """Return the folders of the models that come with the package, by name."""
    return {config.parent.name: config.parent for config in sorted(_PACKAGED.glob("*/config.json"))}


def _cached(repo: str, revision: str | None) -> Path | None:
    """Return the local snapshot if a model and a tokenizer are complete in it."""
    try:
        path = Path(snapshot_download(repo, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    complete = (path / "config.json").is_file() and missing_weights(path) is None
    return path if complete and any((path / file).is_file() for file in _TOKENIZERS) else None


def _fetch(name: str, repo: str, revision: str | None) -> Path:
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=_WANTED, ignore_patterns=_UNWANTED))
    except GatedRepoError as error:  # a RepositoryNotFoundError too, so it comes first
        raise ModelError(
            f"model '{name}' is gated: accept its terms on https://huggingface.co/{repo}, then run `hf auth login` "
            "or set HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"model '{name}': there is no folder of that name in {Path.cwd()} and no such repository on the Hub "
            "(a private one needs `hf auth login` or HF_TOKEN)"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(
            f"model '{name}': {repo} has no revision '{revision}'; leave it out or name a branch, a tag or a commit"
        ) from error
    except HFValidationError as error:
        raise ModelError(f"model '{name}' is not a Hub id: {error}") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        first = str(error).strip().split("\n", 1)[0]
        pinned = f" --revision {revision}" if revision else ""
        raise ModelError(
            f"model '{name}': there is no folder of that name in {Path.cwd()}, it is not complete in the local cache, "
            f"and the Hub cannot be reached ({first}). Fetch it where there is a network with "
            f"`hf download {repo}{pinned}`, or give the path of a folder"
        ) from error
