"""Made-up runs: one for all tests, and copies for those that change something."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # scripts, not a package

from synthetic import make_run

SMALL = [
    "rounds=2",
    "problems.train.count=24",
    "problems.labelled=16",
    "problems.unlabelled=all",
    "problems.dev.count=10",
    "problems.test.count=12",
    "samples_per_step=2",
    "pairs.n=3",  # in two blocks
    "pairs.held_out=4",
    "labels.n=2",
    "evaluation.samples=2",
    "evaluation.ks=[1, 2]",
    "preference.max_steps=40",
    "compute={device: cpu, threads: 1}",
]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run; not to be changed."""
    return make_run(tmp_path_factory.mktemp("finished"), SMALL)


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """Return the folder of a finished run that may be damaged."""
    root = tmp_path / "copy"
    shutil.copytree(finished.parents[1], root)
    return root / "runs" / finished.name


def folder_of(run: Path, name: str) -> Path:
    """Return the folder of a step's artifact."""
    (line,) = [line for line in json.loads((run / "plan.json").read_text()) if line["name"] == name]
    return run.parents[1] / "artifacts" / str(line["artifact"])
