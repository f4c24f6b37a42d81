"""Shared fixtures."""

from __future__ import annotations

import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # two threads on a busy machine wait for each other; `auto` counts them, too

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
# How long an example takes says how busy the machine is.
settings.register_profile("unhurried", settings.default, deadline=None)
settings.load_profile("unhurried")

LONG = ("benchmarks", "system", "docs", "recipes", "stress")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first, so that no worker is left with one of them when the others are done."""
    items.sort(key=lambda item: item.path.parent.name not in LONG)


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of benchmark files, or skip."""
    folder = os.environ.get("SELFSTUDY_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("SELFSTUDY_DATA is not set to a folder with the benchmark files")
    return Path(folder)
