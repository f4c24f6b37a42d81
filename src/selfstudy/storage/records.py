"""Typed records: the nouns of :mod:`selfstudy.types` as JSON lines, one record a line, streamed both ways."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from selfstudy.errors import StorageError
from selfstudy.storage.atomic import replacing
from selfstudy.types import Completion, Example, Pair, Problem, Sample, Verdict

T = TypeVar("T")


def write_records(path: Path, records: Iterable[object]) -> int:
    """Write dataclass records atomically, in their order; return how many."""
    count = 0
    with replacing(path) as temporary, temporary.open("w", encoding="ascii", newline="\n") as file:
        for record in records:
            file.write(_encode(record))
            file.write("\n")
            count += 1
    return count


def read_records(path: Path, kind: type[T]) -> Iterator[T]:
    """Read the records of one file.

    Raises:
        StorageError: A line is not a record of this kind; names file and line.
    """
    decode = _DECODERS[kind]
    with path.open(encoding="ascii") as file:
        for number, line in enumerate(file, start=1):
            try:
                record = decode(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise StorageError(
                    f"{path}:{number}: not a {kind.__name__} record ({error!r}); delete the artifact's "
                    "folder and run again to make it anew"
                ) from None
            yield record


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
