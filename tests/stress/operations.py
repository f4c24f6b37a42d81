"""What a process does to the file system, counted: every operation is a place to die.

Operations are named as they begin: an audit hook sees those of ``os`` and every opened file; writes, which it does not
see, go through a raw file of our own, and so does what ``safetensors`` and ``tokenizers`` write from Rust.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

# Called before an operation, with its kind and the name of its file; True: the fault comes here, mid-write.
Seen = Callable[[str, str], bool]
NEED_SPACE = frozenset({"open", "write", "fsync", "mkdir", "rename", "link"})

_AUDITED = {
    "os.rename": "rename",
    "os.remove": "unlink",
    "os.mkdir": "mkdir",
    "os.rmdir": "rmdir",
    "os.link": "link",
    "os.truncate": "truncate",
    "os.chmod": "chmod",
    "fcntl.flock": "lock",
}
_CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def die() -> None:
    """End this process as a kill does: nothing is flushed, nothing is cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)


def full() -> None:
    """Do as a full disk does."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def watch(seen: Seen, fault: Callable[[], None] = die) -> None:
    """Call ``seen`` before every operation of this process that changes files or waits for them, from now on."""

    def before(kind: str, name: object) -> None:
        if seen(kind, _name(name)):
            fault()

    def audited(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & _CHANGES:
            before("open", arguments[0])
        elif event in _AUDITED:
            before(_AUDITED[event], arguments[0])

    class Raw(io.FileIO):
        def write(self, data: Any) -> int:
            if seen("write", _name(self.name)):
                with suppress(OSError):  # half of what /proc wants is nothing
                    super().write(bytes(data)[: len(bytes(data)) // 2])
                fault()
            return super().write(data) or 0

    def opened(
        file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None, newline: Any = None,
        closefd: bool = True, opener: Any = None,
    ) -> Any:  # fmt: skip
        if not set(mode) & set("wax+"):
            return real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = Raw(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

    real_open = io.open
    io.open = builtins.open = opened  # type: ignore[assignment]
    for name, kind in (("fsync", "fsync"), ("pwrite", "write"), ("sendfile", "write")):
        setattr(os, name, _after(partial(before, kind, ""), getattr(os, name)))
    _watch_rust(seen, fault)
    sys.addaudithook(audited)


def _after(first: Callable[[], None], call: Callable[..., Any]) -> Callable[..., Any]:
    def both(*arguments: Any) -> Any:
        first()
        return call(*arguments)

    return both


def _watch_rust(seen: Seen, fault: Callable[[], None]) -> None:
    import safetensors.torch
    from tokenizers import Tokenizer

    def torn(kind: type[Exception], write: Callable[..., None], path: Path, *arguments: Any) -> None:
        write(*arguments)
        if seen("write", path.name):
            os.truncate(path, path.stat().st_size // 2)
            try:
                fault()
            except OSError as error:  # which these libraries say in their own way
                raise kind(f"I/O error: {error.strerror} (os error {error.errno})") from None

    serialize, save = safetensors.torch.serialize_file, Tokenizer.save

    def serialize_file(tensors: Any, filename: Any, metadata: Any = None) -> None:
        torn(safetensors.SafetensorError, serialize, Path(filename), tensors, filename, metadata)

    def save_tokenizer(self: Any, path: str, pretty: bool = True) -> None:
        torn(Exception, save, Path(path), self, path, pretty)

    safetensors.torch.serialize_file = serialize_file
    Tokenizer.save = save_tokenizer


def _name(path: object) -> str:
    return os.path.basename(os.fsdecode(path)) if isinstance(path, str | bytes | os.PathLike) else ""
