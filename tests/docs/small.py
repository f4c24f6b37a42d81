"""Commands of the pages, carried out with what makes runs short; their scores mean nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from selfstudy.cli import main
from selfstudy.config import load_tree
from selfstudy.recipes.config import Config

# Of any config that fine-tunes.
SHORTER = [
    "rounds=1",
    "sft.max_steps=2",
    "sft.epochs=null",
    "sft.batch_size=4",
    "sampling.max_new_tokens=8",
    "pairs.n=1",
    "labels.n=1",
    "evaluation.samples=1",
    "preference.max_steps=1",
    "preference.epochs=null",
    "preference.batch_size=2",
    "preference.guard={every: 1, problems: 2, samples: 1}",
    "compute={device: cpu, devices: 1, threads: 1}",
]
# Of the quickstart, whose problems are generated.
SMALL = [
    *SHORTER,
    "problems.train.count=20",
    "problems.train.min_steps=1",
    "problems.train.max_steps=1",
    "problems.labelled=8",
    "problems.dev.count=4",
    "problems.test.count=4",
]
_FEW = ["problems.train.limit=40"]
_PRETRAINING = [
    "pretraining.max_steps=2",
    "pretraining.batch_size=4",
    "problems.train.count=8",
    "problems.dev.count=4",
    "problems.test.count=4",
    "sampling.max_new_tokens=8",
    "evaluation.samples=1",
    "compute={device: cpu, devices: 1, threads: 1}",
]


def shortened(config: str, overrides: Sequence[str] = ()) -> list[str]:
    """Return the overrides that make a run of this config short."""
    settings = Config.parse(load_tree(config, overrides), config)
    if settings.pretraining is not None:
        return _PRETRAINING
    return [*SHORTER, *_FEW] if settings.problems.train.name == "tabular" else SMALL


def run(arguments: Sequence[str]) -> int:
    """Carry out a command in this process, and return its exit code."""
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    code = stopped.value.code
    return code if isinstance(code, int) else 0
