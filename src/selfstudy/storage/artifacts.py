"""Artifacts: complete, immutable folders named by what they were made from.

``<root>/artifacts/sample-c70072eef3d029c1/`` holds files and ``manifest.json``; ``….tmp/`` is one in progress. The
manifest lists every file with size and sha256 and the stage's metrics; seconds, memory, host and versions stand in a
section of their own that two equal runs need not share. Its ``seal`` is a digest of all else in it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
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
_KEYS = {"format", "kind", "fingerprint", "made_from", "metrics", "files", "environment", "seal"}
_COARSEST = 3 * 10**9  # ns: what changed within them may change again with the same mtime (two seconds on FAT)
_NAME = re.compile(r"[\w-]+-[0-9a-z]+", re.ASCII)  # of an artifact: kind and fingerprint, and no way out of the folder


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
            StorageError: It is there, but a file is missing, has another size or should not be there; or its manifest
                is damaged or another version's. :meth:`check` reads the files, too.
        """
        artifact = Artifact(kind, fingerprint, self.folder / _name(kind, fingerprint))
        if not artifact.path.exists():
            return None
        files = _listed(artifact)
        for name, facts in files.items():
            file = artifact.path / name
            size = file.stat().st_size if file.is_file() else None
            if size != facts["size"]:
                found = "is missing" if size is None else f"has {size} bytes instead of {facts['size']}"
                raise StorageError(f"{file} {found}{_anew(artifact)}")
        for entry in sorted(artifact.path.iterdir()):
            if entry.name not in files and entry.name != MANIFEST and not entry.name.startswith("."):
                raise StorageError(f"{entry} is no part of what was made; move it elsewhere{_anew(artifact, 'or ')}")
        return artifact

    def check(self, artifact: Artifact) -> None:
        """Read every file of an artifact and compare it with what was made.

        Raises:
            StorageError: A file holds something else.
        """
        changed = [name for name, facts in _listed(artifact).items() if sha256(artifact.path / name) != facts["sha256"]]
        if changed:
            raise StorageError(
                f"{artifact.path}: the contents of {', '.join(changed)} are not those that were made: a disk's fault, "
                f"or edited{_anew(artifact)}"
            )

    def unfinished(self, kind: str, fingerprint: str) -> Path | None:
        """Return the folder that an interrupted or running attempt works in, if there is one."""
        working = self._working(kind, fingerprint)
        return working if working.exists() else None

    def _working(self, kind: str, fingerprint: str) -> Path:
        return self.folder / f"{_name(kind, fingerprint)}.tmp"

    @contextmanager
    def building(self, kind: str, fingerprint: str) -> Iterator[Path]:
        """Lock the artifact and yield its working folder, with what an interrupted attempt left in it.

        Raises:
            StorageError: Another process holds it, and which; or there is a link in it, which may lead elsewhere.
        """
        working = self._working(kind, fingerprint)
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / f".{kind}-{fingerprint}.lock", what=working.name.removesuffix(".tmp")):
            refuse_links(working)
            if (working / MANIFEST).is_file():  # killed while publishing
                self._finish(kind, fingerprint)
            working.mkdir(exist_ok=True)
            yield working

    def publish(
        self,
        kind: str,
        fingerprint: str,
        *,
        recipe: Mapping[str, Any],
        metrics: Mapping[str, Any],
        seconds: float,
        peak_memory: int | None = None,
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
            peak_memory: Bytes that it held at most, where that is known.
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
                "peak_memory": peak_memory,
                "host": socket.gethostname(),
                "platform": platform.platform(),
                "python": platform.python_version(),
                **{name: version(name) for name in ("selfstudy", "torch", "transformers", "tokenizers")},
                "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            },
        }
        write_json(working / MANIFEST, {**manifest, "seal": seal(manifest)})
        return self._finish(kind, fingerprint)

    def discard(self, name: str) -> None:
        """Remove an artifact, or what an attempt left behind, by the name of its folder.

        Raises:
            StorageError: A process is making it.
        """
        what = name.removesuffix(".tmp")
        with locked(self.folder / f".{what}.lock", what):
            doomed = self.folder / (name if name.startswith(".") else f".{name}.doomed")
            os.replace(self.folder / name, doomed)  # at once, so that nobody finds half of it
            shutil.rmtree(doomed)

    def refuse_live(self) -> None:
        """Look whether anything is being made here.

        Raises:
            StorageError: It is; says by which process.
        """
        for path in sorted(self.folder.glob(".*.lock")):
            with locked(path, path.name[1:].removesuffix(".lock")):
                pass  # of a dead process, and gone now

    def _finish(self, kind: str, fingerprint: str) -> Artifact:
        """Drop scratch folders (checkpoints and the like: an artifact is flat) and give the folder its name."""
        working, final = self._working(kind, fingerprint), self.folder / _name(kind, fingerprint)
        for entry in sorted(working.iterdir()):
            if entry.is_dir():
                shutil.rmtree(entry)
        rename_folder(working, final)
        return Artifact(kind, fingerprint, final)


def _name(kind: str, fingerprint: str) -> str:
    name = f"{kind}-{fingerprint}"
    if not _NAME.fullmatch(name):
        raise StorageError(
            f"{name!r:.100} is no name of an artifact; the plan that says so was damaged or tampered with"
        )
    return name


def _anew(artifact: Artifact, joint: str = "") -> str:
    return f"; {joint}delete {artifact.path} and run again to make it anew"


def _listed(artifact: Artifact) -> Mapping[str, Mapping[str, Any]]:
    """Return the files that the manifest lists, with their facts.

    Raises:
        StorageError: It cannot be read, is another version's or another artifact's, or not as it was written.
    """
    where, anew = artifact.path, _anew(artifact)
    try:
        manifest = artifact.manifest()
        if manifest.get("format") != FORMAT:
            raise StorageError(f"{where}: manifest format {manifest.get('format')}, this version reads {FORMAT}{anew}")
        files = {name: {"size": facts["size"], "sha256": facts["sha256"]} for name, facts in manifest["files"].items()}
        named = f"{manifest['kind']}-{manifest['fingerprint']}"
    except (OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        raise StorageError(f"{where}: manifest cannot be read ({error!r:.200}){anew}") from None
    sealed = manifest.keys() == _KEYS and manifest["seal"] == seal(manifest)
    if not sealed or any(Path(name).name != name for name in files):
        raise StorageError(f"{where}: the manifest is not as it was written{anew}")
    if named != _name(artifact.kind, artifact.fingerprint):
        raise StorageError(f"{where}: this is {named} under another name{anew}")
    return files


def seal(manifest: Mapping[str, Any]) -> str:
    """Return a digest of what a manifest, or another tree of JSON, says, the seal apart."""
    tree = json.loads(json.dumps(manifest))  # as it will be read
    text = json.dumps({key: value for key, value in tree.items() if key != "seal"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def refuse_links(folder: Path) -> None:
    """Refuse a folder that is to be written to and is or holds a symbolic link: what is written may land elsewhere.

    Raises:
        StorageError: There is one.
    """
    for path in (folder, *sorted(folder.rglob("*"))):
        if path.is_symlink():
            raise StorageError(
                f"{path} is a link to {os.readlink(path)}, and what a run writes must stay below its root; remove it"
            )


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold an advisory lock that the kernel drops when its holder dies.

    Raises:
        StorageError: Another process holds it, and which.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
            os.close(descriptor)
            raise StorageError(f"{what} is being made by {holder}; wait for it, or stop it and run again") from None
        if _is_at(descriptor, path):
            break
        os.close(descriptor)  # its last holder removed the file while we waited: ours is a name no one else sees
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
        path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def sha256(path: Path) -> str:
    """Return a file's digest in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_paths(paths: tuple[Path, ...], cache: Path, patterns: tuple[str, ...] = ("**/*",)) -> str:
    """Return one digest for the contents of files and folders, whatever their place and name.

    Args:
        paths: Files, or folders whose files count with their relative names.
        cache: A JSON file of digests known by path, size, mtime and inode, so that large weights are read once; not of
            files that changed just now, and may change again without another mtime.
        patterns: Which files of a folder count.

    Raises:
        StorageError: A path does not exist.
    """
    known = _known_digests(cache)
    found = dict(known)
    parts: list[tuple[str, str]] = []
    for path in paths:
        if not path.exists():
            raise StorageError(f"{path}: no such file or folder")
        found_files = {p for pattern in patterns for p in path.glob(pattern) if p.is_file()}
        files = sorted(found_files) if path.is_dir() else [path]
        for file in files:
            now, state = time.time_ns(), file.stat()  # before it is read: it may change meanwhile
            key = f"{file.resolve()}|{state.st_size}|{state.st_mtime_ns}|{state.st_ino}"
            digest = found.get(key) or sha256(file)
            if abs(now - state.st_mtime_ns) > _COARSEST:
                found[key] = digest
            parts.append((str(file.relative_to(path)) if path.is_dir() else "", digest))
    if found != known:
        _keep_digests(cache, found)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _keep_digests(cache: Path, found: Mapping[str, str]) -> None:
    """Write digests beside those that others have written since; leave it where another process is at it."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(cache.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        write_json(cache, {**_known_digests(cache), **found})
    except BlockingIOError:
        pass  # the digests are made again the next time
    finally:
        os.close(descriptor)


def _known_digests(cache: Path) -> dict[str, str]:
    try:
        known = json.loads(cache.read_text(encoding="utf-8")) if cache.is_file() else {}
    except ValueError:
        return {}  # damaged: it only saves time
    return known if isinstance(known, dict) else {}
