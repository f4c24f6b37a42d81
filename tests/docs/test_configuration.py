"""The reference of settings is what its generator writes, and says something of every setting."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from selfstudy.config import Settings
from selfstudy.plugins import available
from selfstudy.recipes.config import Config

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_configuration", PAGE.with_name("make_configuration.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_file_is_what_the_generator_writes(generator: ModuleType) -> None:
    assert PAGE.read_text(encoding="utf-8") == generator.render(), "run python docs/make_configuration.py"


def test_every_setting_and_plug_in_is_there(generator: ModuleType) -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in Config.model_fields:
        assert f"| `{name}` |" in page
    for family in generator.FAMILIES:
        for name in available(family):
            assert f"### `{name}`\n" in page


def test_links_lead_to_headings(generator: ModuleType) -> None:
    page = PAGE.read_text(encoding="utf-8")
    headings = {generator._anchor(heading) for heading in re.findall(r"^#+ (.*)$", page, re.MULTILINE)}
    links = set(re.findall(r"\]\(#([^)]*)\)", page))
    assert len(links) > 10
    assert links <= headings


def test_a_setting_that_nobody_described_is_an_error(generator: ModuleType) -> None:
    class Silent(Settings):
        """Says nothing of its setting."""

        loud: bool = False

    with pytest.raises(ValueError, match=r"Silent\.loud is not described"):
        generator._table(Silent)


def test_types_bounds_and_defaults_are_read_from_the_class(generator: ModuleType) -> None:
    page = PAGE.read_text(encoding="utf-8")
    for row in (
        "| `batch_size` | whole number ≥ 1 | `16` | Examples or pairs in a step. |",
        "| `model` | text | **required** |",
        "| `guard` | [`preference.guard`](#preferenceguard) or `off` | its defaults |",
        "| `verifier` | [verifier](#verifiers) | `numeric` |",
        "| `limit` | whole number ≥ 1 or `null` | `null` |",
        "| `ks` | list of: whole number ≥ 1 | `[1, 5]` |",
    ):
        assert row in page
