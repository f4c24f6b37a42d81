"""What ``import selfstudy`` offers: each name resolves, has a docstring and is on the page; none is imported early."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import pytest

import selfstudy
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "python.md"


def in_a_fresh_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("name", selfstudy.__all__)
def test_each_name_says_what_it_is_and_is_on_the_page(name: str) -> None:
    offered = getattr(selfstudy, name)
    assert offered.__name__ == name
    assert offered.__module__.startswith("selfstudy.")
    assert inspect.getdoc(offered)
    assert f"\n::: selfstudy.{name}\n" in PAGE.read_text("utf-8")


@pytest.mark.parametrize("name", selfstudy.__all__)
def test_each_public_part_says_what_it_is(name: str) -> None:
    offered = getattr(selfstudy, name)
    said = inspect.getdoc(offered) or ""
    assert said
    if inspect.isfunction(offered):
        unsaid = [each for each in inspect.signature(offered).parameters if f"\n    {each}: " not in said]
        assert not unsaid
        return
    own = [value for key, value in vars(offered).items() if not key.startswith("_")]
    methods = [value for value in own if inspect.isfunction(value) or isinstance(value, property)]
    assert all(inspect.getdoc(method) for method in methods)


def test_the_page_lists_nothing_that_is_not_offered() -> None:
    listed = re.findall(r"^::: selfstudy\.(\w+)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted([*selfstudy.__all__, "types"])  # a module, of the nouns


def test_the_surface_is_small_and_nothing_else_is_there() -> None:
    assert len(selfstudy.__all__) <= 13
    assert {*selfstudy.__all__, "__version__"} == set(dir(selfstudy))
    with pytest.raises(AttributeError, match="module 'selfstudy' has no attribute 'carry_out'"):
        _ = selfstudy.carry_out


def test_the_quickstart_is_the_first_thing_on_the_page_and_has_ten_lines_at_most() -> None:
    first = blocks(PAGE, "python")[0].body
    assert 'selfstudy.run("quickstart")' in first
    assert len(first.splitlines()) <= 10


def test_import_brings_neither_torch_nor_anything_else_that_takes_time() -> None:
    heavy = {"torch", "transformers", "numpy", "pydantic", "yaml", "rich", "importlib.metadata"}
    assert in_a_fresh_process(f"import sys, selfstudy; print({heavy!r} & set(sys.modules))") == "set()"


@pytest.mark.parametrize("name", ["find_results", "load_verifier", "Problem", "SelfstudyError"])
def test_names_that_need_no_torch_bring_none(name: str) -> None:
    assert in_a_fresh_process(f"import sys, selfstudy; selfstudy.{name}; print('torch' in sys.modules)") == "False"


def test_the_version_is_the_installed_one() -> None:
    assert in_a_fresh_process("import selfstudy; print(selfstudy.__version__)").startswith("0.")


@pytest.mark.parametrize("module", ["looking", "comparing", "keeping"])
def test_looking_at_runs_does_not_wait_for_torch(module: str) -> None:
    """`status`, `compare`, `verify` and `gc` answer at once; importing torch and transformers takes seconds."""
    code = f"import sys, selfstudy.{module}; print({{'torch', 'transformers', 'matplotlib'}} & sys.modules.keys())"
    assert in_a_fresh_process(code) == "set()"
