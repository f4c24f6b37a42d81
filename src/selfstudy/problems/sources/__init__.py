"""Sources of problems: each is one split of one data set, read from files or generated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from selfstudy.config import Settings
from selfstudy.errors import DataError
from selfstudy.plugins import PluginSpec, load, parse_spec
from selfstudy.problems.rows import TABLES, BadRow
from selfstudy.types import Problem

__all__ = ["FAMILY", "BadRow", "ProblemSource", "SourceSpec", "load_source", "parse_source", "read_problems"]

FAMILY = "selfstudy.problems.sources"
_SHOWN = 5


def parse_source(value: Any) -> PluginSpec:
    """Turn what a config says into a spec.

    Raises:
        ValueError: With the remedy; a file that is named by itself, among others.
    """
    name = value.get("name") if isinstance(value, dict) else value
    if isinstance(name, str) and Path(name).suffix.lower() in TABLES:
        raise ValueError(
            f"a file is written {{name: tabular, path: {name}}}, with the names of its columns where they are not "
            "question and answer, and with solution: COLUMN where it has worked solutions"
        )
    return parse_spec(FAMILY, value)


SourceSpec = Annotated[PluginSpec, BeforeValidator(parse_source), FAMILY]


class ProblemSource(Settings, ABC):
    """One split of one data set.

    Attributes:
        limit: Only the first so many problems, as :func:`read_problems` returns them.
    """

    limit: int | None = Field(None, ge=1)

    def download(self) -> None:
        """Fetch the files that are not on this machine yet; a source that is not published has none."""

    def files(self) -> tuple[Path, ...]:
        """Return the files that the problems depend on.

        Raises:
            DataError: They are not on this machine.
        """
        return ()

    def items(self) -> Iterator[Problem | BadRow]:
        """Yield what :meth:`read` does, up to the ``limit``."""
        found = 0
        for item in self.read():
            yield item
            found += isinstance(item, Problem)
            if found == self.limit:
                return

    @abstractmethod
    def read(self) -> Iterator[Problem | BadRow]:
        """Yield all problems in the order of the data, and the rows that cannot be used; heed no ``limit``."""


def load_source(spec: PluginSpec) -> ProblemSource:
    """Make the source that ``spec`` names."""
    return load(FAMILY, spec, ProblemSource)


def read_problems(
    source: ProblemSource, *, on_bad_rows: Literal["refuse", "skip"]
) -> tuple[list[Problem], list[BadRow]]:
    """Read a source up to its ``limit``, its files downloaded if need be.

    Returns:
        The problems, and the rows that were skipped (none under ``refuse``).

    Raises:
        DataError: A bad row under ``refuse`` (file, line, field and reason of the first few, and how many there
            are); an id that is there twice; no problem at all.
    """
    problems: dict[str, Problem] = {}
    bad: list[BadRow] = []
    source.download()
    for item in source.items():
        if isinstance(item, BadRow):
            bad.append(item)
            continue
        if item.id in problems:
            raise DataError(
                f"{_name(source)}: id '{item.id}' is there twice, for the questions "
                f"{problems[item.id].question!r:.80} and {item.question!r:.80}; ids must be unique"
            )
        problems[item.id] = item
    if bad and on_bad_rows == "refuse":
        more = f"\n… {len(bad)} bad rows in all" if len(bad) > _SHOWN else ""
        shown = "\n".join(map(str, bad[:_SHOWN]))
        raise DataError(
            f"{shown}{more}\nmend them; a run can also leave them out, and list them: problems.on_bad_rows: skip"
        )
    if not problems:
        why = f"; all {len(bad)} rows are bad, the first: {bad[0]}" if bad else ""
        raise DataError(f"{_name(source)}: no problems{why}")
    return list(problems.values()), bad


def _name(source: ProblemSource) -> str:
    return ", ".join(map(str, source.files())) or type(source).__name__
