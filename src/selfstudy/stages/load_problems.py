"""Read the problems and split them: L with solutions, U with answers only, dev, test and transfer sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, Strict

from selfstudy.config import Settings
from selfstudy.errors import DataError
from selfstudy.plugins import PluginSpec
from selfstudy.problems.sources import FAMILY, BadRow, SourceSpec, load_source, parse_source, read_problems
from selfstudy.problems.split import hold_out, split_labelled
from selfstudy.stages.base import Forecast, Inputs, Metrics, Sizes, Stage
from selfstudy.storage.atomic import write_json
from selfstudy.storage.records import write_records
from selfstudy.types import Context, Problem


def _source_or_share(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else parse_source(value)


# A source of its own, or how many, or what share, to hold out of the training problems.
Held = Annotated[PluginSpec | int | float, BeforeValidator(_source_or_share), FAMILY]


class ProblemSettings(Settings):
    """Which problems a run learns from and is measured on.

    Attributes:
        train: Where the training problems come from.
        solved: A source of its own for the problems with worked solutions; None takes them from ``train``.
        labelled: How many (an integer), what share (a fraction) or ``all`` of these problems have their worked
            solutions shown to the model. The others count as answers-only.
        unlabelled: ``all`` uses every training problem's question in self-training; ``rest`` leaves out those whose
            worked solutions are shown.
        dev: What decisions are made on: a source, or how many or what share of the training problems to hold out.
        test: What is scored once, at the end: likewise.
        transfer: Other data sets to score at the end, by name.
        on_bad_rows: ``refuse`` stops at a row that cannot be used; ``skip`` counts and lists them.
    """

    train: SourceSpec
    solved: Annotated[PluginSpec | None, BeforeValidator(lambda v: v if v is None else parse_source(v)), FAMILY] = None
    labelled: Annotated[int, Strict()] | Annotated[float, Strict()] | Literal["all"] = "all"
    unlabelled: Literal["all", "rest"] = "all"
    dev: Held
    test: Held
    transfer: dict[Annotated[str, Field(pattern=r"^[\w.,+=@-]+$")], SourceSpec] = {}  # each names a file
    on_bad_rows: Literal["refuse", "skip"] = "refuse"

    def sources(self) -> list[PluginSpec]:
        """Return every source, in a fixed order."""
        named = [self.train, self.solved, self.dev, self.test, *self.transfer.values()]
        return [source for source in named if isinstance(source, PluginSpec)]


class LoadProblems(Stage):
    """Writes ``labelled``, ``unlabelled``, ``dev``, ``test`` and ``transfer-NAME``, each a ``.jsonl`` of problems.

    Only ``labelled`` holds solutions of training problems: what is to be learned without them cannot leak.
    """

    kind: ClassVar[str] = "problems"
    version: ClassVar[int] = 3  # no formula of a data set stands in meta
    settings: ProblemSettings
    seed: int

    def run(self, inputs: Inputs, out: Path, ctx: Context) -> Metrics:
        """Read, split and write; the data files are inputs by content."""
        skipped: list[BadRow] = []
        read = partial(self._read, skipped=skipped)
        train = read(self.settings.train)
        splits: dict[str, Sequence[Problem]] = {}
        for name, held in (("dev", self.settings.dev), ("test", self.settings.test)):
            if isinstance(held, PluginSpec):
                splits[name] = read(held)
            else:
                train, splits[name] = hold_out(train, held, self.seed, name)
        for name, source in self.settings.transfer.items():
            splits[f"transfer-{name}"] = read(source)
        solved = None
        if self.settings.solved is not None:
            # What was held out of train may stand in the file of solved problems too, and is held out there as well.
            shares = {"dev": self.settings.dev, "test": self.settings.test}
            names = [name for name, share in shares.items() if not isinstance(share, PluginSpec)]
            asked = {_text(problem) for name in names for problem in splits[name]}
            solved = [problem for problem in read(self.settings.solved) if _text(problem) not in asked]
        splits |= self._labelled(train, solved)
        _refuse_shared_ids(splits)
        for name, problems in splits.items():
            write_records(out / f"{name}.jsonl", problems)
        write_json(out / "skipped.json", [dataclasses.asdict(row) for row in skipped])
        return {"problems": {name: len(splits[name]) for name in sorted(splits)}, "skipped_rows": len(skipped)}

    def forecast(self, sizes: Sizes) -> Forecast:
        """Reading is quick."""
        return Forecast("read and split", 500 * sum(sizes.problems.values()))

    def _read(self, source: PluginSpec, skipped: list[BadRow]) -> list[Problem]:
        problems, bad = read_problems(load_source(source), on_bad_rows=self.settings.on_bad_rows)
        skipped.extend(bad)
        return problems

    def _labelled(self, train: Sequence[Problem], solved: Sequence[Problem] | None) -> dict[str, list[Problem]]:
        if solved is None:
            settings = self.settings
            in_l, in_u = map(frozenset, split_labelled(train, settings.labelled, settings.unlabelled, self.seed))
            labelled = [problem for problem in train if problem.id in in_l]
        else:
            in_l = frozenset(split_labelled(solved, self.settings.labelled, "all", self.seed)[0])
            labelled = [problem for problem in solved if problem.id in in_l]
            train = _joined(solved, train)
            in_u = frozenset(p.id for p in train if self.settings.unlabelled == "all" or p.id not in in_l)
        if not in_u:
            raise DataError(
                "no problem is left for self-training, since every one shows its solution; lower problems.labelled, or "
                "set problems.unlabelled: all"
            )
        if not labelled:
            raise DataError(
                "no training problem has a worked solution; the first fine-tuning needs some (problems.labelled)"
            )
        unlabelled = [dataclasses.replace(p, solution=None) for p in train if p.id in in_u]
        return {"labelled": labelled, "unlabelled": unlabelled}


def _joined(solved: Sequence[Problem], train: Sequence[Problem]) -> list[Problem]:
    """Return the problems of both files, one that stands in both (by its id or its question) once."""
    joined = {problem.id: problem for problem in solved}
    asked = {_text(problem) for problem in solved}
    for problem in train:
        if problem.id not in joined and _text(problem) in asked:
            continue
        if joined.setdefault(problem.id, problem).question != problem.question:
            raise DataError(
                f"{problem.id} is one question in problems.solved ({joined[problem.id].question!r:.80}) and another in "
                f"problems.train ({problem.question!r:.80}); ids must be unique: set dataset: of one of them"
            )
    return list(joined.values())


def _refuse_shared_ids(splits: dict[str, Sequence[Problem]]) -> None:
    """Refuse an id of training or dev in a set that measures; a later step compares questions with training's."""
    ids = {problem.id for name in ("labelled", "unlabelled") for problem in splits[name]}
    decided_on = {problem.id for problem in splits["dev"]}
    for name in sorted(splits.keys() - {"labelled", "unlabelled"}):
        for other, known in (("training", ids), ("dev", decided_on if name != "dev" else set())):
            if both := [problem for problem in splits[name] if problem.id in known]:
                raise DataError(
                    f"{len(both)} problems stand both in {other} and in {name}, such as {both[0].id} "
                    f"({both[0].question!r:.80}); take them out of one of the two"
                )


def _text(problem: Problem) -> str:
    """Return the question without regard to case and white space."""
    return " ".join(problem.question.casefold().split())
