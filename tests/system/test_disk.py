"""A disk that is full or cannot be written: an error that says so, and nothing lost; tests/stress has every place."""

from __future__ import annotations

import errno
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import selfstudy
from selfstudy.cli import main
from tests.system.conftest import hashes


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Have the system refuse larger files to this process, which writes no bytecode meanwhile: it could be cut off."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    writes_none = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sys.dont_write_bytecode = writes_none


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what a command that fails says."""
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert stopped.value.code == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert "Traceback" not in shown
    assert "what was finished is kept: mend that, and run again" in shown
    return shown


def test_files_that_may_not_grow(small: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    """The limit stops, in turn, records that Python writes and weights that Rust does."""
    config = small("causal")
    for limit in (2_000, 60_000):
        with files_of_at_most(limit):
            assert "too large" in said(capsys, "run", config, "root=limited", "--until", "sft")
    selfstudy.run(config, ["root=limited"], quiet=True, until="sft")
    selfstudy.run(config, ["root=straight"], quiet=True, until="sft")
    assert hashes(Path("limited")) == hashes(Path("straight"))


def test_a_folder_that_cannot_be_written(
    small: Callable[..., str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small("causal")
    mkdir = os.mkdir

    def refuse(path: Any, *more: Any, **options: Any) -> None:
        if "readonly" in str(path):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        mkdir(path, *more, **options)

    monkeypatch.setattr(os, "mkdir", refuse)
    shown = said(capsys, "run", config, "root=readonly")
    assert "Read-only file system" in shown
    assert "readonly" in shown
    assert not Path("readonly").exists()
