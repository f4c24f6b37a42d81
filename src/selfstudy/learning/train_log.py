"""``train_log.jsonl``: a line for each optimizer step, without times: a resumed run ends with the same bytes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from selfstudy.errors import StorageError
from selfstudy.storage.atomic import write_bytes

FILE_NAME = "train_log.jsonl"
Record = dict[str, float]


def read_losses(workdir: Path) -> list[float]:
    """Return the loss of every step of a finished training."""
    lines = (workdir / FILE_NAME).read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]


class TrainLog:
    """The log of one training; lines after ``step`` are dropped when it is opened."""

    def __init__(self, workdir: Path, step: int) -> None:
        """Open the log of a training that stands at ``step``.

        Raises:
            StorageError: Lines are missing before ``step``.
        """
        path = workdir / FILE_NAME
        lines = path.read_bytes().splitlines(keepends=True)[:step] if path.is_file() else []
        if len(lines) < step:
            raise StorageError(
                f"{path}: {step} steps are done but {len(lines)} are logged; delete {workdir} to start again"
            )
        try:
            self.records: list[Record] = [json.loads(line) for line in lines]
        except ValueError as error:
            raise StorageError(f"{path} cannot be read ({error}); delete {workdir} to start again") from None
        write_bytes(path, b"".join(lines))
        self._file = path.open("a", encoding="utf-8")

    def add(self, record: Mapping[str, float]) -> Record:
        """Append one step, floats at the seven digits that float32 has; return what was written."""
        shown = {name: float(f"{v:.7g}") if isinstance(v, float) else v for name, v in record.items()}
        self._file.write(json.dumps(shown) + "\n")
        self._file.flush()
        self.records.append(shown)
        return shown

    def sync(self) -> None:
        """Wait until the lines are on disk; a checkpoint must never be ahead of them."""
        os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
