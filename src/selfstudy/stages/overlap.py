"""Find the questions that measure and are asked in training too; refuse a run that would measure what it was taught.

Dev decides which model is returned, so that what else measures is compared with dev as well.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import ClassVar

from selfstudy.errors import DataError
from selfstudy.problems.mixture import Part
from selfstudy.problems.overlap import Overlap, find_overlaps
from selfstudy.problems.sources import load_source
from selfstudy.stages.base import Forecast, Inputs, Metrics, Sizes, Stage, one
from selfstudy.storage.artifacts import Artifact
from selfstudy.storage.records import read_records, write_records
from selfstudy.types import Context, Problem

_TRAINING = ("labelled", "unlabelled")


class OverlapError(DataError):
    """Too much of a split is asked elsewhere; ``args`` are what was found, and what to do about it."""

    def __str__(self) -> str:
        """Say both."""
        return ": ".join(self.args)


class FindOverlap(Stage):
    """Writes ``overlap.jsonl``: every problem that is asked elsewhere too, where, and the one that it is most like.

    Attributes:
        max_overlap: Share of any one split that may be in training, and that may be in dev; more is refused.
        mixture: What is learned in pretraining; where there is none, L and U are.
    """

    kind: ClassVar[str] = "overlap"
    version: ClassVar[int] = 2  # dev is compared with what measures
    max_overlap: float
    mixture: tuple[Part, ...] = ()

    def run(self, inputs: Inputs, out: Path, ctx: Context) -> Metrics:
        """Compare every other split of ``problems`` with what is trained on, and with dev.

        Raises:
            OverlapError: More than the allowed share of a split overlaps; what does is listed in the working folder.
        """
        problems = one(inputs, "problems")
        splits = {
            path.stem: list(read_records(path, Problem))
            for path in sorted(problems.path.glob("*.jsonl"))
            if path.stem not in _TRAINING
        }
        training = _of_mixture(self.mixture) if self.mixture else _of_splits(problems)
        others = {name: split for name, split in splits.items() if name != "dev"}
        found = {"training": _compare(splits, training), "dev": _compare(others, splits.get("dev", ()))}
        rows = (
            {"split": name, "asked_in": where, **dataclasses.asdict(overlap)}
            for where, by_split in found.items()
            for name, overlaps in by_split.items()
            for overlap in overlaps
        )
        write_records(out / "overlap.jsonl", rows)
        for where, by_split in found.items():
            for name, overlaps in by_split.items():
                if len(overlaps) > self.max_overlap * len(splits[name]):
                    remedy = f"take them out of one of the two (all are listed in {out / 'overlap.jsonl'})"
                    refusal = self._refusal(name, where, overlaps, splits[name])
                    raise OverlapError(refusal, f"{remedy}, or raise max_overlap")
        counts = {
            name: {"n": len(splits[name]), "exact": _count(overlaps, "exact"), "near": _count(overlaps, "near")}
            for name, overlaps in found["training"].items()
        }
        total = {kind: sum(count[kind] for count in counts.values()) for kind in ("exact", "near")}
        return {**total, "splits": counts, "in_dev": {name: len(overlaps) for name, overlaps in found["dev"].items()}}

    def _refusal(self, split: str, where: str, overlaps: Sequence[Overlap], measured: Sequence[Problem]) -> str:
        shown = ", ".join(f"{o.id} ({o.kind} {o.other_id}, {o.similarity:.0%})" for o in overlaps[:3])
        question = next(problem.question for problem in measured if problem.id == overlaps[0].id)
        return (
            f"{len(overlaps)} of {len(measured)} problems of {split} are asked in {where} too, in the same words or "
            f"nearly: {shown}; the first is {question!r:.100}. That is more than max_overlap={self.max_overlap:g}"
        )

    def forecast(self, sizes: Sizes) -> Forecast:
        """Comparing is quick."""
        return Forecast("compare the questions", 0)


def _compare(splits: Mapping[str, Sequence[Problem]], known: Iterable[Problem]) -> dict[str, list[Overlap]]:
    """Return what of each split is among ``known``, which is read once."""
    compared = iter(find_overlaps([problem for split in splits.values() for problem in split], known))
    return {name: [o for o in islice(compared, len(split)) if o is not None] for name, split in splits.items()}


def _of_splits(problems: Artifact) -> Iterator[Problem]:
    """Yield L and U, a problem of both once."""
    seen: set[str] = set()
    for problem in chain.from_iterable(read_records(problems.path / f"{name}.jsonl", Problem) for name in _TRAINING):
        if problem.id not in seen:
            seen.add(problem.id)
            yield problem


def _of_mixture(parts: Sequence[Part]) -> Iterator[Problem]:
    """Yield every problem of the sources once; rows that cannot be used are refused where they are learned from."""
    for part in parts:
        yield from (item for item in load_source(part.source).items() if isinstance(item, Problem))


def _count(overlaps: Sequence[Overlap], kind: str) -> int:
    return sum(overlap.kind == kind for overlap in overlaps)
