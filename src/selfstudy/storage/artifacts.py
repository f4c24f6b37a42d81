"""Artifacts: complete, immutable folders named by what they were made from.

``<root>/artifacts/sample-c70072eef3d029c1/`` holds files and ``manifest.json``; ``….tmp/`` is one in progress. The
manifest lists every file with size and sha256 and the stage's metrics; seconds, host and versions stand in a section of
their own that two equal runs need not share.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from selfstudy.errors import StorageError
from selfstudy.storage.atomic import rename_folder, write_json

MANIFEST = "manifest.json"
FORMAT = 1  # of the manifest


@dataclass(frozen=True, slots=True)
class Artifact:
    """A complete folder: the output of a stage, or a leaf such as a base model's own folder."""

    kind: str
    fingerprint: str
    path: Path

    def manifest(self) -> dict[str, Any]:
        """Read the manifest."""
        tree = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
        assert isinstance(tree, dict)
        return tree

    def metrics(self) -> dict[str, Any]:
        """Read the metrics that the stage returned."""
        metrics = self.manifest()["metrics"]
        assert isinstance(metrics, dict)
        return metrics


@dataclass(frozen=True, slots=True)
class Store:
    """The artifacts below one run root."""

    root: Path

    @property
    def folder(self) -> Path:
        """Where the artifacts lie."""
        return self.root / "artifacts"

    def find(self, kind: str, fingerprint: str) -> Artifact | None:
        """Return the artifact if it is there and complete.

        Raises:
            StorageError: It is there, but a file is missing or has another size, or another version wrote it.
        """
        artifact = Artifact(kind, fingerprint, self.folder / f"{kind}-{fingerprint}")
        if not artifact.path.exists():
            return None
        remedy = f"; delete {artifact.path} and run again to make it anew"
        try:
            manifest = artifact.manifest()
        except (OSError, ValueError) as error:
            raise StorageError(f"{artifact.path}: manifest cannot be read ({error}){remedy}") from None
        if manifest.get("format") != FORMAT:
            raise StorageError(
                f"{artifact.path}: manifest format {manifest.get('format')}, this version reads {FORMAT}{remedy}"
            )
        for name, facts in manifest["files"].items():
            file = artifact.path / name
            size = file.stat().st_size if file.is_file() else None
            if size != facts["size"]:
                found = "is missing" if size is None else f"has {size} bytes instead of {facts['size']}"
                raise StorageError(f"{file} {found}{remedy}")
        return artifact

    def in_progress(self, kind: str, fingerprint: str) -> bool:
        """Whether an interrupted attempt left something to continue from."""
        return self.unfinished(kind, fingerprint) is not None

    def unfinished(self, kind: str, fingerprint: str) -> Path | None:
        """Return the folder that an interrupted or running attempt works in, if there is one."""
        working = self._working(kind, fingerprint)
        return working if working.exists() else None

    def _working(self, kind: str, fingerprint: str) -> Path:
        return self.folder / f"{kind}-{fingerprint}.tmp"

    @contextmanager
    def building(self, kind: str, fingerprint: str) -> Iterator[Path]:
        """Lock the artifact and yield its working folder, with what an interrupted attempt left in it.

        Raises:
            StorageError: Another process holds it; says which.
        """
        working = self._working(kind, fingerprint)
        self.folder.mkdir(parents=True, exist_ok=True)
        with _lock(self.folder / f".{kind}-{fingerprint}.lock", what=working.name.removesuffix(".tmp")):
            if (working / MANIFEST).is_file():  # killed while publishing
                self._finish(kind, fingerprint)
            working.mkdir(exist_ok=True)
            yield working

    def publish(
        self, kind: str, fingerprint: str, *, recipe: Mapping[str, Any], metrics: Mapping[str, Any], seconds: float
    ) -> Artifact:
        """Turn the working folder into the artifact: write the manifest, drop scratch folders, rename.

        The manifest comes first: until it is there an attempt can go on from its scratch, and once it is there
        :meth:`building` only finishes what is left to do here.

        Args:
            kind: The stage's kind.
            fingerprint: The artifact's.
            recipe: What the fingerprint was made from; kept for people.
            metrics: What the stage returned.
            seconds: Wall-clock seconds of the attempt that finished it.
        """
        working = self._working(kind, fingerprint)
        for entry in sorted(working.glob(".*")):
            if entry.is_file():  # a temporary file of a killed attempt
                entry.unlink()
        files = sorted(entry for entry in working.iterdir() if entry.is_file() and entry.name != MANIFEST)
        manifest = {
            "format": FORMAT,
            "kind": kind,
            "fingerprint": fingerprint,
            "made_from": recipe,
            "metrics": metrics,
            "files": {file.name: {"size": file.stat().st_size, "sha256": sha256(file)} for file in files},
            "environment": {
                "seconds": round(seconds, 3),
                "host": socket.gethostname(),
                "platform": platform.platform(),
                "python": platform.python_version(),
                **{name: version(name) for name in ("selfstudy", "torch", "transformers", "tokenizers")},
                "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            },
        }
        write_json(working / MANIFEST, manifest)
        return self._finish(kind, fingerprint)

    def _finish(self, kind: str, fingerprint: str) -> Artifact:
        """Drop scratch folders (checkpoints and the like: an artifact is flat) and give the folder its name."""
        working, final = self._working(kind, fingerprint), self.folder / f"{kind}-{fingerprint}"
        for entry in sorted(working.iterdir()):
            if entry.is_dir():
                shutil.rmtree(entry)
        rename_folder(working, final)
        return Artifact(kind, fingerprint, final)


@contextmanager
def _lock(path: Path, what: str) -> Iterator[None]:
    """Hold an advisory lock that the kernel drops when its holder dies."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
            os.close(descriptor)
            raise StorageError(f"{what} is being made by {holder}; wait for it, or stop it and run again") from None
        if path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino:
            break
        os.close(descriptor)  # its last holder removed the file while we waited: ours is a name no one else sees
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
        path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Return a file's digest in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_paths(paths: tuple[Path, ...], cache: Path, patterns: tuple[str, ...] = ("*",)) -> str:
    """Return one digest for the contents of files and folders, whatever their place and name.

    Args:
        paths: Files, or folders whose files count with their relative names.
        cache: A JSON file of digests known by path, size, mtime and inode, so that large weights are read once.
        patterns: Which files of a folder count.

    Raises:
        StorageError: A path does not exist.
    """
    known: dict[str, str] = json.loads(cache.read_text()) if cache.is_file() else {}
    found = dict(known)
    parts: list[tuple[str, str]] = []
    for path in paths:
        if not path.exists():
            raise StorageError(f"{path}: no such file or folder")
        found_files = {p for pattern in patterns for p in path.rglob(pattern) if p.is_file()}
        files = sorted(found_files) if path.is_dir() else [path]
        for file in files:
            state = file.stat()
            key = f"{file.resolve()}|{state.st_size}|{state.st_mtime_ns}|{state.st_ino}"
            if key not in found:
                found[key] = sha256(file)
            parts.append((str(file.relative_to(path)) if path.is_dir() else "", found[key]))
    if found != known:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_json(cache, found)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
