"""Atomic writes: a file or folder is either there, whole and flushed, or not there at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling to write; on success it is flushed and renamed to ``path``, on failure removed."""
    temporary = path.with_name(f".{path.name}.writing")
    if temporary.is_symlink():  # or what is written would land elsewhere
        temporary.unlink()
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write JSON for people and for hashing: sorted keys, indented, one trailing newline."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def write_json_rows(path: Path, rows: Iterable[Any]) -> None:
    """Write a list as :func:`write_json` does, a row at a time."""
    with replacing(path) as temporary, temporary.open("w", encoding="ascii", newline="\n") as file:
        before = "[\n"
        for row in rows:
            text = json.dumps(row, indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False)
            file.write(before + " " + text.replace("\n", "\n "))
            before = ",\n"
        file.write("[]\n" if before == "[\n" else "\n]\n")


@contextmanager
def publish_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling folder to fill; on success it is flushed and renamed to ``path``.

    What an earlier, killed attempt left is cleared first. ``path`` itself must not exist when the block ends.
    """
    temporary = path.with_name(f".{path.name}.writing")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        rename_folder(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def as_os_error(path: Path) -> Iterator[None]:
    """Raise what safetensors and tokenizers say of a disk as what it is: an :class:`OSError` that names the place."""
    try:
        yield
    except Exception as error:
        # Tokenizers know no kind of their own.
        if not isinstance(error, SafetensorError) and type(error) is not Exception:
            raise
        raise OSError(f"{path} cannot be written: {error}") from error


def rename_folder(source: Path, target: Path) -> None:
    """Flush everything in ``source``, then give it its final name."""
    for entry in sorted(source.rglob("*")):
        _flush(entry)
    _flush(source)
    os.rename(source, target)
    _flush(target.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
