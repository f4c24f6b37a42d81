"""Where data sets lie: an explicit path, the folder SELFSTUDY_DATA, or the Hugging Face Hub."""

from __future__ import annotations

import os
from abc import abstractmethod
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from selfstudy.config import read_dotenv
from selfstudy.errors import DataError
from selfstudy.problems.sources import ProblemSource

_SUFFIXES = (".parquet", ".jsonl", ".json")  # in order of preference, where the Hub has several forms of one split


@dataclass(frozen=True, slots=True)
class Hub:
    """Files of a data set on the Hub: for each pattern, in order, those of the first suffix that matches."""

    repo: str
    patterns: tuple[str, ...]


class AbsentError(DataError):
    """A published data set is not on this machine."""


class PublishedSource(ProblemSource):
    """A source whose files others publish."""

    @abstractmethod
    def _locate(self, *, download: bool) -> tuple[Path, ...]:
        """Call :func:`locate` with what the settings say."""

    def download(self) -> None:
        """Fetch the files from the Hub where they are not on this machine."""
        self._locate(download=True)

    def files(self) -> tuple[Path, ...]:
        """Return the files, in the order in which they are read."""
        return self._locate(download=False)


def locate(
    folder: str, names: tuple[str, ...], path: str | None, hub: Hub | None, *, download: bool = False
) -> tuple[Path, ...]:
    """Find the files of a data set: where the settings say, in SELFSTUDY_DATA, else in the Hub's cache.

    Args:
        folder: Its folder inside SELFSTUDY_DATA.
        names: Its file names; all are needed.
        path: A file (for a data set of one file) or a folder, as the settings say; nothing else is looked at then.
        hub: Where the Hub has it; None where it does not.
        download: Whether what is in none of these may be fetched from the Hub.

    Raises:
        DataError: Not found; the message lists where it was looked for and what to do.
    """
    if path is not None:
        given = Path(path).expanduser()
        if given.is_dir():
            return _all_of(given, names)
        if not given.is_file():
            raise DataError(f"{path}: no such file or folder (path of {folder}; looked in {Path.cwd()})")
        return (given, *_all_of(given.parent, names[1:]))
    root = os.environ.get("SELFSTUDY_DATA") or read_dotenv(Path(".env")).get("SELFSTUDY_DATA")
    looked = "SELFSTUDY_DATA is not set"
    if root:
        local = Path(root).expanduser() / folder
        if all((local / name).is_file() for name in names):
            return tuple(local / name for name in names)
        looked = f"no {', '.join(names)} in {local}"
    if hub is None:
        raise AbsentError(
            f"{folder}: not found ({looked}, and the Hub does not have it); set SELFSTUDY_DATA to a folder that "
            f"holds {', '.join(f'{folder}/{name}' for name in names)}, or give its path: setting"
        )
    if found := _cached(hub):
        return found
    remedy = f"set SELFSTUDY_DATA to a folder that holds {folder}/, or give its path: setting ({looked})"
    if not download:
        raise AbsentError(f"{folder}: {hub.repo} is not on this machine yet; a run downloads it, or {remedy}")
    return _download(folder, hub, remedy)


def _all_of(folder: Path, names: tuple[str, ...]) -> tuple[Path, ...]:
    for name in names:
        if not (folder / name).is_file():
            raise DataError(f"{folder}: holds no {name}")
    return tuple(folder / name for name in names)


def _cached(hub: Hub) -> tuple[Path, ...]:
    """Return the files if an earlier download left all of them, without asking the network."""
    try:
        return _chosen(hub, Path(snapshot_download(hub.repo, repo_type="dataset", local_files_only=True)))
    except (LocalEntryNotFoundError, DataError):
        return ()


def _download(folder: str, hub: Hub, remedy: str) -> tuple[Path, ...]:
    page = f"https://huggingface.co/datasets/{hub.repo}"
    wanted = [pattern + suffix for pattern in hub.patterns for suffix in _SUFFIXES]
    try:
        place = Path(snapshot_download(hub.repo, repo_type="dataset", allow_patterns=wanted))
    except GatedRepoError:
        raise DataError(
            f"{folder}: {hub.repo} is gated: accept its terms at {page}, then run `hf auth login`; or {remedy}"
        ) from None
    except RepositoryNotFoundError:
        raise DataError(
            f"{folder}: {hub.repo} is not on the Hub, or needs a login: run `hf auth login` if {page} is private; "
            f"or {remedy}"
        ) from None
    # OSError is what every failed connection derives from, the offline mode's included.
    except (HfHubHTTPError, EntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{folder}: could not download {hub.repo} ({type(error).__name__}: {reason:.200}); "
            f"check the connection, or {remedy}"
        ) from error
    return _chosen(hub, place)


def _chosen(hub: Hub, place: Path) -> tuple[Path, ...]:
    return tuple(file for pattern in hub.patterns for file in _matches(place, pattern, hub))


def _matches(place: Path, pattern: str, hub: Hub) -> list[Path]:
    names = sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())
    for suffix in _SUFFIXES:
        if found := [place / name for name in names if fnmatch(name, pattern + suffix)]:
            return found
    raise DataError(
        f"{hub.repo}: has no file {pattern} ({' or '.join(_SUFFIXES)}) any more; "
        "download it by hand and give its path: setting"
    )
