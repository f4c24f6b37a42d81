"""Typed records: the nouns of :mod:`selfstudy.types` as JSON lines, one record a line, streamed both ways."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from selfstudy.errors import StorageError
from selfstudy.storage.atomic import replacing
from selfstudy.types import Completion, Example, Pair, Problem, Sample, Verdict

T = TypeVar("T")


@contextmanager
def writing_records(path: Path) -> Iterator[Callable[[object], None]]:
    """Yield what takes in dataclass records, to be written atomically, in their order."""
    with replacing(path) as temporary, temporary.open("w", encoding="ascii", newline="\n") as file:

        def write(record: object) -> None:
            file.write(_encode(record))
            file.write("\n")

        yield write


def write_records(path: Path, records: Iterable[object]) -> int:
    """Write dataclass records atomically, in their order; return how many."""
    count = 0
    with writing_records(path) as write:
        for record in records:
            write(record)
            count += 1
    return count


@contextmanager
def appending_records(path: Path, kind: type) -> Iterator[tuple[int, Callable[[object], None]]]:
    """Yield how many whole records an attempt that was cut short left in a file, and what takes in those behind them.

    What has been taken in stays, whatever happens next. The file is flushed at the end.
    """
    count = size = 0
    if path.is_file():
        with path.open("rb") as file, suppress(StorageError):
            for line in file:
                if not line.endswith(b"\n"):
                    break
                _decode(line, kind, "")
                count, size = count + 1, size + len(line)
    # Without a buffer: after a failed write (a full disk) it would write again what may already be there.
    with path.open("ab", buffering=0) as end:
        end.truncate(size)

        def write(record: object) -> None:
            line = memoryview(f"{_encode(record)}\n".encode("ascii"))
            while line:
                line = line[end.write(line) :]

        yield count, write
        os.fsync(end.fileno())


def read_records(path: Path, kind: type[T]) -> Iterator[T]:
    """Read the records of one file.

    Raises:
        StorageError: A line is not a record of this kind; names file and line.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            yield _decode(line, kind, f"{path}:{number}")


class ProblemsById:
    """The problems of one file, looked up by id: sixteen bytes of each are in memory, a digest and a place."""

    def __init__(self, path: Path) -> None:
        """Read the file once.

        Raises:
            StorageError: A line is not a problem.
        """
        self._path = path
        digests, places, place = array("Q"), array("Q"), 0
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                digests.append(_digest(_decode(line, Problem, f"{path}:{number}").id))
                places.append(place)
                place += len(line)
        found = np.frombuffer(digests, dtype=np.uint64) if digests else np.empty(0, dtype=np.uint64)
        order = np.argsort(found, kind="stable")
        self._digests = found[order]
        self._places = np.array(places, dtype=np.uint64)[order]
        self._file = path.open("rb")

    def get(self, problem_id: str) -> Problem | None:
        """Return the problem of that id, if there is one."""
        digest = np.uint64(_digest(problem_id))
        first, last = (int(np.searchsorted(self._digests, digest, side=side)) for side in ("left", "right"))
        for place in self._places[first:last].tolist():
            self._file.seek(place)
            problem = _decode(self._file.readline(), Problem, f"{self._path} at {place}")
            if problem.id == problem_id:
                return problem
        return None


def _digest(problem_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(problem_id.encode(errors="surrogatepass"), digest_size=8).digest(), "big")


def _decode(line: bytes, kind: type[T], where: str) -> T:
    try:
        record: T = _DECODERS[kind](json.loads(line.decode("ascii")))
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"{where}: not a {kind.__name__} record ({error!r}); delete the artifact's folder and run again to make it "
            "anew"
        ) from None
    return record


def _encode(record: object) -> str:
    return json.dumps(record, default=_fields, ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def _fields(record: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(record):
        return {name: getattr(record, name) for name in record.__dataclass_fields__}
    return dict(record)  # Problem.meta may be any mapping


def _completion(tree: dict[str, Any]) -> Completion:
    forced = tuple((start, stop) for start, stop in tree["forced"])
    return Completion(tree["text"], tuple(tree["token_ids"]), forced, tree["finish"])


def _sample(tree: dict[str, Any]) -> Sample:
    return Sample(tree["problem_id"], tree["index"], _completion(tree["completion"]), tree["logprob"])


def _pair(tree: dict[str, Any]) -> Pair:
    return Pair(**{**tree, "chosen": _completion(tree["chosen"]), "rejected": _completion(tree["rejected"])})


def _example(tree: dict[str, Any]) -> Example:
    return Example(tree["problem_id"], _completion(tree["completion"]), tree["source"])


_DECODERS: dict[type, Callable[[dict[str, Any]], Any]] = {
    Problem: lambda tree: Problem(**tree),
    Sample: _sample,
    Verdict: lambda tree: Verdict(**tree),
    Pair: _pair,
    Example: _example,
}
